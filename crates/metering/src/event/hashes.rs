//! The keyed hashes of an event: who it is, what it says. Each covers the lengths of its
//! texts before the texts themselves, so no two different events have the same bytes, and
//! a batch's buffer is hashed as it stands.

use weir_core::digest::Digest;
use weir_core::{Hash128, HashKey, Timestamp};

use super::buffer::index;
use super::{EventBuffer, EventRef, UsageEvent};

/// How many texts are the identity: tenant, source, id.
const IDENTITY_TEXTS: usize = 3;

/// The three hashes of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
        EventHasher::new(key).hashes(EventBuffer::of(event).get(0), broker_time)
    }
}

/// The hash that the content sum adds for an accepted event: identity, type, sorted data,
/// and the time at which it is taken to have happened. The position is not in it.
pub fn content_hash(key: &HashKey, event: &UsageEvent, time: Timestamp) -> Hash128 {
    let buffer = EventBuffer::of(event);
    let mut timed = buffer.get(0);
    timed.time = Some(time);
    EventHasher::new(key).hashes(timed, time).content
}

/// Hashes events with one key.
#[derive(Clone, Debug)]
pub struct EventHasher {
    identity: Digest,
    facts: Digest,
}

impl EventHasher {
    /// For an installation's key.
    pub fn new(key: &HashKey) -> Self {
        Self { identity: Digest::new(key, "identity"), facts: Digest::new(key, "facts") }
    }

    /// The hash of an event's identity: tenant, source and id.
    pub fn identity(&self, event: EventRef<'_>) -> Hash128 {
        let (text, ends) = event.texts();
        let who = &ends[..IDENTITY_TEXTS];
        let mut identity = self.identity.clone();
        put_ends(&mut identity, who);
        identity.bytes(&text.as_bytes()[..index(who[IDENTITY_TEXTS - 1])]).finish()
    }

    /// The hashes of an event that arrived at `broker_time`, which stands in for a time that
    /// the event does not have.
    pub fn hashes(&self, event: EventRef<'_>, broker_time: Timestamp) -> EventHashes {
        let identity = self.identity(event);
        let (text, ends) = event.texts();
        let (who, what) = ends.split_at(IDENTITY_TEXTS);
        let mut facts = self.facts.clone();
        facts.bytes(&identity.to_bytes());
        put_ends(&mut facts, what);
        facts.bytes(&text.as_bytes()[index(who[IDENTITY_TEXTS - 1])..]);
        let untimed = facts.clone();
        let content = facts.word(event.time_or(broker_time).millis().cast_unsigned()).finish();
        let facts = if event.time.is_some() { content } else { untimed.finish() };
        EventHashes { identity, facts, content }
    }
}

/// How many texts there are, and where each ends; two ends make a word.
fn put_ends(digest: &mut Digest, ends: &[u32]) {
    digest.word(u64::try_from(ends.len()).unwrap_or(u64::MAX));
    let (pairs, last) = ends.as_chunks::<2>();
    for [one, other] in pairs {
        digest.word(u64::from(*one) | u64::from(*other) << u32::BITS);
    }
    if let [last] = last {
        digest.word(u64::from(*last));
    }
}
