//! The part of an event's hashes that is remembered.
//!
//! A hash has 128 bits and is keyed. Of the identity's the first 96 bits are remembered, of
//! the facts' the last 32, wherever an id is kept, so that a judgement never depends on what
//! has been written to a file. What that costs is said in [`super`] and `docs/event-ids.md`.

use weir_core::Hash128;

use crate::event::EventHashes;

impl EventHashes {
    /// What is remembered of them.
    pub fn remembered(&self) -> RememberedId {
        RememberedId { key: IdKey::of(self.identity), fingerprint: low_32(self.facts.0) }
    }
}

/// The first 96 bits of an identity's hash. Keys are ordered as the whole hashes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdKey {
    /// The first 64 bits.
    pub high: u64,
    /// The 32 bits after them.
    pub low: u32,
}

impl IdKey {
    /// The key of an identity.
    pub fn of(identity: Hash128) -> Self {
        let high = u64::try_from(identity.0 >> 64).unwrap_or_default();
        Self { high, low: low_32(identity.0 >> 32) }
    }
}

/// What is remembered of an accepted event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RememberedId {
    /// Which identity.
    pub key: IdKey,
    /// By which a repetition is told from a conflict: the last 32 bits of the facts' hash.
    pub fingerprint: u32,
}

fn low_32(value: u128) -> u32 {
    u32::try_from(value & u128::from(u32::MAX)).unwrap_or_default()
}
