//! The hashes of an event, and the part of them that is remembered.
//!
//! A hash has 128 bits and is keyed. Of the identity's the first 96 bits are remembered, of
//! the facts' the last 32, wherever an id is kept, so that a judgement never depends on what
//! has been written to a file. What that costs is said in [`super`] and `docs/event-ids.md`.

use weir_core::digest::Digest;
use weir_core::{Hash128, HashKey, Timestamp};

use crate::event::UsageEvent;

/// The three hashes of an event, taken in one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHashes {
    /// Of (tenant, source, id).
    pub identity: Hash128,
    /// Of all billing facts as they were sent: an event without `time` differs from one with.
    pub facts: Hash128,
    /// Of all billing facts with the time at which the event is taken to have happened;
    /// the content sum adds these up.
    pub content: Hash128,
}

impl EventHashes {
    /// The hashes of an event that arrived at `broker_time`, which stands in for a time that
    /// the event does not have.
    pub fn of(key: &HashKey, event: &UsageEvent, broker_time: Timestamp) -> Self {
        let identity = identity_hash(key, event);
        let mut digest = untimed_digest(key, event, identity);
        let untimed = digest.finish();
        let content = digest.int(event.time_or(broker_time).millis()).finish();
        let facts = if event.time.is_some() { content } else { untimed };
        Self { identity, facts, content }
    }

    /// What is remembered of them.
    pub fn remembered(&self) -> RememberedId {
        RememberedId { key: IdKey::of(self.identity), fingerprint: low_32(self.facts.0) }
    }
}

/// The hash of an event's identity: tenant, source and id, length-prefixed.
pub fn identity_hash(key: &HashKey, event: &UsageEvent) -> Hash128 {
    let mut digest = Digest::new(key, "identity");
    digest.field(event.tenant.as_bytes()).field(event.source.as_bytes()).field(event.id.as_bytes());
    digest.finish()
}

/// The hash that the content sum adds for an accepted event: identity, type, sorted data,
/// and the time at which it is taken to have happened. The position is not in it.
pub fn content_hash(key: &HashKey, event: &UsageEvent, time: Timestamp) -> Hash128 {
    untimed_digest(key, event, identity_hash(key, event)).int(time.millis()).finish()
}

fn untimed_digest(key: &HashKey, event: &UsageEvent, identity: Hash128) -> Digest {
    let mut digest = Digest::new(key, "facts");
    digest.field(&identity.to_bytes()).field(event.event_type.as_bytes());
    // The number of members keeps a time that follows apart from a member.
    digest.int(i64::try_from(event.data.len()).unwrap_or(i64::MAX));
    for (name, value) in &event.data {
        digest.field(name.as_bytes()).field(value.as_bytes());
    }
    digest
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
