//! Who has been seen before: the exact memory of event identities (invariant 9).
//!
//! An identity is (tenant, source, id), hashed with a secret key. It is unique for a window
//! from its first arrival, whatever its `time` says. Ids are kept in buckets by the day of
//! their arrival (the partition's running maximum of broker time) and forgotten together,
//! once no event of that day could be accepted any more. Forgetting is a function of the
//! records alone, never of where batches are cut.
//!
//! A bucket is hot, in memory, until it is complete: its day is over, or it holds as many ids
//! as a bucket may. Then its ids may be written to a file, sorted, and only a filter over all
//! files stays in memory. It answers "surely new", or in which file to look. [`Suspects`] go
//! to whoever can open files, [`Answers`] come back. Without files everything stays hot.
//!
//! Of the keyed hashes the first 96 bits of the identity's and 32 bits of the facts' are
//! remembered. A new event is taken for a repetition with a chance of n / 2^96 among n ids
//! that its partition remembers: 1.3 · 10^-20 at a thousand million. A conflict passes as a
//! plain repetition with a chance of 2^-32; either way it is counted once.
//!
//! Memory: 30 bytes a hot id, 3.5 a sealed one. It holds no events, and it opens no files.

mod buckets;
mod day;
mod filter;
mod hashes;
mod hot;
mod memory;
mod plan;
mod suspect;

pub use crate::event::{EventHashes, content_hash};
pub use day::Day;
pub use hashes::{IdKey, RememberedId};
pub use memory::{IdMemory, Identities, Seen};
pub use plan::{MemoryPlan, SealedFile};
pub use suspect::{Answers, Suspect, Suspects};
