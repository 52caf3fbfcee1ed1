//! The repository of a node that is not running, and CAR files that are taken into it.
//!
//! Nothing is pinned before all of it is here and durable, so that an import that ends early leaves blocks that a collection
//! removes, and can be made again: what is here is not written twice.

use crate::config::EmbeddedConfig;
use crate::connector::bytes_max;
use crate::fetch::unwalkable;
use crate::pins::Pins;
use crate::store::{BlockError, Blockstore};
use bytes::Bytes;
use cluster_component::errors::{ConnectorError, StartError};
use cluster_types::store::Datastore;
use cluster_types::{Cid, IpfsPin, IpfsPinStatus};
use dag::car::read::{CarError, Item, Reader};
use dag::links::Walk;
use std::path::Path;
use std::sync::Arc;

/// Bytes of blocks that are gathered for one write.
const WRITE_BYTES: usize = 4 << 20;

/// Bytes of a file that are read at a time: besides a batch, so much of it is held.
const PIECE_BYTES: usize = 1 << 20;

/// Blocks and pins, without a node that serves them. Its calls wait for the disk.
#[derive(Debug)]
pub struct Repository {
    store: Blockstore,
    pins: Pins,
}

impl Repository {
    /// Opens what lies in the node's folder, which is made if it is not there. Nobody else may have it open.
    ///
    /// # Errors
    /// When the folder or the datastore cannot be used.
    pub fn open(config: &EmbeddedConfig, folder: &Path, store: Arc<dyn Datastore>) -> Result<Self, StartError> {
        let failed = |reason: String| StartError { component: "embedded", reason };
        let segments = folder.join("segments");
        std::fs::create_dir_all(&segments).map_err(|e| failed(format!("{}: {e}", segments.display())))?;
        let bytes_max = bytes_max(config, &segments).map_err(|e| failed(format!("{}: {e}", segments.display())))?;
        let blocks = Blockstore::open(&segments, Arc::clone(&store), bytes_max);
        Ok(Self { store: blocks.map_err(|e| failed(e.to_string()))?, pins: Pins::new(store) })
    }

    /// Whether it is pinned like that, or better.
    ///
    /// # Errors
    /// When the pins cannot be read.
    pub fn holds(&self, pin: &IpfsPin) -> Result<bool, ConnectorError> {
        let held = self.pins.get(&pin.cid).map_err(BlockError::from)?;
        Ok(held == IpfsPinStatus::Recursive || held == pin.status)
    }

    /// Stores a block by itself. It is durable once something is pinned.
    ///
    /// # Errors
    /// When it is not what its name says, or the disk refuses.
    pub fn put(&self, cid: &Cid, data: Bytes) -> Result<(), ConnectorError> {
        Ok(self.store.put(&[(**cid, data)])?)
    }

    /// Begins to take in a CAR file.
    #[must_use]
    pub fn car(&self) -> CarIntake<'_> {
        CarIntake { repository: self, reader: Reader::default(), roots: None, batch: Vec::new(), bytes: 0 }
    }

    /// Makes sure that all blocks of these pins are here. Takes 16 to 40 bytes of memory for each block.
    ///
    /// # Errors
    /// When one is not, or its links cannot be told.
    pub fn check(&self, pins: &[IpfsPin]) -> Result<(), ConnectorError> {
        let mut walk: Option<Walk> = None;
        for pin in pins {
            let root = *pin.cid;
            if pin.status == IpfsPinStatus::Direct {
                self.store.present(&root)?.ok_or_else(|| not_whole(&root, &root))?;
                continue;
            }
            // What one has in common with another is looked at once.
            let walk = match &mut walk {
                Some(walk) => {
                    walk.also(root);
                    walk
                }
                none => none.insert(Walk::new(root)),
            };
            while let Some(cid) = walk.next() {
                let present = self.store.present(&cid)?.ok_or_else(|| not_whole(&root, &cid))?;
                if !present.leaf && cid.codec() != dag::RAW {
                    let data = self.store.get(&cid)?.ok_or(BlockError::Damaged(cid))?;
                    walk.supply(&cid, &data).map_err(|e| unwalkable(&e))?;
                }
            }
        }
        Ok(())
    }

    /// Pins, durably and all at once. Each must have been found whole by [`check`](Self::check).
    ///
    /// # Errors
    /// When the disk refuses: then nothing is pinned.
    pub fn pin(&self, pins: &[IpfsPin]) -> Result<(), ConnectorError> {
        self.store.sync()?;
        let rows: Vec<(Cid, i32)> = pins.iter().map(|pin| (pin.cid, depth_of(pin))).collect();
        Ok(self.pins.set_all(&rows).map_err(BlockError::from)?)
    }

    /// Ends in order, so that the next start need not look through the last segments.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(self) -> Result<(), ConnectorError> {
        Ok(self.store.close()?)
    }
}

fn depth_of(pin: &IpfsPin) -> i32 {
    if pin.status == IpfsPinStatus::Direct { 0 } else { -1 }
}

fn unreadable(error: &CarError) -> ConnectorError {
    ConnectorError::Invalid(match error {
        CarError::Empty => "it is empty, and no CAR file".into(),
        CarError::Truncated => "it ends too early, or is no CAR file (unexpected EOF): copy or export it again".into(),
        CarError::WrongHash(..) => format!("{error}: a block of it is damaged, export it again"),
        other => format!("it cannot be read as a CAR file of version 1 or 2: {other}"),
    })
}

fn not_whole(root: &cid::Cid, missing: &cid::Cid) -> ConnectorError {
    let text =
        format!("the DAG of {root} is not whole: block {missing} was not among what came, nor is it here already");
    ConnectorError::NotFound(text)
}

/// A CAR file that is being taken in. Dropped early, it leaves blocks that nothing holds.
#[derive(Debug)]
pub struct CarIntake<'a> {
    repository: &'a Repository,
    reader: Reader,
    roots: Option<Vec<Cid>>,
    batch: Vec<(cid::Cid, Bytes)>,
    bytes: usize,
}

impl CarIntake<'_> {
    /// Takes in the next bytes of the file; blocks are checked against their names, and stored.
    ///
    /// # Errors
    /// When the file is none, a block is not what its name says, or the disk refuses.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ConnectorError> {
        for piece in bytes.chunks(PIECE_BYTES) {
            let (roots, batch, size) = (&mut self.roots, &mut self.batch, &mut self.bytes);
            let pushed = self.reader.push(piece, &mut |item| match item {
                Item::Roots(listed) => *roots = Some(listed.into_iter().map(Cid).collect()),
                Item::Block(block) => {
                    *size += block.data.len();
                    batch.push((block.cid, block.data));
                }
            });
            pushed.map_err(|e| unreadable(&e))?;
            if self.bytes >= WRITE_BYTES {
                self.write()?;
            }
        }
        Ok(())
    }

    /// The roots that its header names, as soon as they are known.
    #[must_use]
    pub fn roots(&self) -> Option<&[Cid]> {
        self.roots.as_deref()
    }

    /// The file has ended. Its blocks are stored, and not yet pinned.
    ///
    /// # Errors
    /// When it is not complete, or the disk refuses.
    pub fn finish(mut self) -> Result<Vec<Cid>, ConnectorError> {
        self.write()?;
        self.reader.finish().map_err(|e| unreadable(&e))?;
        Ok(self.roots.unwrap_or_default())
    }

    fn write(&mut self) -> Result<(), ConnectorError> {
        self.repository.store.put(&self.batch)?;
        self.batch.clear();
        self.bytes = 0;
        Ok(())
    }
}
