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
use self::folder::Found;
use bytes::Bytes;
use cluster_types::store::{Batch, Datastore, DatastoreRead, Row, StoreError, Table, Visit};
use fjall::Readable;
use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A datastore on disk.
///
/// Dropping it closes it as [`close`](Self::close) does.
///
/// When the device fails or is full, the write or sync that met it returns the error, and each later one first tries
/// to open the store anew: when there is room again, work goes on without a restart. Reads go on where they can.
pub struct FjallStore {
    path: PathBuf,
    options: FjallOptions,
    engine: RwLock<Slot>,
    /// Set when the engine has met a failure of the device, after which it takes no more writes.
    failed: AtomicBool,
}

/// Where the engine is.
enum Slot {
    Open(Arc<Engine>),
    /// It could not be opened anew after a failure of the device; the next write tries again.
    Broken(StoreError),
    Closed,
}

impl FjallStore {
    /// Opens the store in the folder `path`, creating it if nothing is there.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when another process holds the folder, when it holds something else, or when another
    /// version wrote it; otherwise what the device says.
    pub fn open(path: impl AsRef<Path>, options: FjallOptions) -> Result<Self, StoreError> {
        let path = path.as_ref().to_path_buf();
        let engine = open_engine(&path, &options)?;
        Ok(Self { path, options, engine: RwLock::new(Slot::Open(Arc::new(engine))), failed: AtomicBool::new(false) })
    }

    /// Syncs, writes out what is in memory and gives the folder free, so that the next open is quick. Later calls of
    /// any method find the store closed; scans that are running end first.
    ///
    /// # Errors
    /// When the device failed: what was synced before is kept, and the next open takes longer.
    pub fn close(&self) -> Result<(), StoreError> {
        let mut slot = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *slot, Slot::Closed) {
            Slot::Open(engine) => engine.flush().map_err(|e| self.explain(&e)),
            Slot::Broken(error) => Err(error),
            Slot::Closed => Ok(()),
        }
    }

    fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        match &*self.engine.read().unwrap_or_else(PoisonError::into_inner) {
            Slot::Open(engine) => Ok(Arc::clone(engine)),
            Slot::Broken(error) => Err(error.clone()),
            Slot::Closed => Err(self.closed()),
        }
    }

    /// The engine, opened anew if the device had failed.
    fn working_engine(&self) -> Result<Arc<Engine>, StoreError> {
        if self.failed.load(Ordering::Acquire) {
            self.revive()?;
        }
        self.engine()
    }

    /// Opens the engine anew after a failure of the device, and writes everything that the journal held to files of
    /// its own: a page whose writing failed once may never be tried again by the system, however often it is synced.
    fn revive(&self) -> Result<(), StoreError> {
        let mut slot = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        match std::mem::replace(&mut *slot, Slot::Closed) {
            Slot::Closed => return Err(self.closed()),
            Slot::Broken(_) => {}
            // The folder is locked until the last handle is gone.
            Slot::Open(engine) => drop(Arc::try_unwrap(engine).map_err(|read| {
                *slot = Slot::Open(read);
                let path = self.path.display();
                StoreError::Closed(format!("{path} is still being read after a failure of the device; try again"))
            })?),
        }
        let opened = open_engine(&self.path, &self.options)
            .and_then(|engine| engine.flush().map(|()| engine).map_err(|e| self.explain(&e)));
        let engine = opened.inspect_err(|error| *slot = Slot::Broken(error.clone()))?;
        *slot = Slot::Open(Arc::new(engine));
        self.failed.store(false, Ordering::Release);
        tracing::info!(path = %self.path.display(), "the datastore works again after a failure of the device");
        Ok(())
    }

    /// Notes a failure of the device.
    fn failed(&self, error: &fjall::Error) -> StoreError {
        self.failed.store(true, Ordering::Release);
        // Of a failure in the background the engine keeps no reason. The usual one can be found out.
        match (error, folder::has_room(&self.path)) {
            (fjall::Error::Poisoned, Err(full @ StoreError::Full(_))) => full,
            _ => self.explain(error),
        }
    }

    fn explain(&self, error: &fjall::Error) -> StoreError {
        from_engine(error, &self.path)
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed(format!("{} was closed", self.path.display()))
    }
}

fn open_engine(path: &Path, options: &FjallOptions) -> Result<Engine, StoreError> {
    if let Found::Store = folder::prepare(path, options)? {
        journal::mend(path).map_err(|e| error::from_io(&e, &path.display().to_string()))?;
    }
    Engine::open(path, options).map_err(|e| from_engine(&e, path))
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
        self.working_engine()?.write(batch).map_err(|e| self.failed(&e))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.working_engine()?.sync().map_err(|e| self.failed(&e))
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
