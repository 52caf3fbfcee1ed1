//! The engine's errors in the words of [`StoreError`].

use cluster_types::store::{Batch, Change, StoreError};
use std::io;
use std::path::Path;

/// Longest key in bytes: the engine stores lengths of keys in 16 bits.
const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// Refuses what the engine would panic over.
pub(crate) fn check_keys(batch: &Batch) -> Result<(), StoreError> {
    for change in &batch.changes {
        let (Change::Put { table, key, .. } | Change::Delete { table, key }) = change;
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(StoreError::Io(format!(
                "a key of table {} has {} bytes; it must have 1 to {KEY_BYTES_MAX}",
                table.name(),
                key.len()
            )));
        }
    }
    Ok(())
}

/// What the engine says, with the folder that it is about.
pub(super) fn from_engine(error: &fjall::Error, path: &Path) -> StoreError {
    let path = path.display();
    match error {
        fjall::Error::Io(e) | fjall::Error::Storage(fjall::LsmError::Io(e)) => from_io(e, &path.to_string()),
        fjall::Error::Locked => StoreError::Closed(format!(
            "{path} is in use by another process; stop that one first (only one can use a folder at a time)"
        )),
        fjall::Error::InvalidVersion(_) | fjall::Error::Storage(fjall::LsmError::InvalidVersion(_)) => {
            StoreError::Closed(format!("{path} was written by another version; use the version that wrote it"))
        }
        fjall::Error::Poisoned => StoreError::Closed(format!(
            "{path} could not be written in the background; see the log, mend the device, and it goes on"
        )),
        other => StoreError::Corrupt(format!("{path}: {other}")),
    }
}

/// What the operating system says, with the path that it is about.
pub(super) fn from_io(error: &io::Error, path: &str) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Full(format!("no space left for {path}: {error}"))
        }
        _ => StoreError::Io(format!("{path}: {error}")),
    }
}
