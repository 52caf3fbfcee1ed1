//! The store on disk: one fjall database in a folder, one keyspace per [`Table`].

mod engine;
mod error;
mod folder;
mod journal;
mod options;

pub(crate) use self::error::check_keys;
pub use self::options::FjallOptions;

use self::engine::Engine;
use self::error::from_engine;
use bytes::Bytes;
use cluster_types::store::{Batch, Datastore, DatastoreRead, Row, StoreError, Table, Visit};
use fjall::{PersistMode, Readable};
use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// A datastore on disk.
///
/// Dropping it closes it as [`close`](Self::close) does.
pub struct FjallStore {
    path: PathBuf,
    engine: RwLock<Option<Arc<Engine>>>,
}

impl FjallStore {
    /// Opens the store in the folder `path`, creating it if nothing is there.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when another process holds the folder, when it holds something else, or when another
    /// version wrote it; otherwise what the device says.
    pub fn open(path: impl AsRef<Path>, options: FjallOptions) -> Result<Self, StoreError> {
        let path = path.as_ref().to_path_buf();
        folder::prepare(&path, &options)?;
        journal::mend(&path).map_err(|e| error::from_io(&e, &path.display().to_string()))?;
        let engine = Engine::open(&path, &options).map_err(|e| from_engine(&e, &path))?;
        Ok(Self { path, engine: RwLock::new(Some(Arc::new(engine))) })
    }

    /// Syncs, writes out what is in memory and gives the folder free, so that the next open is quick. Later calls of
    /// any method find the store closed; scans that are running end first.
    ///
    /// # Errors
    /// When the device failed: what was synced before is kept, and the next open takes longer.
    pub fn close(&self) -> Result<(), StoreError> {
        let Some(engine) = self.engine.write().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        let flushed = engine.db.persist(PersistMode::SyncAll).and_then(|()| engine.flush());
        flushed.map_err(|e| self.explain(&e))
    }

    fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        engine.clone().ok_or_else(|| StoreError::Closed(format!("{} was closed", self.path.display())))
    }

    fn explain(&self, error: &fjall::Error) -> StoreError {
        from_engine(error, &self.path)
    }
}

impl Drop for FjallStore {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the datastore was not closed in order; the next start takes longer");
        }
    }
}

impl DatastoreRead for FjallStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let engine = self.engine()?;
        let Some(keyspace) = engine.table(table) else { return Ok(None) };
        // Through a snapshot, since a plain read of the engine can see a batch that is being applied.
        let value = engine.db.snapshot().get(keyspace, key).map_err(|e| self.explain(&e))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), StoreError> {
        let engine = self.engine()?;
        let Some(keyspace) = engine.table(table) else { return Ok(()) };
        // Through a snapshot, since ranges of the engine's keyspaces see writes that come after.
        for row in engine.db.snapshot().range::<&[u8], _>(keyspace, (from, to)) {
            let (key, value) = row.into_inner().map_err(|e| self.explain(&e))?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreError> {
        let engine = self.engine()?;
        let Some(keyspace) = engine.table(table) else { return Ok(None) };
        let Some(row) = engine.db.snapshot().last_key_value(keyspace) else { return Ok(None) };
        let (key, value) = row.into_inner().map_err(|e| self.explain(&e))?;
        Ok(Some((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value))))
    }
}

impl Datastore for FjallStore {
    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        check_keys(&batch)?;
        self.engine()?.write(batch).map_err(|e| self.explain(&e))
    }

    fn sync(&self) -> Result<(), StoreError> {
        // Data and size are enough; that fdatasync carries the extents of the file is what Linux promises.
        self.engine()?.db.persist(PersistMode::SyncData).map_err(|e| self.explain(&e))
    }

    fn disk_bytes(&self) -> u64 {
        folder::allocated_bytes(&self.path)
    }
}

impl fmt::Debug for FjallStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FjallStore").field("path", &self.path).finish_non_exhaustive()
    }
}
