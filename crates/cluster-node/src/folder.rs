//! The folder of a peer: what lies where, and the lock that keeps a second process out.

use cluster_component::errors::io_text;
use cluster_types::{Multiaddr, PeerId};
use rustix::fs::{FlockOperation, fcntl_lock};
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A peer's folder: configuration and data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at this path, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `service.json`.
    #[must_use]
    pub fn service_json(&self) -> PathBuf {
        self.0.join("service.json")
    }

    /// `identity.json`.
    #[must_use]
    pub fn identity_json(&self) -> PathBuf {
        self.0.join("identity.json")
    }

    /// The peers that a file of addresses in this folder names, one address a line. What is no address of a peer is left
    /// out, as is a file that is not there.
    #[must_use]
    pub fn peers_in(&self, file: &str) -> BTreeSet<PeerId> {
        let file = if file.is_empty() { "peerstore" } else { file };
        let text = std::fs::read_to_string(self.0.join(file)).unwrap_or_default();
        let addresses = text.lines().filter_map(|line| line.trim().parse::<Multiaddr>().ok());
        addresses.filter_map(|address| crate::config::name_of(&address)).collect()
    }

    /// Writes addresses of peers, one a line, in the place of those that were there; `file` is
    /// `cluster.peerstore_file`. Returns the path.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn write_peers(&self, file: &str, addresses: &[Multiaddr]) -> io::Result<PathBuf> {
        let path = self.0.join(if file.is_empty() { "peerstore" } else { file });
        let lines: String = addresses.iter().map(|address| format!("{address}\n")).collect();
        std::fs::write(&path, lines)?;
        Ok(path)
    }

    /// The embedded IPFS node's blocks.
    #[must_use]
    pub fn embedded(&self) -> PathBuf {
        self.0.join("embedded")
    }

    /// Makes the folder and those above it, for the owner only.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn create(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)
    }

    /// Writes a file that only the owner may read, whole or not at all.
    ///
    /// # Errors
    /// When the operating system refuses; then the old file is as it was.
    pub fn write_private(&self, path: &Path, text: &str) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        // A rename is durable once the folder is.
        File::open(&self.0)?.sync_all()
    }

    /// Takes the folder for this process. It is given back when the lock is dropped.
    ///
    /// # Errors
    /// When another process holds it or the file cannot be written. The text is the reference's, and says what to do.
    pub fn lock(&self) -> Result<FolderLock, LockError> {
        let path = self.0.join("cluster.lock");
        let refused = |reason: String| LockError { path: path.clone(), reason };
        self.create().map_err(|e| refused(format!("cannot create {}: {e}", self.0.display())))?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| refused(format!("lock {}: {}", path.display(), io_text(&e))))?;
        if file.metadata().is_ok_and(|metadata| metadata.len() > 0) {
            // As the reference: what somebody wrote there is not ours to remove.
            let reason = format!("can't Lock file \"{}\": has non-zero size", path.display());
            return Err(refused(format!("cannot acquire lock: {reason}")));
        }
        // The kind of lock that the reference takes, so that a peer of either kind keeps the other out.
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| refused(format!("lock {}: someone else has the lock", path.display())))?;
        Ok(FolderLock { path, _file: file })
    }
}

/// Holds a [`Folder`] until dropped.
#[derive(Debug)]
pub struct FolderLock {
    path: PathBuf,
    _file: File,
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_file(&self.path); // An empty file left behind keeps nobody out.
    }
}

/// Why a folder could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{reason}. If no other ipfs-cluster-service process is running, remove {}, or make sure that the config folder is \
     writable for the user running ipfs-cluster-service.",
    path.display()
)]
pub struct LockError {
    path: PathBuf,
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_are_for_the_owner_only_and_replace_the_old_one() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().expect("temp folder");
        let folder = Folder::new(temp.path().join("a/b"));
        folder.create().expect("created");

        folder.write_private(&folder.service_json(), "one").expect("written");
        folder.write_private(&folder.service_json(), "two").expect("written again");

        assert_eq!(std::fs::read_to_string(folder.service_json()).expect("read"), "two");
        let mode = std::fs::metadata(folder.service_json()).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_lock_file_that_somebody_wrote_into_is_left_alone() {
        let temp = tempfile::tempdir().expect("temp folder");
        std::fs::write(temp.path().join("cluster.lock"), "x").expect("written");

        let error = Folder::new(temp.path()).lock().expect_err("not ours");
        assert!(error.to_string().contains("has non-zero size. If no other"), "{error}");
    }

    #[test]
    fn the_lock_file_goes_with_the_lock() {
        let temp = tempfile::tempdir().expect("temp folder");
        let folder = Folder::new(temp.path());

        let lock = folder.lock().expect("free");
        assert!(temp.path().join("cluster.lock").exists());
        drop(lock);

        assert!(!temp.path().join("cluster.lock").exists());
        folder.lock().expect("free again");
    }
}
