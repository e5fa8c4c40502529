//! Files of partitions that have moved to other machines: they would be of use if the
//! partition came back soon, so they are kept within bounds. Processes may share the folder,
//! so each says now and then which partitions it holds, by a mark in the partition's folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use weir_core::Partition;

use super::{IdFiles, IdFilesError, delete, list, partition_folder};

/// The file whose age says when the partition was last held by a process of this machine.
const HELD: &str = "held";
/// A partition that was held within this time is somebody's: its files are left alone.
const HELD_FOR: Duration = Duration::from_hours(3);

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Partitions whose files were deleted.
    pub deleted: u64,
    /// Bytes that are left of partitions which nobody here holds.
    pub bytes_left: u64,
}

impl IdFiles {
    /// Says that these partitions are held by this process; at least hourly.
    ///
    /// # Errors
    /// When a mark cannot be written.
    pub fn hold(&self, owned: &BTreeSet<Partition>) -> Result<(), IdFilesError> {
        let folders = owned.iter().map(|partition| self.folder.join(partition_folder(*partition)));
        folders.filter(|folder| folder.is_dir()).try_for_each(|folder| mark(&folder))
    }

    /// Deletes the files of partitions that nobody here holds: those last held before
    /// `held_after`, and then those not held for longest, until at most `bytes_max` are left.
    ///
    /// # Errors
    /// When a folder cannot be read or a file not be deleted.
    pub fn sweep(&self, held_after: SystemTime, bytes_max: u64) -> Result<Swept, IdFilesError> {
        let in_use_since = SystemTime::now().checked_sub(HELD_FOR).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut idle = Vec::new();
        for folder in list(&self.folder)?.into_iter().filter(|folder| folder.is_dir()) {
            let held_at = held_at(&folder)?;
            if held_at < in_use_since {
                idle.push((held_at, bytes_in(&folder)?, folder));
            }
        }
        // The youngest first: what is beyond the bound was not held for longest.
        idle.sort_by(|a, b| b.cmp(a));
        let mut swept = Swept::default();
        for (held_at, bytes, folder) in idle {
            if held_at >= held_after && swept.bytes_left + bytes <= bytes_max {
                swept.bytes_left += bytes;
            } else {
                list(&folder)?.iter().try_for_each(|path| delete(path))?;
                std::fs::remove_dir(&folder).map_err(|error| IdFilesError::io("delete", &folder, error))?;
                swept.deleted += 1;
            }
        }
        Ok(swept)
    }
}

/// Marks a partition's folder as held now.
pub(super) fn mark(folder: &Path) -> Result<(), IdFilesError> {
    let path = folder.join(HELD);
    std::fs::write(&path, b"").map_err(|error| IdFilesError::io("write", &path, error))
}

/// Whether a path is the mark of its folder.
pub(super) fn is_mark(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == HELD)
}

/// When a folder was last held; never, where it has no mark.
fn held_at(folder: &Path) -> Result<SystemTime, IdFilesError> {
    let path = folder.join(HELD);
    match std::fs::metadata(&path).and_then(|mark| mark.modified()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(SystemTime::UNIX_EPOCH),
        other => other.map_err(|error| IdFilesError::io("look at", &path, error)),
    }
}

fn bytes_in(folder: &Path) -> Result<u64, IdFilesError> {
    let lengths = list(folder)?.into_iter().map(|path: PathBuf| match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        other => other.map(|file| file.len()).map_err(|error| IdFilesError::io("look at", &path, error)),
    });
    lengths.sum()
}
