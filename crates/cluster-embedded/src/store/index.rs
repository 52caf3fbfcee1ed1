//! The index: multihash to place, in the datastore; and how far it is known to be whole.

use super::segment::{Key, Location};
use bytes::Bytes;
use cluster_types::store::{Batch, Datastore, DatastoreReadExt, StoreError, Table};
use std::ops::Bound;
use std::sync::Arc;

/// Row of [`Table::BlockMeta`]: version of the format, and the first segment whose blocks may lack rows.
const CHECKPOINT: &[u8] = b"checkpoint";

/// Version of the rows.
const VERSION: u8 = 1;

/// Rows that are read at a time.
pub(super) const PAGE: usize = 1_000;

pub(super) struct Index {
    store: Arc<dyn Datastore>,
}

impl Index {
    pub(super) fn new(store: Arc<dyn Datastore>) -> Self {
        Self { store }
    }

    pub(super) fn get(&self, key: &Key) -> Result<Option<Location>, StoreError> {
        let row = self.store.get(Table::BlockIndex, &key.to_bytes())?;
        row.map(|row| Location::from_row(&row).ok_or_else(|| damaged(key))).transpose()
    }

    pub(super) fn put(&self, rows: &[(Key, Location)]) -> Result<(), StoreError> {
        for rows in rows.chunks(PAGE) {
            let mut batch = Batch::new();
            for (key, location) in rows {
                batch.put(Table::BlockIndex, key.to_bytes(), location.to_row());
            }
            self.store.write(batch)?;
        }
        Ok(())
    }

    pub(super) fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        keys.iter().for_each(|key| batch.delete(Table::BlockIndex, key.to_bytes()));
        if batch.is_empty() { Ok(()) } else { self.store.write(batch) }
    }

    /// Up to [`PAGE`] rows after a key; fewer mean the end.
    pub(super) fn page(&self, after: Option<&Key>) -> Result<Vec<(Key, Location)>, StoreError> {
        let after = after.map(Key::to_bytes);
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let read = |(key, row): (Bytes, Bytes)| {
            let key = Key::from_bytes(&key).map_err(|_| StoreError::Corrupt("a key of the block index".into()))?;
            Ok((key, Location::from_row(&row).ok_or_else(|| damaged(&key))?))
        };
        self.store.page(Table::BlockIndex, from, PAGE)?.into_iter().map(read).collect()
    }

    /// The rows that lead to a segment, from an offset on, in their order there. All rows are read for it.
    pub(super) fn behind(&self, segment: u32, offset: u64) -> Result<Vec<(Key, Location)>, StoreError> {
        let (mut behind, mut after) = (Vec::new(), None);
        loop {
            let rows = self.page(after.as_ref())?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(*last);
            let is_behind = |at: &Location| at.segment == segment && u64::from(at.offset) >= offset;
            behind.extend(rows.into_iter().filter(|(_, at)| is_behind(at)));
        }
        behind.sort_unstable_by_key(|(_, at)| at.offset);
        Ok(behind)
    }

    /// The first segment whose blocks may lack rows.
    pub(super) fn checkpoint(&self) -> Result<u32, StoreError> {
        let Some(row) = self.store.get(Table::BlockMeta, CHECKPOINT)? else { return Ok(0) };
        match row.split_first() {
            Some((&VERSION, number)) => number.try_into().map(u32::from_be_bytes).map_err(|_| other_version()),
            _ => Err(other_version()),
        }
    }

    /// From now on only segments from this one on may lack rows. What was written before is made durable first.
    pub(super) fn set_checkpoint(&self, segment: u32) -> Result<(), StoreError> {
        self.store.sync()?;
        let mut batch = Batch::new();
        let row: Vec<u8> = [VERSION].into_iter().chain(segment.to_be_bytes()).collect();
        batch.put(Table::BlockMeta, CHECKPOINT, row);
        self.store.write(batch)
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.store.sync()
    }
}

fn damaged(key: &Key) -> StoreError {
    StoreError::Corrupt(format!("the row of block {} in the index", hex(key.digest())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn other_version() -> StoreError {
    StoreError::Corrupt(
        "the block index was written by another version: run that, or remove the embedded folder".into(),
    )
}
