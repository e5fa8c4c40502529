//! Load for Weir, and what Weir must make of it. A [`Profile`] and a position give an event, so a
//! stream of any length is never held: producers walk it side by side, and each adds what it
//! sends to totals of its own. It sees Weir only from outside (topic, API, ClickHouse's views)
//! and shares no code with it. It is not a benchmark: clocks are read to keep a
//! rate and to say when something was acknowledged or answered, and nothing is judged by them.
//!
//! Invariants: the same profile gives the same events, however many producers there are; an
//! event sent again is equal to the byte; the totals count what was acknowledged, else sending
//! ends with an error.

mod profile;
mod stream;

mod chance;
mod skew;

mod avro;
mod json;
mod partition;

pub mod answers;
pub mod connection;
pub mod http;
pub mod kafka;
pub mod sender;

mod error;
pub mod house;
mod totals;

pub use avro::write_avro;
pub use error::LoadError;
pub use json::write_json;
pub use profile::{Kind, Profile, meter_key, tenant_id};
pub use stream::{Event, Stream};
pub use totals::{Counted, Difference, Totals};
