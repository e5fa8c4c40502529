//! Postgres: partitions, the chain of batches, usage. Where the commit, the fold and the
//! taking of partitions live; what they mean is decided elsewhere.

pub mod adjustment;
pub mod chain;
pub mod commit;
pub mod generation;
pub mod month;
pub mod partition;
pub mod projecting;
pub mod rollup;
pub mod standing;
pub mod take;
pub mod usage;
pub mod width;
