//! Blocks on disk: segments that are only appended to, their index in the datastore, and leases that keep a collection
//! away from what is being worked with. All calls wait for the disk: make them off the async threads.
//!
//! A block is synced before it has a row in the index, so that a row never leads to nothing; at the start the last
//! segments are read and rows that are missing are written, so that the index needs no sync of its own.

mod collect;
mod error;
mod files;
mod group;
mod index;
mod lease;
mod log;
mod open;
mod records;
mod segment;

pub use collect::{Collected, Root};
pub use error::BlockError;
pub use lease::Lease;
pub(crate) use segment::BLOCK_MAX;

use bytes::Bytes;
use cid::Cid;
use files::Files;
use group::Group;
use index::Index;
use lease::Leases;
use log::{Entry, Log, Unsynced, bytes_of};
use segment::{Key, LEAF, Location, Record, record_len};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::watch;

/// Blocks that wait for a sync before one is made unasked: about 5 MB of memory.
const WAITING_BLOCKS_MAX: usize = 16_384;

/// Bytes that wait for a sync before one is made unasked.
const WAITING_BYTES_MAX: u64 = 256 << 20;

/// A block is moved at most so often while it is being looked up.
const MOVES_MAX: usize = 3;

/// The blocks of the embedded node.
pub struct Blockstore {
    folder: PathBuf,
    bytes_max: u64,
    index: Index,
    log: Mutex<Log>,
    /// Blocks that have no row in the index yet.
    fresh: RwLock<HashMap<Key, Location>>,
    files: Files,
    leases: Leases,
    group: Group,
    /// One collection at a time.
    collecting: Mutex<()>,
    arrived: watch::Sender<u64>,
}

/// What is known of a block without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    /// Its bytes.
    pub length: u64,
    /// It is a dag-pb node without links.
    pub leaf: bool,
}

impl fmt::Debug for Blockstore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blockstore").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of a block whose name holds them.
fn own(cid: &Cid) -> Option<Bytes> {
    (cid.hash().code() == 0).then(|| Bytes::copy_from_slice(cid.hash().digest()))
}

impl Blockstore {
    /// Keeps what is put from now on from being collected, until it is dropped.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.leases.begin()
    }

    /// Changes whenever blocks have come.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrived.subscribe()
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        lock(&self.log).bytes()
    }

    /// Bytes that they may have.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Stores blocks, each checked against its name. They can be read when this returns, and are durable after
    /// [`commit`](Self::commit).
    ///
    /// # Errors
    /// When any of them is not what it should be, or there is no room: then none is stored.
    pub fn put(&self, blocks: &[(Cid, Bytes)]) -> Result<(), BlockError> {
        for (cid, data) in blocks {
            check_name(cid, data)?;
        }
        self.put_verified(blocks)
    }

    /// Stores blocks as [`put`](Self::put) does, whose bytes this process has hashed already.
    ///
    /// # Errors
    /// When any of them is too large, or there is no room: then none is stored.
    pub(crate) fn put_verified(&self, blocks: &[(Cid, Bytes)]) -> Result<(), BlockError> {
        for (cid, data) in blocks {
            check_size(cid, data)?;
        }
        let mut log = lock(&self.log);
        let (mut new, mut seen) = (Vec::with_capacity(blocks.len()), HashSet::with_capacity(blocks.len()));
        for (cid, data) in blocks.iter().filter(|(cid, _)| cid.hash().code() != 0) {
            let key = *cid.hash();
            if seen.insert(key) && self.touch(&key)?.is_none() {
                new.push(Entry { key, flags: flags(cid, data), data });
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        self.check_room(log.bytes() + bytes_of(&new))?;
        self.append(&mut log, &new)?;
        let (blocks, bytes) = log.waiting();
        drop(log);
        self.arrived.send_modify(|count| *count += 1);
        if blocks >= WAITING_BLOCKS_MAX || bytes >= WAITING_BYTES_MAX { self.sync() } else { Ok(()) }
    }

    fn check_room(&self, bytes: u64) -> Result<(), BlockError> {
        if bytes <= self.bytes_max {
            return Ok(());
        }
        let max = self.bytes_max;
        Err(BlockError::Full(format!(
            "the embedded IPFS node is full ({max} bytes): unpin and run `ipfs-cluster-ctl ipfs gc`, or raise \
             ipfs_connector.embedded.storage_max"
        )))
    }

    fn append(&self, log: &mut Log, entries: &[Entry<'_>]) -> Result<(), BlockError> {
        let placed = log.append(entries)?;
        self.fresh.write().unwrap_or_else(PoisonError::into_inner).extend(placed);
        Ok(())
    }

    /// Makes everything durable that was put or looked at under the lease. Those who call it at the same time share one
    /// sync.
    ///
    /// # Errors
    /// When the device refused since the lease began: what was put may be gone.
    pub fn commit(&self, lease: &Lease) -> Result<(), BlockError> {
        self.sync()?;
        // Blocks that were already here may have been those of somebody else whose sync failed.
        if lease.saw_failure() {
            let text = "the device refused to store blocks meanwhile: put them again";
            return Err(BlockError::Io(text.into()));
        }
        Ok(())
    }

    /// Syncs what was put before, for nobody in particular.
    pub(crate) fn sync(&self) -> Result<(), BlockError> {
        let ticket = lock(&self.log).ticket();
        self.group.wait(ticket, || {
            let unsynced = lock(&self.log).take_unsynced();
            (unsynced.ticket, self.sync_taken(unsynced))
        })
    }

    fn sync_taken(&self, unsynced: Unsynced) -> Result<(), BlockError> {
        let synced = self.sync_files(&unsynced);
        if synced.is_err() {
            lock(&self.log).give_up(&unsynced.files);
            self.leases.lock().fail();
        }
        // Without a row a block is not there: whoever put it is told, and it can be put again.
        let mut fresh = self.fresh.write().unwrap_or_else(PoisonError::into_inner);
        for (key, location) in &unsynced.fresh {
            if fresh.get(key) == Some(location) {
                fresh.remove(key);
            }
        }
        drop(fresh);
        synced
    }

    fn sync_files(&self, unsynced: &Unsynced) -> Result<(), BlockError> {
        for (number, file) in &unsynced.files {
            file.sync_data().map_err(|e| BlockError::io(&segment::path(&self.folder, *number), &e))?;
        }
        self.index.put(&unsynced.fresh)?;
        unsynced.checkpoint.map_or(Ok(()), |segment| Ok(self.index.set_checkpoint(segment)?))
    }

    /// Whether a block is here; under a lease it stays. Blocks in their own name always are.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn present(&self, cid: &Cid) -> Result<Option<Present>, BlockError> {
        if let Some(data) = own(cid) {
            return Ok(Some(Present { length: data.len() as u64, leaf: false }));
        }
        let found = self.touch(cid.hash())?;
        Ok(found.map(|location| Present { length: location.length.into(), leaf: is_leaf(cid, location) }))
    }

    /// Notes that a block is needed, and looks where it is: nothing is collected between the two.
    fn touch(&self, key: &Key) -> Result<Option<Location>, BlockError> {
        self.leases.lock().touch(key);
        self.locate(key)
    }

    /// The bytes of a block that is here; unlike [`present`](Self::present) it may be gone the next moment.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn size(&self, cid: &Cid) -> Result<Option<u64>, BlockError> {
        match own(cid) {
            Some(data) => Ok(Some(data.len() as u64)),
            None => Ok(self.locate(cid.hash())?.map(|location| location.length.into())),
        }
    }

    fn locate(&self, key: &Key) -> Result<Option<Location>, BlockError> {
        let fresh = self.fresh.read().unwrap_or_else(PoisonError::into_inner).get(key).copied();
        match fresh {
            Some(location) => Ok(Some(location)),
            None => Ok(self.index.get(key)?),
        }
    }

    /// A block, checked.
    ///
    /// # Errors
    /// When it is damaged, or the disk failed.
    pub fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BlockError> {
        if let Some(data) = own(cid) {
            return Ok(Some(data));
        }
        for _ in 0..MOVES_MAX {
            let Some(location) = self.locate(cid.hash())? else { return Ok(None) };
            match self.read(cid.hash(), location) {
                Ok(Some(record)) => return Ok(Some(Bytes::from(record.bytes).slice(record.data_at..))),
                Ok(None) => return Err(BlockError::Damaged(*cid)),
                // A collection moved it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(BlockError::Damaged(*cid)),
                Err(error) => return Err(BlockError::io(&segment::path(&self.folder, location.segment), &error)),
            }
        }
        Err(BlockError::Damaged(*cid))
    }

    fn read(&self, key: &Key, location: Location) -> io::Result<Option<Record>> {
        let file = self.files.get(location.segment)?;
        let length = record_len(key.to_bytes().len(), location.length as usize);
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, location.offset.into())?;
        Ok(Record::parse(bytes).filter(|record| record.key == *key))
    }
}

fn check_size(cid: &Cid, data: &Bytes) -> Result<(), BlockError> {
    if data.len() > BLOCK_MAX {
        return Err(BlockError::Invalid(format!("the block {cid} has more than {BLOCK_MAX} bytes")));
    }
    Ok(())
}

fn check_name(cid: &Cid, data: &Bytes) -> Result<(), BlockError> {
    if dag::hash::verify(cid, data) {
        return Ok(());
    }
    Err(BlockError::Invalid(format!(
        "the block {cid} is not what its name says, or its hash function is not known here"
    )))
}

/// The flag was found out by reading the block as dag-pb, whatever it is called now.
fn is_leaf(cid: &Cid, location: Location) -> bool {
    cid.codec() == dag::DAG_PB && location.flags & LEAF != 0
}

fn flags(cid: &Cid, data: &Bytes) -> u8 {
    // Nodes are read for their links again and again; most are leaves.
    let leaf = cid.codec() == dag::DAG_PB && dag::links::links_of(cid, data).is_ok_and(|links| links.is_empty());
    if leaf { LEAF } else { 0 }
}
