//! The shard's memory of ids where it is kept in sealed files: what the shell asks and does
//! around `apply`. The files are the shell's; what is in which of them is decided here.
//!
//! To count a batch: [`Shard::suspects`], look into the files, [`Shard::apply_settled`]. After
//! the commit, for each of [`Shard::complete_buckets`]: write its [`Shard::ids_of`] to a file,
//! then [`Shard::seal`]. To build a shard again: [`Shard::new`], [`Shard::add_files`] with the
//! files of a `MemoryPlan`, and for each of its gaps [`Shard::begin_recall`] and the
//! accepted events with [`Shard::recall`].

use weir_core::Timestamp;

use crate::catalogue::Catalogue;
use crate::event::{EventHashes, EventRef};
use crate::identity::{Answers, IdMemory, RememberedId, SealedFile, Suspects};
use crate::outcome::Outcome;
use crate::record::{Batch, BodyRef, RecordRef};

use super::Shard;

impl Shard {
    /// A bucket of ids is complete when it holds this many, even though its day goes on.
    /// Without this, only a day's end completes one.
    pub fn bound_buckets(&mut self, ids_max: usize) {
        self.identities.bound_buckets(ids_max);
    }

    /// The ids of the batch that only sealed files can settle. It says at least those of all
    /// events that were counted before, and few others.
    pub fn suspects(&self, batch: &Batch) -> Suspects {
        let hashes = |record: RecordRef<'_>| match record.body {
            BodyRef::Event(event, _) => self.hasher.hashes(event, record.broker_time),
            BodyRef::Other(_) => EventHashes::default(),
        };
        // Without files nobody is a suspect, and no hash need be taken.
        let asked = self.identities.needs_answers();
        let hashes = if asked { batch.records().map(hashes).collect() } else { Vec::new() };
        self.identities.suspects(hashes, (batch.from, batch.to))
    }

    /// [`Shard::apply`] with what the files said of [`Shard::suspects`].
    ///
    /// # Panics
    /// As [`Shard::apply`], and when the answers are those of another batch, or the shard has
    /// sealed a bucket since: an id that was counted would be counted again.
    pub fn apply_settled(&mut self, batch: &Batch, catalogue: &Catalogue, answers: Answers) -> Outcome {
        self.identities.judge_by(answers, (batch.from, batch.to));
        let outcome = self.apply_records(batch, catalogue);
        self.identities.judged();
        outcome
    }

    /// The buckets that may be sealed: they take no more ids, and end at or below
    /// `committed_to`, up to which the ledger has counted.
    pub fn complete_buckets(&self, committed_to: i64) -> Vec<SealedFile> {
        self.identities.complete(committed_to)
    }

    /// The ids of a complete bucket, by rising key.
    pub fn ids_of(&self, bucket: &SealedFile) -> impl Iterator<Item = RememberedId> + '_ {
        self.identities.ids_of(bucket)
    }

    /// A complete bucket is in its file now, for good: its ids leave memory. False when the
    /// bucket has been forgotten meanwhile, and the file is of no use.
    pub fn seal(&mut self, bucket: &SealedFile) -> bool {
        self.identities.seal(bucket)
    }

    /// The sealed files whose ids are still kept; all others may be deleted.
    pub fn sealed_files(&self) -> Vec<SealedFile> {
        let mut files: Vec<_> = self.identities.files().copied().collect();
        files.sort();
        files
    }

    /// Recovery: takes sealed files into account, each with the first 64 bits of its ids'
    /// keys, rising. Fails as the first of the iterators that does; the shard is then dropped.
    pub fn add_files<E, I: Iterator<Item = Result<u64, E>>>(
        &mut self,
        files: Vec<(SealedFile, I)>,
    ) -> Result<(), E> {
        self.identities.add_files(files)
    }

    /// Recovery: the events that follow stand at offsets in `[from, to)`, which no file covers.
    pub fn begin_recall(&mut self, from: i64, to: i64) {
        self.identities.begin_range(from, to);
    }

    /// Recovery: remembers the event at `offset`, which the ledger says was accepted, when the
    /// running maximum of broker time was `broker_time_max_then` (its own record included).
    pub fn recall(&mut self, event: EventRef<'_>, offset: i64, broker_time_max_then: Timestamp) {
        self.identities.reach(offset);
        let hashes = self.hasher.hashes(event, broker_time_max_then);
        self.identities.remember(&hashes, broker_time_max_then);
    }

    /// How much memory the ids take.
    pub fn id_memory(&self) -> IdMemory {
        self.identities.memory()
    }
}
