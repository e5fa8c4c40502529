//! The files of one partition, held by its owner.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use weir_core::{Generation, HashKey, Partition};
use weir_metering::identity::{Answers, RememberedId, SealedFile, Suspects};
use weir_wire::id_file::IdFileError;

use super::sweep::is_mark;
use super::write::{ENDING, write};
use super::{IdFile, IdFilesError, IdKeys, RecordedFile, delete, list};

/// The files of a partition that may be asked.
#[derive(Debug)]
pub struct PartitionFiles {
    folder: PathBuf,
    key: HashKey,
    place: (Partition, Generation),
    /// By the first offset that they cover.
    files: BTreeMap<i64, IdFile>,
    trouble: Vec<String>,
}

impl PartitionFiles {
    pub(super) fn load(
        folder: PathBuf,
        key: HashKey,
        place: (Partition, Generation),
        recorded: &[RecordedFile],
    ) -> Result<Self, IdFilesError> {
        let mut found = Self { folder, key, place, files: BTreeMap::new(), trouble: Vec::new() };
        for path in list(&found.folder)?.into_iter().filter(|path| !is_mark(path)) {
            let kept = match found.recognise(&path, recorded) {
                Ok(file) => file.map(|file| found.hold(file)).is_some(),
                Err(error) => {
                    found.trouble.push(error.to_string());
                    false
                }
            };
            if !kept {
                delete(&path)?;
            }
        }
        Ok(found)
    }

    /// What was wrong with files that the ledger has recorded, in words; each was deleted, and
    /// its ids are read again from the journal. Taken out by asking.
    pub fn trouble(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trouble)
    }

    /// What the files cover, by rising offset.
    pub fn covered(&self) -> Vec<SealedFile> {
        self.files.values().map(|file| file.header().covers).collect()
    }

    /// The keys of some of the files, for `Shard::add_files`, which reads all of them: every
    /// block is checked.
    ///
    /// # Errors
    /// When one of the files cannot be opened. Then, and when reading fails later:
    /// [`PartitionFiles::discard`] it, and build the shard again.
    pub fn keys(&self, files: &[SealedFile]) -> Result<Vec<(SealedFile, IdKeys)>, IdFilesError> {
        files.iter().map(|covers| Ok((*covers, self.file(covers.from)?.keys()?))).collect()
    }

    /// Deletes the file that an error names; false when it is none of these.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub fn discard(&mut self, error: &IdFilesError) -> Result<bool, IdFilesError> {
        let (IdFilesError::Io { path, .. } | IdFilesError::Broken { path, .. }) = error;
        let known = self.files.values().find(|file| file.path() == path);
        let Some(from) = known.map(|file| file.header().covers.from) else { return Ok(false) };
        self.files.remove(&from);
        delete(path)?;
        Ok(true)
    }

    /// Asks the files about suspects.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged: the shard is built again without it.
    pub fn settle(&self, suspects: Suspects) -> Result<Answers, IdFilesError> {
        let mut fingerprints = Vec::with_capacity(suspects.list().len());
        for same_file in suspects.list().chunk_by(|a, b| a.file_from == b.file_from) {
            let file = self.file(same_file[0].file_from)?;
            fingerprints.extend(file.find(same_file.iter().map(|suspect| suspect.key))?);
        }
        Ok(suspects.settled(&fingerprints))
    }

    /// Writes the file of a complete bucket. It counts once the ledger has recorded what is
    /// returned, and is asked after `Shard::seal`.
    ///
    /// # Errors
    /// When it cannot be written; nothing is left of it, and the ids stay in memory.
    pub fn write(
        &mut self,
        bucket: &SealedFile,
        ids: impl Iterator<Item = RememberedId>,
    ) -> Result<RecordedFile, IdFilesError> {
        let path = write(&self.folder, self.key, self.place, bucket, ids)?;
        let file = IdFile::open(&path, &self.key)?;
        let recorded = RecordedFile { covers: *bucket, content_sum: file.content_sum() };
        self.hold(file);
        Ok(recorded)
    }

    /// Deletes all files but these.
    ///
    /// # Errors
    /// When one cannot be deleted.
    pub fn retain(&mut self, files: &[SealedFile]) -> Result<(), IdFilesError> {
        let (kept, gone) = std::mem::take(&mut self.files)
            .into_iter()
            .partition(|(_, file)| files.contains(&file.header().covers));
        self.files = kept;
        let gone: BTreeMap<i64, IdFile> = gone;
        gone.values().try_for_each(|file| delete(file.path()))
    }

    /// Bytes that the indexes take up in memory.
    pub fn index_bytes(&self) -> usize {
        self.files.values().map(IdFile::index_bytes).sum()
    }

    /// A file of this partition's history, as recorded; `None` for anything else in the folder.
    fn recognise(&self, path: &Path, recorded: &[RecordedFile]) -> Result<Option<IdFile>, IdFilesError> {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let expected = recorded.iter().find(|file| name.ends_with(&format!("-{}", file.content_sum)));
        let Some(expected) = expected.filter(|_| path.extension().is_some_and(|ending| ending == ENDING))
        else {
            return Ok(None);
        };
        let file = IdFile::open(path, &self.key)?;
        let header = file.header();
        let ours = (header.partition, header.generation) == self.place
            && header.covers == expected.covers
            && file.content_sum() == expected.content_sum;
        if ours { Ok(Some(file)) } else { Err(IdFilesError::broken(path, IdFileError::Header)) }
    }

    fn hold(&mut self, file: IdFile) {
        self.files.insert(file.header().covers.from, file);
    }

    pub(super) fn file(&self, from: i64) -> Result<&IdFile, IdFilesError> {
        self.files.get(&from).ok_or_else(|| {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            IdFilesError::io("find the ids from offset", Path::new(&from.to_string()), missing)
        })
    }
}
