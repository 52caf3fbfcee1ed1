//! Opening: what a crash left is cut off, and blocks without rows in the index get them.

use super::error::BlockError;
use super::files::Files;
use super::group::Group;
use super::index::Index;
use super::lease::Leases;
use super::log::{Log, sync_folder};
use super::segment::{Key, Location, Scan, number_of, path};
use super::{Blockstore, lock};
use cluster_types::store::Datastore;
use std::collections::{BTreeMap, HashMap};
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::watch;

/// Rows that are written at a time.
const ROWS: usize = 10_000;

impl Blockstore {
    /// Opens the blocks in a folder, which is made if it is not there; their index is in the store.
    ///
    /// # Errors
    /// When the folder or the store cannot be used.
    pub fn open(folder: &Path, store: Arc<dyn Datastore>, bytes_max: u64) -> Result<Self, BlockError> {
        let refused = |e| BlockError::io(folder, &e);
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(refused)?;
        let mut sizes = sizes(folder).map_err(refused)?;
        let index = Index::new(store);
        let end = recover(folder, &index, &mut sizes)?;
        let mut log = Log::new(folder.to_path_buf(), sizes);
        if end == End::Whole {
            log.resume()?;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            bytes_max,
            index,
            log: Mutex::new(log),
            fresh: RwLock::new(HashMap::new()),
            files: Files::new(folder.to_path_buf()),
            leases: Leases::default(),
            group: Group::default(),
            collecting: Mutex::new(()),
            arrived: watch::Sender::new(0),
        })
    }

    /// Writes out what is not durable yet.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn close(&self) -> Result<(), BlockError> {
        self.sync()?;
        let last = lock(&self.log).sizes().last_key_value().map_or(0, |(number, _)| *number);
        Ok(self.index.set_checkpoint(last)?)
    }
}

fn sizes(folder: &Path) -> io::Result<BTreeMap<u32, u64>> {
    let mut sizes = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(number_of) {
            sizes.insert(number, entry.metadata()?.len());
        }
    }
    Ok(sizes)
}

/// How the last segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With its last block: the next goes behind it.
    Whole,
    /// With blocks behind one that is damaged. What went behind them would not be found after a crash.
    Damaged,
}

/// Reads the segments from the checkpoint on.
fn recover(folder: &Path, index: &Index, sizes: &mut BTreeMap<u32, u64>) -> Result<End, BlockError> {
    let mut end = End::Whole;
    let checkpoint = index.checkpoint()?;
    let last = sizes.last_key_value().map(|(number, _)| *number);
    let (mut removed, mut rows, mut blocks) = (Vec::new(), Vec::new(), 0_u64);
    for (&number, size) in sizes.range_mut(checkpoint..) {
        let path = path(folder, number);
        let refused = |e| BlockError::io(&path, &e);
        let mut scan = match Scan::open(&path) {
            Ok(scan) => scan,
            // It was begun and nothing in it was synced.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                std::fs::remove_file(&path).map_err(refused)?;
                removed.push(number);
                continue;
            }
            Err(error) => return Err(refused(error)),
        };
        loop {
            let offset = scan.offset() as u32;
            let Some(record) = scan.next().map_err(refused)? else { break };
            let length = record.data_len() as u32;
            rows.push((record.key, Location { segment: number, offset, length, flags: record.flags }));
            blocks += 1;
            if rows.len() >= ROWS {
                add_rows(index, &mut rows)?;
            }
        }
        if scan.offset() < *size {
            let kept = scan.offset();
            let rest = *size - kept;
            if Some(number) != last {
                tracing::warn!(segment = %path.display(), kept, rest, "the end of a segment is not whole");
            } else if index.behind(number, kept)?.is_empty() {
                tracing::warn!(segment = %path.display(), kept, cut = rest, "the end of a segment was not whole");
                cut(&path, kept).map_err(refused)?;
                *size = kept;
            } else {
                // A row means that it was whole once.
                tracing::error!(segment = %path.display(), at = kept, "a segment of blocks is damaged: look after the disk");
                end = End::Damaged;
            }
        }
    }
    add_rows(index, &mut rows)?;
    sizes.retain(|number, _| !removed.contains(number));
    if blocks > 0 || !removed.is_empty() {
        sync_folder(folder)?;
        tracing::debug!(blocks, from = checkpoint, "the end of the block index was checked");
    }
    Ok(end)
}

/// Adds rows for blocks that have none. One that has a row is in two segments, since a crash cut a collection short or
/// the index was lost; either is as good.
fn add_rows(index: &Index, rows: &mut Vec<(Key, Location)>) -> Result<(), BlockError> {
    let mut missing = Vec::new();
    for (key, location) in rows.drain(..) {
        if index.get(&key)? != Some(location) {
            missing.push((key, location));
        }
    }
    Ok(index.put(&missing)?)
}

fn cut(path: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}
