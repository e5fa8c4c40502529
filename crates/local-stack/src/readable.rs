//! Folders that a user without rights can reach. PostgreSQL refuses to run as root, so under root
//! it runs as `nobody`, and that user must be able to pass every folder above its files. Where it
//! cannot (a checkout inside /root), a folder under the temporary folder stands in.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::process::is_root;

/// The user and group `nobody`.
pub(crate) const NOBODY: u32 = 65_534;

/// `wanted`, or its stand-in when `nobody` could not reach it. The choice depends only on the
/// path, so the same folder finds the same stand-in again; `stands-in` beside it names it.
pub(crate) fn reachable(wanted: &Path) -> Result<PathBuf> {
    if !is_root() || is_passable(wanted) {
        return Ok(wanted.to_owned());
    }
    let mut hasher = DefaultHasher::new();
    wanted.hash(&mut hasher);
    let name = wanted.file_name().and_then(|name| name.to_str()).unwrap_or("data");
    let stand_in = std::env::temp_dir().join(format!("weir-{name}-{:016x}", hasher.finish()));
    if let Some(parent) = wanted.parent() {
        fs::create_dir_all(parent).map_err(Error::io(format!("create {}", parent.display())))?;
        let note = parent.join(format!("{name}.stands-in"));
        fs::write(&note, stand_in.display().to_string())
            .map_err(Error::io(format!("write {}", note.display())))?;
    }
    Ok(stand_in)
}

/// True when every existing folder above the path lets other users pass.
fn is_passable(path: &Path) -> bool {
    path.ancestors()
        .skip(1)
        .filter_map(|folder| fs::metadata(folder).ok())
        .all(|metadata| metadata.permissions().mode() & 0o001 != 0)
}

/// Makes `nobody` the owner, under root.
pub(crate) fn give_to_nobody(path: &Path) -> Result<()> {
    if is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))
            .map_err(Error::io(format!("give {} to nobody", path.display())))?;
    }
    Ok(())
}

/// The fetched programs at a place where `nobody` can run them: where they are, or a copy.
pub(crate) fn reachable_programs(folder: &Path) -> Result<PathBuf> {
    let target = reachable(folder)?;
    let stamp = fs::read(folder.join(crate::setup::STAMP)).unwrap_or_default();
    if target == folder || fs::read(target.join(crate::setup::STAMP)).is_ok_and(|it| it == stamp) {
        return Ok(target);
    }
    let partial = target.with_extension(format!("{}", std::process::id()));
    copy(folder, &partial)?;
    // An older version may be there; a copy made at the same moment by another process serves too.
    let _ = fs::remove_dir_all(&target);
    if fs::rename(&partial, &target).is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    Ok(target)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = |path: &Path| Error::io(format!("copy {} to {}", path.display(), to.display()));
    fs::create_dir_all(to).map_err(failed(from))?;
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed(&source))?;
        if kind.is_dir() {
            copy(&source, &target)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&source).map_err(failed(&source))?;
            std::os::unix::fs::symlink(link, &target).map_err(failed(&source))?;
        } else {
            fs::copy(&source, &target).map_err(failed(&source))?;
        }
    }
    Ok(())
}
