//! The identities of one partition that may still be repeated: the hot set, the buckets it
//! consists of, and the filter in front of those that were sealed.

use std::convert::Infallible;

use weir_core::Timestamp;

use crate::event::EventHashes;

use super::buckets::Buckets;
use super::day::Day;
use super::filter::{Addition, SealedFilter};
use super::hashes::{IdKey, RememberedId};
use super::hot::HotIds;
use super::plan::SealedFile;
use super::suspect::{Answers, AskedFor, Suspect, Suspects};

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

/// How much memory the ids of a partition take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdMemory {
    /// Ids in the hot set.
    pub hot_ids: u64,
    /// Bytes of the hot set.
    pub hot_bytes: u64,
    /// Ids in sealed files.
    pub sealed_ids: u64,
    /// Bytes of the filter in front of them.
    pub sealed_bytes: u64,
    /// How many sealed files there are.
    pub sealed_files: u64,
}

/// The identities of one partition that may still be repeated.
#[derive(Debug)]
pub struct Identities {
    hot: HotIds,
    buckets: Buckets,
    sealed: SealedFilter,
    /// How often the sealed files have changed.
    sealings: u64,
    /// What the files said of the batch under way.
    answers: Answers,
    /// How long after the end of its day of arrival an id is kept.
    kept_ms: i64,
    now: Timestamp,
    /// The offset of the record under way.
    offset: i64,
}

impl Identities {
    /// An empty memory of a partition that goes on at `next_offset`. Ids are kept for window
    /// and bound for future events after the end of the day in which they arrived.
    pub fn new(window_ms: i64, future_ms: i64, next_offset: i64) -> Self {
        Self {
            hot: HotIds::new(),
            buckets: Buckets::new(next_offset),
            sealed: SealedFilter::new(),
            sealings: 0,
            answers: Answers::default(),
            kept_ms: window_ms.saturating_add(future_ms),
            now: Timestamp::EPOCH,
            offset: next_offset,
        }
    }

    /// A bucket is complete when it holds this many ids, even though its day goes on.
    pub fn bound_buckets(&mut self, ids_max: usize) {
        self.buckets.bound(ids_max);
    }

    /// What follows is about the record at `offset`.
    pub fn reach(&mut self, offset: i64) {
        self.offset = offset;
    }

    /// Time has passed: the partition's running maximum of broker time is `now`. Costs
    /// nothing, except for one walk over the hot set each time that a day in it is forgotten.
    pub fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.buckets.day_over(Day::of(self.now), self.offset);
        let (kept_ms, now) = (self.kept_ms, self.now);
        if self.buckets.iter().any(|bucket| bucket.day.is_over(kept_ms, now)) {
            self.buckets.retain(|bucket| !bucket.day.is_over(kept_ms, now));
            self.hot.retain(|number| self.buckets.contains(number));
        }
    }

    /// Reads a little of where an identity would be remembered; tells nothing.
    pub(crate) fn look_towards(&self, hashes: &EventHashes) {
        self.hot.look_towards(hashes.remembered().key);
    }

    /// What is known of an identity: from the hot set, or from the answers for the batch.
    pub fn seen(&self, hashes: &EventHashes) -> Seen {
        let RememberedId { key, fingerprint } = hashes.remembered();
        let known = self.hot.get(key).map(|hot| hot.fingerprint).or_else(|| {
            let mut kept = self.answers.of(key).filter(|(_, day)| !day.is_over(self.kept_ms, self.now));
            kept.next().map(|(fingerprint, _)| fingerprint)
        });
        match known {
            None => Seen::New,
            Some(known) if known == fingerprint => Seen::Same,
            Some(_) => Seen::OtherFacts,
        }
    }

    /// Remembers the identity of the record under way, which was accepted when the running
    /// maximum of broker time was `arrived_at`. Nothing happens when that is so long ago that
    /// it is forgotten by now.
    pub fn remember(&mut self, hashes: &EventHashes, arrived_at: Timestamp) {
        let day = Day::of(arrived_at);
        if day.is_over(self.kept_ms, self.now) {
            return;
        }
        let bucket = self.buckets.take(day, self.offset);
        if let Some(earlier) = self.hot.insert(hashes.remembered(), bucket) {
            self.buckets.removed(earlier.bucket);
        }
    }

    /// The identities that follow were accepted at offsets in `[from, to)`.
    pub fn begin_range(&mut self, from: i64, to: i64) {
        self.buckets.begin_range(from, to);
    }

    /// Takes sealed files into account, each with the first 64 bits of its keys, rising.
    /// Fails when one of the iterators does; the memory must then be built anew.
    pub fn add_files<E, I: Iterator<Item = Result<u64, E>>>(
        &mut self,
        files: Vec<(SealedFile, I)>,
    ) -> Result<(), E> {
        let (kept_ms, now) = (self.kept_ms, self.now);
        let additions = files.into_iter().map(|(file, keys)| Addition { file, keys }).collect();
        let sealed = std::mem::replace(&mut self.sealed, SealedFilter::new());
        self.sealed = sealed.rebuilt(additions, |file| !file.day.is_over(kept_ms, now))?;
        self.sealings += 1;
        Ok(())
    }

    /// The buckets that can be written to files: they take no more ids, and the ledger has
    /// counted at least up to `committed_to`, below which they end.
    pub fn complete(&self, committed_to: i64) -> Vec<SealedFile> {
        self.buckets.complete(committed_to).map(|(_, file)| file).collect()
    }

    /// The ids of a complete bucket, by rising key.
    pub fn ids_of(&self, file: &SealedFile) -> impl Iterator<Item = RememberedId> + '_ {
        let numbers = self.number_of(file).into_iter();
        numbers.flat_map(|number| self.hot.ids_of(number))
    }

    /// A complete bucket is in its file: its ids leave the hot set. False when there is no
    /// such bucket any more.
    pub fn seal(&mut self, file: &SealedFile) -> bool {
        let Some(number) = self.number_of(file) else { return false };
        let sealed = std::mem::replace(&mut self.sealed, SealedFilter::new());
        let keys = self.hot.ids_of(number).map(|id| Ok::<_, Infallible>(id.key.high));
        let (kept_ms, now) = (self.kept_ms, self.now);
        let additions = vec![Addition { file: *file, keys }];
        let Ok(sealed) = sealed.rebuilt(additions, |file| !file.day.is_over(kept_ms, now));
        self.sealed = sealed;
        self.sealings += 1;
        self.buckets.remove(number);
        self.hot.retain(|other| other != number);
        true
    }

    /// The sealed files whose ids are kept, in no order. All others may be deleted.
    pub fn files(&self) -> impl Iterator<Item = &SealedFile> + '_ {
        self.sealed.files().filter(|file| !file.day.is_over(self.kept_ms, self.now))
    }

    /// Which events of a batch a file may hold, by the hashes of each record's event.
    pub(crate) fn suspects(&self, hashes: Vec<EventHashes>, (from, to): (i64, i64)) -> Suspects {
        let keys: Vec<_> = hashes.iter().map(|hashes| IdKey::of(hashes.identity).high).collect();
        let mut list = Vec::new();
        self.sealed.probe(&keys, |index, file| {
            if !file.day.is_over(self.kept_ms, self.now) {
                let key = IdKey::of(hashes[index].identity);
                list.push(Suspect { file_from: file.from, key, day: file.day });
            }
        });
        list.sort();
        list.dedup();
        Suspects { asked_for: AskedFor { from, to, sealings: self.sealings }, list, hashes }
    }

    /// Judges a batch by these answers.
    ///
    /// # Panics
    /// When they are not about `[from, to)` or the files have changed since: an id that was
    /// counted would be counted again.
    pub(crate) fn judge_by(&mut self, answers: Answers, (from, to): (i64, i64)) {
        let expected = AskedFor { from, to, sealings: self.sealings };
        assert_eq!(answers.asked_for, expected, "a shard was given answers that it did not ask for");
        self.answers = answers;
    }

    /// The batch is over, and its answers with it.
    pub(crate) fn judged(&mut self) {
        self.answers = Answers::default();
    }

    /// The hashes of the event in a record of the batch under way, where they were taken.
    pub(crate) fn hashes(&self, index: usize) -> Option<EventHashes> {
        self.answers.hashes(index)
    }

    /// Whether there are files that must be asked.
    pub(crate) fn needs_answers(&self) -> bool {
        self.files().next().is_some()
    }

    /// How many identities are remembered.
    pub fn remembered(&self) -> usize {
        let hot: usize = self.buckets.iter().map(|bucket| bucket.ids).sum();
        let sealed: u64 = self.files().map(|file| file.ids).sum();
        hot.saturating_add(usize::try_from(sealed).unwrap_or(usize::MAX))
    }

    /// How much memory they take.
    pub fn memory(&self) -> IdMemory {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        IdMemory {
            hot_ids: count(self.buckets.iter().map(|bucket| bucket.ids).sum()),
            hot_bytes: count(self.hot.bytes()),
            sealed_ids: self.files().map(|file| file.ids).sum(),
            sealed_bytes: count(self.sealed.bytes()),
            sealed_files: count(self.files().count()),
        }
    }

    fn number_of(&self, file: &SealedFile) -> Option<u32> {
        let mut complete = self.buckets.complete(i64::MAX);
        complete.find_map(|(number, known)| (known == *file).then_some(number))
    }
}
