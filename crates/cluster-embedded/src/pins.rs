//! What is pinned: one row a root, in the listing order.

use cluster_types::store::{Batch, Datastore, DatastoreReadExt, StoreError, Table};
use cluster_types::{Cid, IpfsPin, IpfsPinStatus};
use std::ops::Bound;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(crate) struct Pins {
    store: Arc<dyn Datastore>,
}

const RECURSIVE: u8 = 1;
const DIRECT: u8 = 2;

fn read(row: &[u8]) -> IpfsPinStatus {
    match row {
        [RECURSIVE] => IpfsPinStatus::Recursive,
        [DIRECT] => IpfsPinStatus::Direct,
        _ => IpfsPinStatus::Unknown,
    }
}

impl Pins {
    pub(crate) fn new(store: Arc<dyn Datastore>) -> Self {
        Self { store }
    }

    pub(crate) fn get(&self, cid: &Cid) -> Result<IpfsPinStatus, StoreError> {
        let row = self.store.get(Table::BlockPins, &cid.sort_key())?;
        Ok(row.map_or(IpfsPinStatus::Unpinned, |row| read(&row)))
    }

    /// Pins, durably.
    pub(crate) fn set(&self, cid: &Cid, max_depth: i32) -> Result<(), StoreError> {
        self.set_all(&[(*cid, max_depth)])
    }

    /// Pins all of these or none, durably.
    pub(crate) fn set_all(&self, pins: &[(Cid, i32)]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for (cid, max_depth) in pins {
            let kind = if *max_depth == 0 { DIRECT } else { RECURSIVE };
            batch.put(Table::BlockPins, cid.sort_key(), vec![kind]);
        }
        self.store.write(batch)?;
        self.store.sync()
    }

    /// Unpins, durably.
    pub(crate) fn remove(&self, cid: &Cid) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.delete(Table::BlockPins, cid.sort_key());
        self.store.write(batch)?;
        self.store.sync()
    }

    /// Up to `limit` pins after one; fewer mean the end.
    pub(crate) fn page(&self, after: Option<&Cid>, limit: usize) -> Result<Vec<IpfsPin>, StoreError> {
        let after = after.map(Cid::sort_key);
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.store.page(Table::BlockPins, from, limit)?;
        let pin = |(key, row): &cluster_types::store::Row| {
            let cid = Cid::from_sort_key(key).map_err(|e| StoreError::Corrupt(format!("a pinned root: {e}")))?;
            Ok(IpfsPin { cid, status: read(row) })
        };
        rows.iter().map(pin).collect()
    }
}
