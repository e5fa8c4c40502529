//! Files of event ids on a simulated host: they outlive its processes. The disk refuses now
//! and then, and a file may be found damaged.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use weir_backends::id_files::{IdFilesError, RecordedFile};
use weir_core::Partition;
use weir_core::digest::Digest;
use weir_metering::identity::{Answers, RememberedId, SealedFile, Suspects};
use weir_pipeline::world::{IdStore, Place, SealedIds};

use crate::mutation::Mutation;
use crate::stage::{Hand, lock};

/// In how many of a thousand writes the disk refuses.
const REFUSED_PER_MILLE: u64 = 30;
/// In how many of a thousand readings a file is found damaged.
const DAMAGED_PER_MILLE: u64 = 10;

/// A file.
#[derive(Clone, Debug)]
pub(crate) struct IdFile {
    recorded: RecordedFile,
    ids: Arc<Vec<RememberedId>>,
}

/// What stands on a host's disk, by partition and the file's name.
pub(crate) type Disk = Arc<Mutex<BTreeMap<(Partition, String), IdFile>>>;

/// The disk in the hand of a process.
pub(crate) struct SimIds {
    pub(crate) hand: Hand,
    pub(crate) disk: Disk,
    pub(crate) key: weir_core::HashKey,
}

/// The files of a partition.
pub(crate) struct SimFiles {
    hand: Hand,
    disk: Disk,
    key: weir_core::HashKey,
    place: Place,
    files: BTreeMap<i64, IdFile>,
}

impl std::fmt::Debug for SimFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimFiles({:?})", self.files.keys())
    }
}

impl IdStore for SimIds {
    type Files = SimFiles;

    fn of_partition(&self, place: Place, recorded: &[RecordedFile]) -> Result<SimFiles, IdFilesError> {
        let mut disk = lock(&self.disk);
        disk.retain(|(partition, _), file| *partition != place.0 || recorded.contains(&file.recorded));
        let ours = disk.iter().filter(|((partition, _), _)| *partition == place.0);
        let files = ours.map(|(_, file)| (file.recorded.covers.from, file.clone())).collect();
        let (hand, disk, key) = (self.hand.clone(), Arc::clone(&self.disk), self.key);
        Ok(SimFiles { hand, disk, key, place, files })
    }

    fn sweep(&self, _: &std::collections::BTreeSet<Partition>) -> Result<(), IdFilesError> {
        Ok(())
    }
}

impl SimFiles {
    fn happens(&self, per_mille: u64) -> bool {
        let mut state = self.hand.stage.state();
        let mishaps = state.mishaps;
        mishaps && state.tokens.per_mille(per_mille)
    }

    fn file(&self, from: i64) -> Result<&IdFile, IdFilesError> {
        let damaged = self.happens(DAMAGED_PER_MILLE);
        self.files.get(&from).filter(|_| !damaged).ok_or_else(|| refused("read", from))
    }

    fn delete(&self, file: &IdFile) {
        lock(&self.disk).remove(&(self.place.0, file.recorded.content_sum.to_string()));
    }
}

fn refused(attempt: &'static str, from: i64) -> IdFilesError {
    let path = PathBuf::from(from.to_string());
    IdFilesError::Io { attempt, path, reason: io::ErrorKind::Other.into() }
}

impl SealedIds for SimFiles {
    type Keys = std::vec::IntoIter<Result<u64, IdFilesError>>;

    fn trouble(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn covered(&self) -> Vec<SealedFile> {
        self.files.values().map(|file| file.recorded.covers).collect()
    }

    fn keys(&self, files: &[SealedFile]) -> Result<Vec<(SealedFile, Self::Keys)>, IdFilesError> {
        let keys = |covers: &SealedFile| {
            let keys: Vec<_> = self.file(covers.from)?.ids.iter().map(|id| Ok(id.key.high)).collect();
            Ok((*covers, keys.into_iter()))
        };
        files.iter().map(keys).collect()
    }

    fn discard(&mut self, error: &IdFilesError) -> Result<bool, IdFilesError> {
        let (IdFilesError::Io { path, .. } | IdFilesError::Broken { path, .. }) = error;
        let from = path.to_str().and_then(|from| from.parse().ok());
        let gone = from.and_then(|from: i64| self.files.remove(&from));
        gone.iter().for_each(|file| self.delete(file));
        Ok(gone.is_some())
    }

    fn settle(&self, suspects: Suspects) -> Result<Answers, IdFilesError> {
        if self.hand.stage.state().mutation == Some(Mutation::FilesNotAsked) {
            let none = vec![None; suspects.list().len()];
            return Ok(suspects.settled(&none));
        }
        let fingerprints = suspects.list().iter().map(|suspect| {
            let ids = &self.file(suspect.file_from)?.ids;
            let found = ids.binary_search_by_key(&suspect.key, |id| id.key).ok();
            Ok(found.map(|at| ids[at].fingerprint))
        });
        let fingerprints = fingerprints.collect::<Result<Vec<_>, IdFilesError>>()?;
        Ok(suspects.settled(&fingerprints))
    }

    fn write(
        &mut self,
        bucket: &SealedFile,
        ids: impl Iterator<Item = RememberedId>,
    ) -> Result<RecordedFile, IdFilesError> {
        if self.happens(REFUSED_PER_MILLE) {
            return Err(refused("write", bucket.from));
        }
        let ids: Vec<_> = ids.collect();
        let mut digest = Digest::new(&self.key, "simulated file of ids");
        digest.int(i64::from(self.place.0)).int(bucket.from).int(bucket.to);
        for id in &ids {
            digest.word(id.key.high).int(i64::from(id.key.low)).int(i64::from(id.fingerprint));
        }
        let recorded = RecordedFile { covers: *bucket, content_sum: digest.finish() };
        let file = IdFile { recorded, ids: Arc::new(ids) };
        lock(&self.disk).insert((self.place.0, recorded.content_sum.to_string()), file.clone());
        self.files.insert(bucket.from, file);
        Ok(recorded)
    }

    fn retain(&mut self, files: &[SealedFile]) -> Result<(), IdFilesError> {
        let all = std::mem::take(&mut self.files);
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.into_iter().partition(|(_, file)| files.contains(&file.recorded.covers));
        self.files = kept;
        gone.values().for_each(|file| self.delete(file));
        Ok(())
    }
}
