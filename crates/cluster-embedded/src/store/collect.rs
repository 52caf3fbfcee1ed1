//! Garbage collection: what no root leads to is removed from the index, then segments that hold much of it are written
//! anew without it, so that its space goes back to the file system.

use super::error::BlockError;
use super::lease::short;
use super::log::{Entry, sync_folder};
use super::segment::{Key, Record, Scan, path, record_len};
use super::{Blockstore, lock};
use cid::Cid;
use dag::links::Walk;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::TryLockError;

/// A segment is written anew when more than one part in so many of it is garbage.
const GARBAGE_PART: u64 = 20;

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 4 << 20;

/// Bytes of the device that copies leave free.
const ROOM_SPARE: u64 = 1 << 20;

/// What a collection starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// The whole DAG, which is known to be here: what is missing ends the collection.
    Pinned(Cid),
    /// As much of the DAG as is here.
    Wanted(Cid),
    /// One block.
    Single(Cid),
}

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blocks that are gone, by their hash: the names that they were put under are not known any more.
    pub removed: Vec<Cid>,
    /// Bytes that went back to the file system.
    pub freed_bytes: u64,
    /// What could not be done; what it met is still there.
    pub failures: Vec<String>,
}

impl Blockstore {
    /// Removes what no root leads to and no lease covers. `roots` is asked once, after the collection has begun.
    ///
    /// Memory: about 60 bytes a block that is kept.
    ///
    /// # Errors
    /// When it could not be found out what must be kept: nothing is removed then.
    pub fn collect(
        &self,
        roots: impl FnOnce(&mut dyn FnMut(Root) -> Result<(), BlockError>) -> Result<(), BlockError>,
    ) -> Result<Collected, BlockError> {
        let _one_at_a_time = match self.collecting.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(BlockError::Busy("garbage is being collected already: wait for its end".into()));
            }
            held => held,
        };
        let _lease = self.leases.begin_with_all();
        self.sync()?;
        let mut kept = Kept { store: self, live: HashSet::new(), walk: None };
        roots(&mut |root| kept.add(root))?;
        let live = kept.live;
        let mut collected = Collected::default();
        let live_bytes = self.sweep(&live, &mut collected.removed)?;
        let before = self.bytes();
        if let Err(error) = self.compact(&live_bytes, &mut collected.failures) {
            collected.failures.push(format!("not all space was given back: {error}"));
        }
        collected.freed_bytes = before.saturating_sub(self.bytes());
        Ok(collected)
    }

    /// Removes rows of garbage. Returns the bytes of what stays, by segment.
    fn sweep(&self, live: &HashSet<u128>, removed: &mut Vec<Cid>) -> Result<BTreeMap<u32, u64>, BlockError> {
        let (mut bytes, mut after) = (BTreeMap::new(), None);
        loop {
            let rows = self.index.page(after.as_ref())?;
            let Some((last, _)) = rows.last() else { return Ok(bytes) };
            after = Some(*last);
            // Under this lock nobody learns that a block is here which is about to go.
            let touched = self.leases.lock();
            let (stay, go): (Vec<_>, Vec<_>) =
                rows.into_iter().partition(|(key, _)| live.contains(&short(key)) || touched.covers(key));
            let go: Vec<Key> = go.into_iter().map(|(key, _)| key).collect();
            self.index.delete(&go)?;
            drop(touched);
            for (key, location) in stay {
                let length = record_len(key.to_bytes().len(), location.length as usize);
                *bytes.entry(location.segment).or_insert(0) += length;
            }
            removed.extend(go.iter().map(|key| Cid::new_v1(dag::RAW, *key)));
        }
    }

    /// Writes segments anew that hold much garbage, those with the least to copy first: what they free makes room for the
    /// next.
    fn compact(&self, live: &BTreeMap<u32, u64>, failures: &mut Vec<String>) -> Result<(), BlockError> {
        let mut worth: Vec<(u64, u32)> = {
            let mut log = lock(&self.log);
            let sizes =
                log.sizes().iter().map(|(number, size)| (live.get(number).copied().unwrap_or(0), *number, *size));
            let worth: Vec<_> = sizes.filter(|(live, _, size)| size - live.min(size) > size / GARBAGE_PART).collect();
            let last = log.sizes().last_key_value().map(|(number, _)| *number);
            // Blocks that came since the count are in it.
            if worth.iter().any(|(_, number, _)| Some(*number) == last) {
                log.seal();
            }
            worth.into_iter().map(|(live, number, _)| (live, number)).collect()
        };
        worth.sort_unstable();
        // Rows that are gone must be gone for good before the blocks are.
        self.sync()?;
        self.index.sync()?;
        for (live, number) in worth {
            // Half a copy would take room and give none back.
            if live > 0 && self.room()? < live + ROOM_SPARE {
                let needed = live + ROOM_SPARE;
                let text = format!("the device is too full to write a segment anew: {needed} bytes of room are needed");
                return Err(BlockError::Full(text));
            }
            failures.extend(self.rewrite(number)?);
        }
        Ok(())
    }

    /// Bytes that are free on the device.
    fn room(&self) -> Result<u64, BlockError> {
        let system = rustix::fs::statvfs(&self.folder).map_err(|e| BlockError::io(&self.folder, &e.into()))?;
        Ok(system.f_bavail.saturating_mul(system.f_frsize))
    }

    /// Copies what is live in a segment, and removes it. One that holds live blocks which cannot be read stays: the text
    /// says so.
    fn rewrite(&self, number: u32) -> Result<Option<String>, BlockError> {
        let path = path(&self.folder, number);
        let refused = |e| BlockError::io(&path, &e);
        let mut scan = Scan::open(&path).map_err(refused)?;
        let mut copy = Copy::default();
        loop {
            let offset = scan.offset();
            let Some(record) = scan.next().map_err(refused)? else { break };
            let here = |row: super::Location| row.segment == number && u64::from(row.offset) == offset;
            if self.locate(&record.key)?.is_some_and(here) {
                copy.take(self, record)?;
            }
        }
        copy.write(self)?;
        // Where a record is damaged the scan is over; what lies behind it is there all the same.
        let damaged = match std::fs::metadata(&path).map_err(refused)?.len() > scan.offset() {
            true => self.rescue(number, scan.offset(), &mut copy)?,
            false => 0,
        };
        if copy.copied {
            self.sync()?;
            self.index.sync()?;
        }
        if damaged > 0 {
            let text =
                "blocks in it that are needed are damaged, and it stays: what they belong to must be pinned anew";
            return Ok(Some(format!("{}: {damaged} {text}", path.display())));
        }
        self.remove_segment(number, &path).map(|()| None)
    }

    /// Copies what the index knows of a segment from an offset on. Returns how many blocks cannot be read.
    fn rescue(&self, number: u32, offset: u64, copy: &mut Copy) -> Result<u64, BlockError> {
        // Rows of what was copied lead to the copies by then.
        self.sync()?;
        let (path, mut damaged) = (path(&self.folder, number), 0);
        for (key, location) in self.index.behind(number, offset)? {
            match self.read(&key, location) {
                Ok(Some(record)) => copy.take(self, record)?,
                Ok(None) => damaged += 1,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => damaged += 1,
                Err(error) => return Err(BlockError::io(&path, &error)),
            }
        }
        copy.write(self)?;
        tracing::error!(segment = %path.display(), offset, damaged, "a segment of blocks is damaged: look after the disk");
        Ok(damaged)
    }

    fn remove_segment(&self, number: u32, path: &Path) -> Result<(), BlockError> {
        std::fs::remove_file(path).map_err(|e| BlockError::io(path, &e))?;
        self.files.close(number);
        lock(&self.log).forget(number);
        sync_folder(&self.folder)
    }
}

/// Blocks on their way from a segment that is written anew, some at a time.
#[derive(Default)]
struct Copy {
    batch: Vec<Record>,
    bytes: usize,
    /// Whether any was.
    copied: bool,
}

impl Copy {
    fn take(&mut self, store: &Blockstore, record: Record) -> Result<(), BlockError> {
        self.bytes += record.data_len();
        self.batch.push(record);
        if self.bytes >= COPY_BYTES { self.write(store) } else { Ok(()) }
    }

    fn write(&mut self, store: &Blockstore) -> Result<(), BlockError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let entries: Vec<Entry<'_>> = self.batch.iter().map(Record::entry).collect();
        store.append(&mut lock(&store.log), &entries)?;
        drop(entries);
        self.batch.clear();
        self.bytes = 0;
        self.copied = true;
        Ok(())
    }
}

/// What must stay, by the short names of blocks.
struct Kept<'a> {
    store: &'a Blockstore,
    live: HashSet<u128>,
    /// Remembers what was seen below earlier roots of the kind; the flag tells whether blocks may be missing.
    walk: Option<Walk>,
}

impl Kept<'_> {
    fn add(&mut self, root: Root) -> Result<(), BlockError> {
        match root {
            Root::Single(cid) => drop(self.live.insert(short(cid.hash()))),
            Root::Pinned(cid) => self.follow(cid, true)?,
            Root::Wanted(cid) if self.store.locate(cid.hash())?.is_some() => self.follow(cid, false)?,
            Root::Wanted(_) => {}
        }
        Ok(())
    }

    fn follow(&mut self, root: Cid, whole: bool) -> Result<(), BlockError> {
        let mut walk = match self.walk.take() {
            None => Walk::new(root),
            Some(mut walk) => {
                walk.also(root);
                walk
            }
        };
        while let Some(cid) = walk.next() {
            self.live.insert(short(cid.hash()));
            let Some(present) = self.store.present(&cid)? else {
                if whole {
                    return Err(missing(root, cid));
                }
                continue;
            };
            if cid.codec() == dag::RAW || present.leaf {
                continue;
            }
            let Some(data) = self.store.get(&cid)? else { return Err(missing(root, cid)) };
            match walk.supply(&cid, &data) {
                Ok(()) => {}
                // Such a root can only be pinned as one block.
                Err(error) if whole => return Err(BlockError::Invalid(error.to_string())),
                Err(_) => {}
            }
        }
        self.walk = Some(walk);
        Ok(())
    }
}

fn missing(root: Cid, cid: Cid) -> BlockError {
    BlockError::Invalid(format!(
        "nothing was removed: {cid}, a part of the pinned {root}, is missing, so that it is not known what belongs to it; \
         unpin {root} or pin it anew"
    ))
}
