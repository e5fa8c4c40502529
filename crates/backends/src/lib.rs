//! Weir's servers: Kafka, Postgres, ClickHouse, an object store. The only crate that names their
//! drivers, and the home of every SQL statement. It stores and fetches; it decides
//! nothing. What may be tried again is told apart from what may not by [`StoreError`].

pub mod archive;
pub mod books;
pub mod catalog;
pub mod config;
pub mod error;
pub mod id_files;
pub mod journal;
pub mod ledger;
pub mod ledger_audit;
pub mod ledger_settings;
mod offsets;
pub mod outbox;
pub mod postgres;
pub mod private_address;
pub mod projection;
pub mod settings;
pub mod tenants;

pub use error::StoreError;
