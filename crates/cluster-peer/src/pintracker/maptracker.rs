//! PinTracker `maptracker`: every item's status is in memory, for the fastest answers. At each start the index is made
//! anew from the pinset and from what the daemon holds; what was still to be unpinned when the process ended is not
//! remembered, as with the reference.

use super::config::MapTrackerConfig;
use super::shell::{Memory, Parts, Tracked};
use bytes::Bytes;
use cluster_types::store::{Batch, Change, Datastore, DatastoreRead, Row, StoreError, Table, Visit};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// A tracker that is not started. `parts.store` is not used.
#[must_use]
pub fn maptracker(config: &MapTrackerConfig, parts: Parts) -> Tracked {
    let store: Arc<dyn Datastore> = Arc::new(StatusMap::default());
    Tracked::new("maptracker", config.0.rules(), Memory::Lost, Parts { store, ..parts })
}

type Rows = BTreeMap<Bytes, Bytes>;

/// The index in memory: about 150 bytes for each item of the pinset.
///
/// A visitor of [`scan`](DatastoreRead::scan) must not write: the rows are locked meanwhile.
#[derive(Debug, Default)]
struct StatusMap {
    tables: RwLock<BTreeMap<Table, Rows>>,
}

impl StatusMap {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Table, Rows>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether no key can lie between the bounds; `BTreeMap::range` panics on some of those.
fn is_empty_range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a >= b,
        _ => false,
    }
}

impl DatastoreRead for StatusMap {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read().get(&table).and_then(|rows| rows.get(key).cloned()))
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), StoreError> {
        let tables = self.read();
        let Some(rows) = tables.get(&table).filter(|_| !is_empty_range(from, to)) else { return Ok(()) };
        for (key, value) in rows.range::<[u8], _>((from, to)) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreError> {
        let tables = self.read();
        Ok(tables.get(&table).and_then(|rows| rows.last_key_value()).map(|(key, value)| (key.clone(), value.clone())))
    }
}

impl Datastore for StatusMap {
    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        for change in batch.changes {
            let rows = tables.entry(change.table()).or_default();
            match change {
                Change::Put { key, value, .. } => drop(rows.insert(key, value)),
                Change::Delete { key, .. } => drop(rows.remove(&key)),
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}
