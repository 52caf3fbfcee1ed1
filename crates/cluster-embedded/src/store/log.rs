//! The end of the last segment, where blocks are appended, and what was appended since the last sync.

use super::error::BlockError;
use super::records::Records;
use super::segment::{Key, Location, MAGIC, path, record_len};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes after which a new segment is begun. A collection copies at most so much to free one.
pub(super) const SEGMENT_MAX: u64 = 128 << 20;

/// A block on its way into a segment.
pub(super) struct Entry<'a> {
    pub(super) key: Key,
    pub(super) flags: u8,
    pub(super) data: &'a [u8],
}

pub(super) struct Log {
    folder: PathBuf,
    /// Bytes of every segment.
    sizes: BTreeMap<u32, u64>,
    active: Option<Active>,
    /// Segments that were written to since the last sync, the active one last.
    unsynced: Vec<(u32, Arc<File>)>,
    /// Blocks that have no row in the index.
    fresh: Vec<(Key, Location)>,
    unsynced_bytes: u64,
    /// Counts every append: a sync covers those before it.
    ticket: u64,
    /// A segment was begun since the last checkpoint.
    rolled: bool,
    buffer: Vec<u8>,
}

struct Active {
    number: u32,
    file: Arc<File>,
    len: u64,
}

/// What a sync has to do.
pub(super) struct Unsynced {
    pub(super) files: Vec<(u32, Arc<File>)>,
    pub(super) fresh: Vec<(Key, Location)>,
    pub(super) ticket: u64,
    /// The segment that can be the checkpoint afterwards.
    pub(super) checkpoint: Option<u32>,
}

impl Log {
    /// With these segments, which are not written to any more.
    pub(super) fn new(folder: PathBuf, sizes: BTreeMap<u32, u64>) -> Self {
        Self {
            folder,
            sizes,
            active: None,
            unsynced: Vec::new(),
            fresh: Vec::new(),
            unsynced_bytes: 0,
            ticket: 0,
            rolled: false,
            buffer: Vec::new(),
        }
    }

    /// Goes on writing to the last segment if there is room in it.
    pub(super) fn resume(&mut self) -> Result<(), BlockError> {
        let Some((&number, &len)) = self.sizes.last_key_value() else { return Ok(()) };
        if len < SEGMENT_MAX / 2 {
            let path = path(&self.folder, number);
            let file = OpenOptions::new().write(true).open(&path).map_err(|e| BlockError::io(&path, &e))?;
            self.active = Some(Active { number, file: Arc::new(file), len });
        }
        Ok(())
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.sizes.values().sum()
    }

    pub(super) fn sizes(&self) -> &BTreeMap<u32, u64> {
        &self.sizes
    }

    pub(super) fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Blocks and bytes that were not synced.
    pub(super) fn waiting(&self) -> (usize, u64) {
        (self.fresh.len(), self.unsynced_bytes)
    }

    /// Appends blocks with as few writes as they take. On an error none of them is there.
    pub(super) fn append(&mut self, entries: &[Entry<'_>]) -> Result<Vec<(Key, Location)>, BlockError> {
        if self.active.as_ref().is_none_or(|active| active.len >= SEGMENT_MAX) {
            self.begin_segment()?;
        }
        let Some(active) = &mut self.active else { return Ok(Vec::new()) };
        let mut placed = Vec::with_capacity(entries.len());
        let mut records = Records::new(&mut self.buffer);
        for entry in entries {
            let (segment, offset, length) =
                (active.number, (active.len + records.bytes) as u32, entry.data.len() as u32);
            placed.push((entry.key, Location { segment, offset, length, flags: entry.flags }));
            records.push(entry);
        }
        // What a failed write left behind is written over by the next.
        let path = || path(&self.folder, active.number);
        let bytes = records.write(&active.file, active.len).map_err(|e| BlockError::io(&path(), &e))?;
        if self.unsynced.last().is_none_or(|(number, _)| *number != active.number) {
            self.unsynced.push((active.number, Arc::clone(&active.file)));
        }
        active.len += bytes;
        self.unsynced_bytes += bytes;
        self.sizes.insert(active.number, active.len);
        self.fresh.extend_from_slice(&placed);
        self.ticket += 1;
        Ok(placed)
    }

    fn begin_segment(&mut self) -> Result<(), BlockError> {
        let number = self.sizes.last_key_value().map_or(0, |(number, _)| number + 1);
        let path = path(&self.folder, number);
        let refused = |e| BlockError::io(&path, &e);
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(refused)?;
        // Counted from here on, so that its number is not taken again.
        self.sizes.insert(number, MAGIC.len() as u64);
        file.write_all_at(&MAGIC, 0).map_err(refused)?;
        sync_folder(&self.folder)?;
        self.active = Some(Active { number, file: Arc::new(file), len: MAGIC.len() as u64 });
        self.rolled = true;
        Ok(())
    }

    /// The next block begins a new segment.
    pub(super) fn seal(&mut self) {
        self.active = None;
    }

    /// Hands over what is to be synced.
    pub(super) fn take_unsynced(&mut self) -> Unsynced {
        self.unsynced_bytes = 0;
        let rolled = std::mem::take(&mut self.rolled);
        Unsynced {
            files: std::mem::take(&mut self.unsynced),
            fresh: std::mem::take(&mut self.fresh),
            ticket: self.ticket,
            checkpoint: self.active.as_ref().filter(|_| rolled).map(|active| active.number),
        }
    }

    /// A sync failed: what the system kept of these segments is not known, and nothing more is written to them.
    pub(super) fn give_up(&mut self, segments: &[(u32, Arc<File>)]) {
        let among = |active: &Active| segments.iter().any(|(number, _)| *number == active.number);
        if self.active.as_ref().is_some_and(among) {
            self.seal();
        }
    }

    /// Forgets a segment that was removed.
    pub(super) fn forget(&mut self, segment: u32) {
        self.sizes.remove(&segment);
    }
}

/// Bytes that blocks take in a segment.
pub(super) fn bytes_of(entries: &[Entry<'_>]) -> u64 {
    entries.iter().map(|entry| record_len(usize::from(entry.key.size()) + 4, entry.data.len())).sum()
}

/// Makes new and removed names of a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), BlockError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| BlockError::io(folder, &e))
}
