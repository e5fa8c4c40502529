//! The buckets of the hot set: ranges of offsets that follow each other, each within one day
//! of arrival. Where one ends is decided by the journal and the bound on its size alone.

use std::collections::BTreeMap;

use super::day::Day;
use super::plan::SealedFile;

/// A bucket of ids in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    pub(super) day: Day,
    pub(super) ids: usize,
    from: i64,
    /// Where it ended; `None` as long as it takes ids.
    to: Option<i64>,
}

/// The buckets in memory, by number.
#[derive(Debug)]
pub(super) struct Buckets {
    by_number: BTreeMap<u32, Bucket>,
    open: Option<u32>,
    next_number: u32,
    /// The end of what earlier buckets and files cover.
    covered_to: i64,
    /// Where the range that is read again ends: a bucket does not reach beyond.
    range_to: i64,
    ids_max: usize,
}

impl Buckets {
    /// No buckets; the first id comes at `next_offset` or later.
    pub(super) fn new(next_offset: i64) -> Self {
        Self {
            by_number: BTreeMap::new(),
            open: None,
            next_number: 0,
            covered_to: next_offset,
            range_to: next_offset,
            ids_max: usize::MAX,
        }
    }

    /// A bucket ends when it has this many ids.
    pub(super) fn bound(&mut self, ids_max: usize) {
        self.ids_max = ids_max.max(1);
    }

    /// The ids that follow were accepted at offsets in `[from, to)`.
    pub(super) fn begin_range(&mut self, from: i64, to: i64) {
        if from != self.range_to {
            self.end(self.range_to);
        }
        if self.open.is_none() {
            self.covered_to = from;
        }
        self.range_to = to;
    }

    /// A day is over at the record at `offset`.
    pub(super) fn day_over(&mut self, day: Day, offset: i64) {
        if self.open().is_some_and(|open| open.day < day) {
            self.end(offset);
        }
    }

    /// The number of the bucket for an id that arrived on `day` at `offset`.
    pub(super) fn take(&mut self, day: Day, offset: i64) -> u32 {
        let ids_max = self.ids_max;
        if self.open().is_some_and(|open| open.day != day || open.ids >= ids_max) {
            self.end(offset);
        }
        let number = match self.open {
            Some(number) => number,
            None => {
                let number = self.next_number;
                // The last number marks a vacant slot.
                self.next_number = (number + 1) % u32::MAX;
                let bucket = Bucket { day, ids: 0, from: self.covered_to, to: None };
                self.by_number.insert(number, bucket);
                self.open = Some(number);
                number
            }
        };
        self.added(number);
        number
    }

    /// An id went from a bucket to another.
    pub(super) fn removed(&mut self, number: u32) {
        if let Some(bucket) = self.by_number.get_mut(&number) {
            bucket.ids = bucket.ids.saturating_sub(1);
        }
    }

    /// Takes buckets away.
    pub(super) fn retain(&mut self, keep: impl Fn(&Bucket) -> bool) {
        self.by_number.retain(|_, bucket| keep(bucket));
        self.open = self.open.filter(|number| self.by_number.contains_key(number));
    }

    /// Takes a bucket away.
    pub(super) fn remove(&mut self, number: u32) {
        self.by_number.remove(&number);
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.by_number.contains_key(&number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Bucket> + '_ {
        self.by_number.values()
    }

    /// The buckets that take no more ids and end at or below `committed_to`, with numbers.
    pub(super) fn complete(&self, committed_to: i64) -> impl Iterator<Item = (u32, SealedFile)> + '_ {
        self.by_number.iter().filter_map(move |(number, bucket)| {
            let Bucket { day, ids, from, to } = *bucket;
            let to = to.filter(|to| from < *to && *to <= committed_to)?;
            let ids = u64::try_from(ids).unwrap_or(u64::MAX);
            Some((*number, SealedFile { from, to, day, ids }))
        })
    }

    fn open(&self) -> Option<&Bucket> {
        self.by_number.get(&self.open?)
    }

    fn added(&mut self, number: u32) {
        if let Some(bucket) = self.by_number.get_mut(&number) {
            bucket.ids += 1;
        }
    }

    fn end(&mut self, offset: i64) {
        if let Some(bucket) = self.open.take().and_then(|number| self.by_number.get_mut(&number)) {
            bucket.to = Some(offset);
            self.covered_to = offset;
        }
    }
}
