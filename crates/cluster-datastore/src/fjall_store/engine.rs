//! An open database with its tables.

use super::options::FjallOptions;
use cluster_types::store::{Batch, Change, Table};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long an orderly close waits for memtables to be written out. What is not by then is in the journal.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(30);

/// How many memtables of a table may wait to be written out before writers wait for them. The engine lets writers wait
/// at four, but looks only every 100 ms, and for ever if the device fails meanwhile; so we wait before it does.
const SEALED_MAX: usize = 2;

/// The engine, open. Tables come to be when they are first written, so that a peer pays only for those it uses.
pub(super) struct Engine {
    pub(super) db: Database,
    options: FjallOptions,
    tables: Vec<OnceLock<Keyspace>>,
}

impl Engine {
    pub(super) fn open(path: &Path, options: &FjallOptions) -> fjall::Result<Self> {
        let db = options.builder(path).open()?;
        let engine =
            Self { db, options: options.clone(), tables: Table::ALL.iter().map(|_| OnceLock::new()).collect() };
        for &table in Table::ALL {
            if engine.db.keyspace_exists(table.name()) {
                engine.table_or_create(table)?;
            }
        }
        Ok(engine)
    }

    /// The table, if anything was ever written to it.
    pub(super) fn table(&self, table: Table) -> Option<&Keyspace> {
        self.tables.get(table as usize)?.get()
    }

    fn table_or_create(&self, table: Table) -> fjall::Result<&Keyspace> {
        let slot = &self.tables[table as usize];
        if let Some(keyspace) = slot.get() {
            return Ok(keyspace);
        }
        let keyspace = self.db.keyspace(table.name(), || self.create_options(table))?;
        // Two writers that both come here get the same keyspace from the engine.
        Ok(slot.get_or_init(|| keyspace))
    }

    fn create_options(&self, table: Table) -> KeyspaceCreateOptions {
        self.options.table(table)
    }

    /// Applies a batch. Visible when this returns, and with the operating system: it survives the end of the process.
    pub(super) fn write(&self, batch: Batch) -> fjall::Result<()> {
        self.wait_for_room(&batch)?;
        let counted = last_of_each_row(&batch);
        let mut out =
            OwnedWriteBatch::with_capacity(self.db.clone(), batch.len()).durability(Some(PersistMode::Buffer));
        for (change, counts) in batch.changes.iter().zip(counted) {
            match change {
                _ if !counts => {}
                Change::Put { table, key, value } => {
                    out.insert(self.table_or_create(*table)?, key.as_ref(), value.as_ref());
                }
                Change::Delete { table, key } => {
                    if let Some(keyspace) = self.table(*table) {
                        out.remove(keyspace, key.as_ref());
                    }
                }
            }
        }
        out.commit()
    }

    /// Waits until the tables of this batch can take more.
    fn wait_for_room(&self, batch: &Batch) -> fjall::Result<()> {
        let mut tables: Vec<Table> = batch.changes.iter().map(Change::table).collect();
        tables.dedup();
        for keyspace in tables.into_iter().filter_map(|table| self.table(table)) {
            while keyspace.sealed_memtable_count() >= SEALED_MAX {
                self.healthy()?;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Fails if a write to the device has failed, be it in the background: the engine takes no more writes then.
    fn healthy(&self) -> fjall::Result<()> {
        self.db.persist(PersistMode::Buffer)
    }

    /// Makes everything written before durable.
    pub(super) fn sync(&self) -> fjall::Result<()> {
        // Data and size are enough; that fdatasync carries the extents of the file is what Linux promises.
        self.db.persist(PersistMode::SyncData)
    }

    /// Writes every memtable out, so that the next open has no journal to replay.
    pub(super) fn flush(&self) -> fjall::Result<()> {
        self.sync()?;
        let keyspaces: Vec<&Keyspace> = self.tables.iter().filter_map(OnceLock::get).collect();
        for keyspace in &keyspaces {
            keyspace.rotate_memtable()?;
        }
        let deadline = Instant::now() + FLUSH_WAIT_MAX;
        while keyspaces.iter().any(|k| k.sealed_memtable_count() > 0) && Instant::now() < deadline {
            self.healthy()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// For each change whether it is the last of its row. The engine gives all rows of a batch one sequence number and
/// does not promise which of two rows with the same key and number it finds.
fn last_of_each_row(batch: &Batch) -> Vec<bool> {
    if batch.len() < 2 {
        return vec![true; batch.len()];
    }
    let mut seen = HashSet::with_capacity(batch.len());
    let mut counts: Vec<bool> = batch
        .changes
        .iter()
        .rev()
        .map(|change| {
            let (Change::Put { table, key, .. } | Change::Delete { table, key }) = change;
            seen.insert((*table, key.as_ref()))
        })
        .collect();
    counts.reverse();
    counts
}
