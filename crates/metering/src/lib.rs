//! The usage side, pure: what an event is, who has been seen before, what meters
//! make of it, where quotas stand. `Shard::apply(batch) -> Outcome` is the heart.
//! No IO, no clock, no randomness, no async, no logging, no money, no floats.

pub mod adjustment;
pub mod aggregate;
pub mod catalogue;
pub mod event;
pub mod identity;
pub mod measure;
pub mod meter;
pub mod outcome;
pub mod quota;
pub mod record;
pub mod shard;
