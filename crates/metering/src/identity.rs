//! Who has been seen before: the exact memory of event identities (invariant 9).
//!
//! An identity is (tenant, source, id), hashed with a secret key to 128 bits; beside it
//! stands a 64-bit fingerprint of the event's facts, by which a repetition is told from a
//! conflict. Ids are kept by the day of their arrival (the partition's running maximum of
//! broker time) and forgotten together, once no event of that day could be accepted any
//! more. Forgetting is a function of the records alone, never of where batches are cut.
//!
//! Two different identities share a hash with a chance of n² / 2^129 among n remembered
//! ids: 1.5 · 10^-21 at a thousand million. A conflict passes as a plain repetition with
//! a chance of 2^-64; either way it is counted once.
//!
//! Memory: 32 bytes an id and one byte of table, times 1.15 to 2.3 for the table's free
//! places: 35 days at r events a second are about 3,000,000 · r ids, 115 to 230 MB · r.
//! It holds no events, and it writes no files.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use weir_core::digest::Digest;
use weir_core::time::DAY_MS;
use weir_core::{Hash128, HashKey, Timestamp};

use crate::event::UsageEvent;

/// What is known of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    New,
    /// It came before, with the same facts.
    Same,
    /// It came before, with other facts.
    OtherFacts,
}

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

/// The identities of one partition that may still be repeated.
#[derive(Debug)]
pub struct Identities {
    entries: HashMap<u128, Entry, BuildHasherDefault<IdHasher>>,
    /// How many entries each day of arrival has.
    days: BTreeMap<u32, usize>,
    /// How long after the end of its day of arrival an id is kept.
    kept_ms: i64,
    now: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    fingerprint: u64,
    day: u32,
}

impl Identities {
    /// An empty memory. Ids are kept for window and bound for future events after the end
    /// of the day in which they arrived.
    pub fn new(window_ms: i64, future_ms: i64) -> Self {
        Self {
            entries: HashMap::default(),
            days: BTreeMap::new(),
            kept_ms: window_ms.saturating_add(future_ms),
            now: Timestamp::EPOCH,
        }
    }

    /// Time has passed: the partition's running maximum of broker time is now `now`.
    /// Costs nothing, except for one walk over all ids each time a day is forgotten.
    pub fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        let kept_ms = self.kept_ms;
        let now = self.now;
        if !self.days.keys().next().is_some_and(|day| is_over(*day, kept_ms, now)) {
            return;
        }
        self.days.retain(|day, _| !is_over(*day, kept_ms, now));
        self.entries.retain(|_, entry| !is_over(entry.day, kept_ms, now));
    }

    /// What is known of an identity.
    pub fn seen(&self, hashes: &EventHashes) -> Seen {
        match self.entries.get(&hashes.identity.0) {
            None => Seen::New,
            Some(entry) if entry.fingerprint == fingerprint(hashes.facts) => Seen::Same,
            Some(_) => Seen::OtherFacts,
        }
    }

    /// Remembers an identity that arrived when the running maximum of broker time was
    /// `arrived_at`. Nothing happens when that is so long ago that it is forgotten by now.
    pub fn remember(&mut self, hashes: &EventHashes, arrived_at: Timestamp) {
        let day = day_of(arrived_at);
        if is_over(day, self.kept_ms, self.now) {
            return;
        }
        let entry = Entry { fingerprint: fingerprint(hashes.facts), day };
        *self.days.entry(day).or_default() += 1;
        if let Some(earlier) = self.entries.insert(hashes.identity.0, entry)
            && let Some(count) = self.days.get_mut(&earlier.day)
        {
            *count -= 1;
        }
    }

    /// How many identities are remembered.
    pub fn remembered(&self) -> usize {
        self.entries.len()
    }

    /// How many identities are remembered by day of arrival (days since 1970-01-01).
    pub fn remembered_by_day(&self) -> impl Iterator<Item = (u32, usize)> {
        self.days.iter().map(|(day, count)| (*day, *count))
    }
}

fn day_of(at: Timestamp) -> u32 {
    u32::try_from(at.millis() / DAY_MS).unwrap_or(u32::MAX)
}

/// Whether ids that arrived on `day` can no longer be repeated: the latest of them may be
/// stamped almost the bound for future events after the day's end, and is accepted for a window.
fn is_over(day: u32, kept_ms: i64, now: Timestamp) -> bool {
    let day_end_ms = (i64::from(day) + 1) * DAY_MS;
    now.millis() >= day_end_ms.saturating_add(kept_ms)
}

fn fingerprint(facts: Hash128) -> u64 {
    low_half(facts.0)
}

fn low_half(value: u128) -> u64 {
    u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default()
}

/// The keys are keyed hashes already: half of one is as good as any hash of it.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u128(&mut self, id: u128) {
        self.0 = low_half(id);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}
