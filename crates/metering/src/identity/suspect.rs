//! Ids that only a file can settle, and what the files said of them.
//!
//! The shard says what it suspects of a batch before it applies the batch; the shell looks
//! into the files; the shard applies the batch with the answers. Both carry the batch's
//! bounds and the state of the filter that they belong to, so that a batch is never judged
//! by the answers of another.

use crate::event::EventHashes;

use super::day::Day;
use super::hashes::IdKey;

/// An id that a file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suspect {
    /// The file to look in, by its first offset.
    pub file_from: i64,
    /// The id.
    pub key: IdKey,
    /// The day on which the file's ids arrived.
    pub day: Day,
}

/// Which batch, and which state of the sealed files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct AskedFor {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) sealings: u64,
}

/// What is suspected of a batch.
#[derive(Clone, Debug, Default)]
pub struct Suspects {
    pub(super) asked_for: AskedFor,
    pub(super) list: Vec<Suspect>,
    /// The hashes of the batch's events, by index of the record, so that they are taken once.
    pub(super) hashes: Vec<EventHashes>,
}

impl Suspects {
    /// The suspects, by file and key, each once.
    pub fn list(&self) -> &[Suspect] {
        &self.list
    }

    /// The answers: for each suspect of [`Suspects::list`], in order, the fingerprint that
    /// its file has for it, if any.
    ///
    /// # Panics
    /// When there are not as many answers as suspects.
    pub fn settled(self, fingerprints: &[Option<u32>]) -> Answers {
        assert_eq!(fingerprints.len(), self.list.len(), "each suspect needs one answer");
        let both = self.list.iter().zip(fingerprints);
        let found =
            both.filter_map(|(suspect, fingerprint)| Some((suspect.key, (*fingerprint)?, suspect.day)));
        let mut found: Vec<_> = found.collect();
        found.sort();
        Answers { asked_for: self.asked_for, found, hashes: self.hashes }
    }
}

/// What the files said of the suspects of a batch.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pub(super) asked_for: AskedFor,
    /// Those that were found: key, fingerprint, day of arrival; sorted.
    found: Vec<(IdKey, u32, Day)>,
    hashes: Vec<EventHashes>,
}

impl Answers {
    /// What was found of an id, in each file that has it.
    pub(super) fn of(&self, key: IdKey) -> impl Iterator<Item = (u32, Day)> + '_ {
        let first = self.found.partition_point(|(known, ..)| *known < key);
        let ours = self.found[first..].iter().take_while(move |(known, ..)| *known == key);
        ours.map(|(_, fingerprint, day)| (*fingerprint, *day))
    }

    /// The hashes of the event in a record of the batch, where they were taken.
    pub(super) fn hashes(&self, index: usize) -> Option<EventHashes> {
        self.hashes.get(index).copied()
    }

    /// How many suspects were found in a file.
    pub fn found(&self) -> usize {
        self.found.len()
    }
}
