//! Open segment files: a bounded number of handles, the longest unused closed first.

use super::segment::path;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Handles that are kept open: a quarter of what systems commonly allow a process.
const OPEN_MAX: usize = 256;

pub(super) struct Files {
    folder: PathBuf,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    files: HashMap<u32, (Arc<File>, u64)>,
    uses: u64,
}

impl Files {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, open: Mutex::default() }
    }

    /// The file of a segment, for reading.
    pub(super) fn get(&self, segment: u32) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let now = open.uses;
        if let Some((file, used)) = open.files.get_mut(&segment) {
            *used = now;
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(path(&self.folder, segment))?);
        if open.files.len() >= OPEN_MAX {
            let oldest = open.files.iter().min_by_key(|(_, (_, used))| *used).map(|(number, _)| *number);
            oldest.and_then(|number| open.files.remove(&number));
        }
        open.files.insert(segment, (Arc::clone(&file), now));
        Ok(file)
    }

    /// Closes the file of a segment that is being removed.
    pub(super) fn close(&self, segment: u32) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).files.remove(&segment);
    }
}
