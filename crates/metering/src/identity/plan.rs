//! Which sealed files a shard starts with, and what must be read again from the journal.
//! A decision about values; the files themselves are elsewhere.

use super::day::Day;

/// A sealed bucket: all ids that were accepted at offsets in `[from, to)`. They arrived on
/// one day. A shard's files never overlap, so `from` names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealedFile {
    /// The first offset that it covers.
    pub from: i64,
    /// The first offset that it does not.
    pub to: i64,
    /// The day on which its ids arrived.
    pub day: Day,
    /// How many ids it holds.
    pub ids: u64,
}

/// How the memory of a partition is put together again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The files to use, by rising offset.
    pub files: Vec<SealedFile>,
    /// What to read again from the journal, by rising offset, as `[from, to)`. The last one
    /// ends where the ledger stands, and may be empty.
    pub gaps: Vec<(i64, i64)>,
}

impl MemoryPlan {
    /// Covers `[from, next_offset)`, which holds all ids that are still kept. `files` are
    /// those of this history: the ledger has their record. One that reaches beyond
    /// `next_offset` is not used even so.
    pub fn new(from: i64, next_offset: i64, files: impl IntoIterator<Item = SealedFile>) -> Self {
        let useful = |file: &SealedFile| from < file.to && file.from < file.to && file.to <= next_offset;
        let mut files: Vec<_> = files.into_iter().filter(useful).collect();
        files.sort_by_key(|file| (file.from, std::cmp::Reverse(file.to)));
        let mut plan = Self::default();
        let mut covered_to = from;
        for file in files {
            let first = plan.files.is_empty();
            if file.from < covered_to && !(first && file.from <= from) {
                continue;
            }
            if covered_to < file.from {
                plan.gaps.push((covered_to, file.from));
            }
            covered_to = file.to;
            plan.files.push(file);
        }
        plan.gaps.push((covered_to, next_offset.max(covered_to)));
        plan
    }
}
