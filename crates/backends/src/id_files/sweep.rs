//! Files of partitions that have moved to other machines: they would be of use if the
//! partition came back soon, so they are kept within bounds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use weir_core::Partition;

use super::{IdFiles, IdFilesError, delete, list, partition_folder};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files deleted.
    pub deleted: u64,
    /// Bytes of files of other partitions that are left.
    pub bytes_left: u64,
}

impl IdFiles {
    /// Deletes files of partitions that are not among `owned`: those last written before
    /// `written_after`, and then the oldest, until at most `bytes_max` are left.
    ///
    /// # Errors
    /// When a folder cannot be read or a file not be deleted.
    pub fn sweep(
        &self,
        owned: &BTreeSet<Partition>,
        written_after: SystemTime,
        bytes_max: u64,
    ) -> Result<Swept, IdFilesError> {
        let ours: BTreeSet<_> =
            owned.iter().map(|partition| self.folder.join(partition_folder(*partition))).collect();
        let mut files = Vec::new();
        for folder in list(&self.folder)?.iter().filter(|folder| folder.is_dir() && !ours.contains(*folder)) {
            for path in list(folder)? {
                files.extend(written(&path)?);
            }
        }
        // The youngest first: what is beyond the bound is the oldest.
        files.sort_by(|a, b| b.cmp(a));
        let mut swept = Swept::default();
        for (written_at, bytes, path) in files {
            if written_at >= written_after && swept.bytes_left + bytes <= bytes_max {
                swept.bytes_left += bytes;
            } else {
                delete(&path)?;
                swept.deleted += 1;
            }
        }
        Ok(swept)
    }
}

/// When a file was written and how long it is; `None` when it is gone meanwhile.
fn written(path: &Path) -> Result<Option<(SystemTime, u64, PathBuf)>, IdFilesError> {
    let found = std::fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len())));
    match found {
        Ok((written_at, bytes)) => Ok(Some((written_at, bytes, path.to_owned()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IdFilesError::io("look at", path, error)),
    }
}
