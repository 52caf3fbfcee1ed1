//! The folder of a store: whose it is, in which format, and how it comes to be in one step.

use super::error::{from_engine, from_io};
use super::options::FjallOptions;
use cluster_types::store::StoreError;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Name of the file that says what the folder is.
const MARKER: &str = "FORMAT";
/// What it says. The number counts changes of the tables' engine; formats of rows are counted by who writes them.
const MARK: &str = "ipfs-cluster datastore 1\n";

/// What [`prepare`] found.
pub(super) enum Found {
    /// A store of ours.
    Store,
    /// Nothing; there is an empty store now.
    Nothing,
}

/// Makes sure that there is a folder of ours, in our format, at `path`.
pub(super) fn prepare(path: &Path, options: &FjallOptions) -> Result<Found, StoreError> {
    match fs::read_to_string(path.join(MARKER)) {
        Ok(mark) if mark == MARK => Ok(Found::Store),
        Ok(mark) => Err(StoreError::Closed(format!(
            "{} was written in the format \"{}\", this program reads \"{}\"; use the version that wrote it",
            path.display(),
            mark.trim_end(),
            MARK.trim_end()
        ))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if is_vacant(path)? {
                create(path, options)?;
                Ok(Found::Nothing)
            } else {
                Err(StoreError::Closed(format!(
                    "{} holds something else than a datastore of this program (it has no file {MARKER}); \
                     move it away or configure another folder",
                    path.display()
                )))
            }
        }
        Err(e) => Err(from_io(&e, &path.join(MARKER).display().to_string())),
    }
}

/// Whether nothing is at `path`, or an empty folder.
fn is_vacant(path: &Path) -> Result<bool, StoreError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(from_io(&e, &path.display().to_string())),
    }
}

/// Creates the store beside its place and renames it there: the engine cannot open a folder whose creation was
/// interrupted, and a peer that was killed in its first second must start again.
fn create(path: &Path, options: &FjallOptions) -> Result<(), StoreError> {
    let fresh = beside(path);
    let io = |e: &std::io::Error| from_io(e, &fresh.display().to_string());
    match fs::remove_dir_all(&fresh) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(io(&e)),
    }
    fs::create_dir_all(&fresh).map_err(|e| io(&e))?;
    let database = options.builder(&fresh).open().map_err(|e| from_engine(&e, &fresh))?;
    drop(database);
    write_marker(&fresh).map_err(|e| io(&e))?;
    fs::rename(&fresh, path).map_err(|e| io(&e))?;
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        sync_folder(parent).map_err(|e| from_io(&e, &parent.display().to_string()))?;
    }
    Ok(())
}

/// `<path>.new`, in the same folder, so that a rename is one step.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn write_marker(folder: &Path) -> std::io::Result<()> {
    let mut file = File::create(folder.join(MARKER))?;
    file.write_all(MARK.as_bytes())?;
    file.sync_all()?;
    sync_folder(folder)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened as a file; renames are ordered by the file system.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Tries whether a mebibyte can be written.
pub(super) fn has_room(folder: &Path) -> Result<(), StoreError> {
    let probe = folder.join("probe");
    let written = fs::write(&probe, vec![1; 1024 * 1024]);
    let _best_effort = fs::remove_file(&probe); // What is left of it is overwritten by the next probe.
    written.map_err(|e| from_io(&e, &folder.display().to_string()))
}

/// Bytes that the files of a folder take on the device: of a sparse file only what is there.
pub(super) fn allocated_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => allocated_bytes(&entry.path()),
            Ok(meta) => file_bytes(&meta),
            // Compaction removes files at any time.
            Err(_) => 0,
        })
        .sum()
}

#[cfg(unix)]
fn file_bytes(meta: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(meta) * 512
}

#[cfg(not(unix))]
fn file_bytes(meta: &fs::Metadata) -> u64 {
    meta.len()
}
