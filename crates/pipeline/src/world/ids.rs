//! Sealed event ids on this machine, as counting uses them. What is in which file, and which
//! files are used, the shard decides; a file counts for something once the ledger has
//! recorded it. All of it may wait for a disk: it is called where that keeps nobody waiting.

use std::collections::BTreeSet;
use std::fmt::Debug;

use weir_backends::id_files::{IdFilesError, RecordedFile};
use weir_core::Partition;
use weir_metering::identity::{Answers, RememberedId, SealedFile, Suspects};

use super::Place;

/// The files of all partitions.
pub trait IdStore: Send + Sync + 'static {
    /// The files of one.
    type Files: SealedIds;

    /// The files of a partition that was just taken, of those that the ledger has recorded. All
    /// others of this partition are deleted.
    fn of_partition(&self, place: Place, recorded: &[RecordedFile]) -> Result<Self::Files, IdFilesError>;

    /// Says that `owned` are held here, and deletes the files of partitions that nobody on this
    /// machine holds, beyond a bound of age and bytes.
    fn sweep(&self, owned: &BTreeSet<Partition>) -> Result<(), IdFilesError>;
}

/// The files of one partition, held by its owner.
pub trait SealedIds: Debug + Send + Sync + 'static {
    /// The first 64 bits of a file's keys, rising.
    type Keys: Iterator<Item = Result<u64, IdFilesError>>;

    /// What was wrong with recorded files, in words; each is gone. Taken out by asking.
    fn trouble(&mut self) -> Vec<String>;

    /// What the files cover, by rising offset.
    fn covered(&self) -> Vec<SealedFile>;

    /// The keys of some of the files.
    fn keys(&self, files: &[SealedFile]) -> Result<Vec<(SealedFile, Self::Keys)>, IdFilesError>;

    /// Deletes the file that an error names; false when it is none of these.
    fn discard(&mut self, error: &IdFilesError) -> Result<bool, IdFilesError>;

    /// Asks the files about suspects.
    fn settle(&self, suspects: Suspects) -> Result<Answers, IdFilesError>;

    /// Writes the file of a complete bucket; nothing is left of it after an error.
    fn write(
        &mut self,
        bucket: &SealedFile,
        ids: impl Iterator<Item = RememberedId>,
    ) -> Result<RecordedFile, IdFilesError>;

    /// Deletes all files but these.
    fn retain(&mut self, files: &[SealedFile]) -> Result<(), IdFilesError>;
}
