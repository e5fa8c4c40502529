//! Kafka, PostgreSQL and ClickHouse on this machine, without Docker: for the demo, for tests and
//! for benchmarks. The servers are the real ones, from package registries; nothing is imitated.
//! Synchronous, no runtime needed. It is not for production and knows nothing about Weir's own
//! processes, topics or tables.
//!
//! ```no_run
//! let stack = local_stack::scratch()?;
//! println!("{} {}", stack.kafka_bootstrap(), stack.postgres_url());
//! stack.postgres().kill()?;
//! stack.postgres().restart()?;
//! # Ok::<(), local_stack::Error>(())
//! ```
//!
//! Invariants: a server that a [`Stack`] started ends with it, even when the process is killed;
//! [`Stack::start`] returns only when every server has answered a real request; data survives
//! stop, kill and restart.

mod stack;

mod component;
mod config;
pub mod detached;
mod error;
mod kind;
mod process;
mod program;
mod readable;

mod clickhouse;
mod kafka;
mod postgres;

mod proxy;
pub mod setup;

pub use component::Component;
pub use config::{Ports, StackConfig, repository};
pub use error::{Error, Result};
pub use kind::Kind;
pub use program::Program;
pub use proxy::{Moment, Proxy};
pub use stack::{Stack, scratch, shared_for_tests};
