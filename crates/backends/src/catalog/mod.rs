//! The catalogue in the ledger: meters, plans and legal entities as they are published,
//! and the tenants whose events are counted.
//!
//! What is read is one snapshot, so that a version names exactly one content. What is
//! published never changes (the tables refuse it); every change of meters or tenants
//! raises the version in its own transaction. It knows no files and judges no events.

mod change;
mod load;

pub use change::{CatalogError, FUTURE_BOUND_MS_MAX, apply, plan};
pub use load::{bump, load, published, version};
