//! A store in memory that can lose what was not synced, refuse to write and count its syncs: for tests and
//! simulations. It is no cache and nothing to run a peer on.

use bytes::Bytes;
use cluster_types::store::{Batch, Change, Datastore, DatastoreRead, Row, StoreError, Table, Visit};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

type Rows = BTreeMap<Bytes, Bytes>;
type Tables = BTreeMap<Table, Arc<Rows>>;

/// A datastore in memory. It is emptied by [`crash`](Self::crash) of everything that was not synced.
pub struct MemoryStore {
    inner: RwLock<Inner>,
    /// What is done in the midst of the next sync.
    meanwhile: Mutex<Option<Meanwhile>>,
}

type Meanwhile = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Inner {
    /// What readers see. Shared with running scans, which therefore see one moment; a write during a scan copies.
    visible: Tables,
    /// What survives a crash.
    durable: Tables,
    /// What lies between the two, oldest first.
    unsynced: Vec<Batch>,
    faults: Faults,
    writes: u64,
    syncs: u64,
    crashed: bool,
}

#[derive(Default)]
struct Faults {
    read: Option<StoreError>,
    write: Option<StoreError>,
    sync: Option<StoreError>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::holding(Tables::new())
    }

    fn holding(tables: Tables) -> Self {
        let inner = RwLock::new(Inner { visible: tables.clone(), durable: tables, ..Inner::default() });
        Self { inner, meanwhile: Mutex::default() }
    }

    /// Loses power: the new store holds what was synced and nothing else; this one is closed from now on.
    #[must_use]
    pub fn crash(&self) -> Self {
        self.crash_keeping(0)
    }

    /// Loses power when the device happened to have stored this many of the unsynced batches, oldest first.
    ///
    /// A real store may keep any such prefix; it never keeps a later batch without an earlier one.
    #[must_use]
    pub fn crash_keeping(&self, batches: usize) -> Self {
        let mut inner = self.write_lock();
        inner.crashed = true;
        let mut kept = inner.durable.clone();
        for batch in inner.unsynced.iter().take(batches) {
            apply(&mut kept, batch);
        }
        Self::holding(kept)
    }

    /// Closes this store in an orderly way, as a process does that ends; the new one holds everything.
    #[must_use]
    pub fn reopen(&self) -> Self {
        self.crash_keeping(usize::MAX)
    }

    /// From now on reads fail with this error, or work again if `None`.
    pub fn break_reads(&self, error: Option<StoreError>) {
        self.write_lock().faults.read = error;
    }

    /// From now on writes fail with this error, or work again if `None`.
    pub fn break_writes(&self, error: Option<StoreError>) {
        self.write_lock().faults.write = error;
    }

    /// From now on syncs fail with this error, or work again if `None`. What a failed sync should have made durable
    /// stays undurable until one succeeds.
    pub fn break_syncs(&self, error: Option<StoreError>) {
        self.write_lock().faults.sync = error;
    }

    /// Does this in the midst of the next sync, as other threads do things while a disk is waited for.
    pub fn during_next_sync(&self, meanwhile: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(meanwhile));
    }

    /// Number of batches written so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.read_lock().writes
    }

    /// Number of syncs that succeeded so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.read_lock().syncs
    }

    /// Number of batches that a crash would lose now.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.read_lock().unsynced.len()
    }

    // A panic of another test thread while it held the lock is that test's failure, not ours.
    fn read_lock(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of a table as they are now.
    fn rows(&self, table: Table) -> Result<Option<Arc<Rows>>, StoreError> {
        let inner = self.read_lock();
        inner.usable(inner.faults.read.as_ref())?;
        Ok(inner.visible.get(&table).cloned())
    }
}

impl Inner {
    fn usable(&self, fault: Option<&StoreError>) -> Result<(), StoreError> {
        if self.crashed {
            return Err(StoreError::Closed("this store has crashed; use the one that took its place".into()));
        }
        fault.map_or(Ok(()), |error| Err(error.clone()))
    }
}

fn apply(tables: &mut Tables, batch: &Batch) {
    for change in &batch.changes {
        match change {
            Change::Put { table, key, value } => {
                Arc::make_mut(tables.entry(*table).or_default()).insert(key.clone(), value.clone());
            }
            Change::Delete { table, key } => {
                if let Some(rows) = tables.get_mut(table) {
                    Arc::make_mut(rows).remove(key);
                }
            }
        }
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

impl DatastoreRead for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.rows(table)?.and_then(|rows| rows.get(key).cloned()))
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), StoreError> {
        let Some(rows) = self.rows(table)? else { return Ok(()) };
        if is_empty_range(from, to) {
            return Ok(());
        }
        for (key, value) in rows.range::<[u8], _>((from, to)) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreError> {
        let rows = self.rows(table)?;
        Ok(rows.and_then(|rows| rows.last_key_value().map(|(key, value)| (key.clone(), value.clone()))))
    }
}

impl Datastore for MemoryStore {
    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        crate::fjall_store::check_keys(&batch)?;
        let mut inner = self.write_lock();
        inner.usable(inner.faults.write.as_ref())?;
        apply(&mut inner.visible, &batch);
        inner.unsynced.push(batch);
        inner.writes += 1;
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let meanwhile = self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        let mut inner = self.write_lock();
        inner.usable(inner.faults.sync.as_ref())?;
        for batch in std::mem::take(&mut inner.unsynced) {
            apply(&mut inner.durable, &batch);
        }
        inner.syncs += 1;
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.read_lock();
        f.debug_struct("MemoryStore")
            .field("rows", &inner.visible.values().map(|rows| rows.len()).sum::<usize>())
            .field("unsynced", &inner.unsynced.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str, value: &'static str) -> Batch {
        let mut batch = Batch::new();
        batch.put(Table::Pins, key, value);
        batch
    }

    #[test]
    fn crash_keeps_the_synced_and_as_many_unsynced_as_asked() {
        let store = MemoryStore::new();
        store.write(put("a", "1")).expect("write");
        store.sync().expect("sync");
        store.write(put("b", "2")).expect("write");
        store.write(put("c", "3")).expect("write");

        let kept = |store: &MemoryStore| {
            ["a", "b", "c"].map(|key| store.get(Table::Pins, key.as_bytes()).expect("get").is_some())
        };
        assert_eq!(kept(&store.crash()), [true, false, false]);
        assert_eq!(kept(&store.crash_keeping(1)), [true, true, false]);
        assert_eq!(kept(&store.reopen()), [true, true, true]);
    }

    #[test]
    fn crashed_store_takes_nothing_more() {
        let store = MemoryStore::new();
        let _next = store.crash();

        assert!(matches!(store.write(put("a", "1")), Err(StoreError::Closed(_))));
        assert!(matches!(store.get(Table::Pins, b"a"), Err(StoreError::Closed(_))));
    }

    #[test]
    fn planted_faults_refuse_and_leave_nothing_behind() {
        let store = MemoryStore::new();
        store.break_writes(Some(StoreError::Full("test".into())));
        assert_eq!(store.write(put("a", "1")), Err(StoreError::Full("test".into())));
        assert_eq!(store.get(Table::Pins, b"a"), Ok(None));

        store.break_writes(None);
        store.break_syncs(Some(StoreError::Io("test".into())));
        store.write(put("a", "1")).expect("write");
        assert!(store.sync().is_err());
        assert_eq!((store.writes(), store.syncs(), store.unsynced()), (1, 0, 1));
        assert_eq!(store.crash().get(Table::Pins, b"a"), Ok(None));
    }
}
