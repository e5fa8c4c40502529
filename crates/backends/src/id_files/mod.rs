//! Sealed event ids on this machine's disk: the only place that opens these files.
//!
//! One folder a partition, one file a bucket (`weir_wire::id_file`). A file is written beside
//! its place, synced, moved to it, and its folder synced: it is there whole or not at all.
//! Then the ledger records it ([`record`]). A file counts for something only when the ledger
//! has its record: a ledger that was restored to the past has no record of what was counted
//! after that, so ids of a lost future never suppress an event. Nothing here is needed: what
//! is missing or broken is read again from the journal.
//!
//! All of it blocks; callers are on a thread for that, except for [`record`]. What is in which
//! file, and which files are used, is `weir_metering::identity`'s to decide.

mod file;
mod partition;
pub mod record;
mod sweep;
#[cfg(test)]
mod tests;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use weir_core::{Generation, Hash128, HashKey, Partition};
use weir_metering::identity::SealedFile;
use weir_wire::id_file::IdFileError;

pub use file::{IdFile, IdKeys};
pub use partition::PartitionFiles;
pub use sweep::Swept;

/// A file as the ledger has recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedFile {
    /// What it covers.
    pub covers: SealedFile,
    /// The sum of its content.
    pub content_sum: Hash128,
}

/// A failed attempt at a file of event ids. Counting can do without: the ids stay in memory,
/// or are read again from the journal.
#[derive(Debug, thiserror::Error)]
pub enum IdFilesError {
    /// The disk or the file system refused: it may be full, or away.
    #[error("could not {attempt} {path}: {reason}", path = path.display())]
    Io {
        /// What was attempted, as in "write".
        attempt: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// A file is not what it should be. `from` is the first offset that it covers.
    #[error("the file of event ids {path} cannot be used: {reason}", path = path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: IdFileError,
    },
}

impl IdFilesError {
    fn io(attempt: &'static str, path: &Path, reason: io::Error) -> Self {
        Self::Io { attempt, path: path.to_owned(), reason }
    }

    fn broken(path: &Path, reason: IdFileError) -> Self {
        Self::Broken { path: path.to_owned(), reason }
    }
}

/// The folder of all files of event ids of this machine. Processes may share it: a partition
/// is one's at a time, and what the others leave behind is of use to it.
#[derive(Clone, Debug)]
pub struct IdFiles {
    folder: PathBuf,
    key: HashKey,
}

impl IdFiles {
    /// The files in `folder`, which is made when it is missing. `key` is the installation's.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(folder: &Path, key: HashKey) -> Result<Self, IdFilesError> {
        make(folder)?;
        Ok(Self { folder: folder.to_owned(), key })
    }

    /// The files of a partition that was just taken, of those that the ledger has recorded.
    /// All others of this partition are deleted: they are of another history. Those that are
    /// missing or broken are said in [`PartitionFiles::trouble`].
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn of_partition(
        &self,
        (partition, generation): (Partition, Generation),
        recorded: &[RecordedFile],
    ) -> Result<PartitionFiles, IdFilesError> {
        let folder = self.folder.join(partition_folder(partition));
        make(&folder)?;
        sweep::mark(&folder)?;
        PartitionFiles::load(folder, self.key, (partition, generation), recorded)
    }
}

fn make(folder: &Path) -> Result<(), IdFilesError> {
    std::fs::create_dir_all(folder).map_err(|error| IdFilesError::io("make the folder", folder, error))
}

fn partition_folder(partition: Partition) -> String {
    format!("partition-{partition:05}")
}

/// The paths of everything in a folder; none when there is no such folder.
fn list(folder: &Path) -> Result<Vec<PathBuf>, IdFilesError> {
    let failed = |error| IdFilesError::io("read the folder", folder, error);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

/// Deletes a file; one that is not there is as good as deleted.
fn delete(path: &Path) -> Result<(), IdFilesError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(IdFilesError::io("delete", path, error)),
        _ => Ok(()),
    }
}
