//! The nouns that everything else in Weir is about: tenants, quantities, money,
//! time, positions in the journal, digests. Pure values: no IO, no clock, no
//! randomness, no floating point. It knows of no other crate.

pub mod calendar;
pub mod digest;
pub mod homes;
pub mod journal;
pub mod money;
pub mod quantity;
pub mod tenant;
pub mod time;

pub use calendar::BillingCalendar;
pub use digest::{ContentSum, Hash128, HashKey};
pub use homes::Homes;
pub use journal::{Generation, Partition, Position};
pub use money::{Currency, Money};
pub use quantity::Quantity;
pub use tenant::TenantId;
pub use time::{HourAlignment, Span, Timestamp};
