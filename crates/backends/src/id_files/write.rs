//! Writing a file: beside its place first, so that it is there whole or not at all.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use weir_core::{Generation, HashKey, Partition};
use weir_metering::identity::{RememberedId, SealedFile};
use weir_wire::id_file::{EncodedEnd, HEADER_BYTES, IdFileEncoder};

use super::{IdFilesError, delete};

/// How the name of a file ends.
pub(super) const ENDING: &str = "ids";
/// How the name of one ends that is being written.
pub(super) const UNFINISHED: &str = "part";
/// Bytes that are gathered before they are written.
const GATHERED_BYTES: usize = 1 << 20;

/// Writes the file of a bucket into `folder`, and returns its path. What is left of a failed
/// attempt is deleted.
pub(super) fn write(
    folder: &Path,
    key: HashKey,
    place: (Partition, Generation),
    covers: &SealedFile,
    ids: impl Iterator<Item = RememberedId>,
) -> Result<PathBuf, IdFilesError> {
    let name = format!("g{}-{:020}-{:020}", place.1, covers.from, covers.to);
    let unfinished = folder.join(format!("{name}-{}.{UNFINISHED}", uuid::Uuid::new_v4().simple()));
    let written = fill(&unfinished, key, place, covers, ids).and_then(|end| {
        let path = folder.join(format!("{name}-{}.{ENDING}", end.content_sum));
        std::fs::rename(&unfinished, &path)
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|error| IdFilesError::io("finish", &path, error))?;
        Ok(path)
    });
    if written.is_err() {
        delete(&unfinished)?;
    }
    written
}

fn fill(
    path: &Path,
    key: HashKey,
    place: (Partition, Generation),
    covers: &SealedFile,
    ids: impl Iterator<Item = RememberedId>,
) -> Result<EncodedEnd, IdFilesError> {
    let failed = |error| IdFilesError::io("write", path, error);
    let broken = |error| IdFilesError::broken(path, error);
    let mut file = File::create_new(path).map_err(failed)?;
    file.write_all(&[0; HEADER_BYTES]).map_err(failed)?;
    let mut encoder = IdFileEncoder::new(key, covers);
    for id in ids {
        encoder.push(id).map_err(broken)?;
        if encoder.ready().len() >= GATHERED_BYTES {
            file.write_all(encoder.ready()).map_err(failed)?;
            encoder.ready().clear();
        }
    }
    let end = encoder.finish(place, covers).map_err(broken)?;
    file.write_all(&end.tail).map_err(failed)?;
    file.write_all_at(&end.header, 0).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    Ok(end)
}
