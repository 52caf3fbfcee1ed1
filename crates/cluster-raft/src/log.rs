//! The log: rows of the datastore. Written at once, synced before anybody is told.
//!
//! ```text
//! raft_log   index, 8 bytes big-endian → entry
//! raft_meta  "vote", "committed", "purged", "number" → as they say      (other rows: see `snapshot`)
//! ```

use crate::types::{FormError, LogId, Member, StorageError, TypeConfig, check_form, decode, encode};
use cluster_types::store::{Batch, Datastore, DatastoreReadExt, StoreError, Table};
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, Entry, OptionalSend, RaftLogId, RaftLogReader, StorageIOError, Vote};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::Arc;

/// About how many bytes of entries are read for one message to another peer.
const MESSAGE_BYTES: usize = 1 << 20;

/// Rows that are removed with one batch.
const STEP: usize = 10_000;

/// The log of this peer. Cheap to clone: all are the same log.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    store: Arc<dyn Datastore>,
}

/// What goes wrong below the engine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{what} of the raft log: {error}")]
    Damaged { what: String, error: FormError },
}

impl LogError {
    fn any(&self) -> AnyError {
        AnyError::new(self)
    }
}

pub(crate) fn key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

impl LogStore {
    pub(crate) fn new(store: Arc<dyn Datastore>) -> Self {
        Self { store }
    }

    fn meta<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>, LogError> {
        let row = self.store.get(Table::RaftMeta, name.as_bytes())?;
        let read = |row: bytes::Bytes| decode(&row).map_err(|error| LogError::Damaged { what: name.into(), error });
        row.map(read).transpose()
    }

    fn set_meta<T: Serialize>(&self, batch: &mut Batch, name: &'static str, value: &T) -> Result<(), LogError> {
        let row = encode(value).map_err(|error| LogError::Damaged { what: name.into(), error })?;
        batch.put(Table::RaftMeta, name, row);
        Ok(())
    }

    fn write_meta<T: Serialize>(&self, name: &'static str, value: &T) -> Result<(), LogError> {
        let mut batch = Batch::new();
        self.set_meta(&mut batch, name, value)?;
        Ok(self.store.write(batch)?)
    }

    pub(crate) fn committed(&self) -> Result<Option<LogId>, LogError> {
        Ok(self.meta::<Option<LogId>>("committed")?.flatten())
    }

    /// Where the numbers of this start's groups begin: later than those of every start before, should the clock have been
    /// set back too, and than those of a peer whose state was removed, by the clock. Durable when this returns.
    pub(crate) fn first_number(&self, now: u64) -> Result<u64, LogError> {
        /// Groups of one start.
        const STEP: u64 = 1 << 32;
        let last: u64 = self.meta("number")?.unwrap_or(0);
        let first = last.saturating_add(STEP).max(now);
        self.write_meta("number", &first)?;
        self.store.sync()?;
        Ok(first)
    }

    /// Makes the log begin behind this entry, which is not there.
    pub(crate) fn begin_behind(&self, id: LogId) -> Result<(), LogError> {
        self.write_meta("purged", &Some(id))?;
        self.write_meta("committed", &Some(id))
    }

    /// The entries between the bounds, and of those the first ones of about so many bytes, one at least.
    pub(crate) fn entries(
        &self,
        range: impl RangeBounds<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry<TypeConfig>>, LogError> {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        let (mut entries, mut bytes, mut damaged) = (Vec::new(), 0, None);
        if from >= end {
            return Ok(entries);
        }
        self.store.scan(Table::RaftLog, Bound::Included(&key(from)), Bound::Excluded(&key(end)), &mut |key, row| {
            match decode(row) {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    let index = key.try_into().map_or(0, u64::from_be_bytes);
                    damaged = Some(LogError::Damaged { what: format!("entry {index}"), error });
                    return ControlFlow::Break(());
                }
            }
            bytes += row.len();
            if bytes < bytes_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        damaged.map_or(Ok(entries), Err)
    }

    /// Reads all of it, as far as the pinset, which is that far, does not stand for it.
    ///
    /// # Errors
    /// Names the first entry that is missing or damaged.
    pub(crate) fn check(&self, applied: Option<LogId>) -> Result<(), LogError> {
        let purged = self.meta::<Option<LogId>>("purged")?.flatten();
        let first = purged.map_or(0, |id| id.index + 1);
        let (mut next, mut wrong) = (first, None);
        self.store.scan(Table::RaftLog, Bound::Included(&key(first)), Bound::Unbounded, &mut |key, row| {
            let index = key.try_into().map_or(0, u64::from_be_bytes);
            let checked = if index == next { check_form(row) } else { Err(FormError::Missing) };
            if let Err(error) = checked {
                wrong = Some(LogError::Damaged { what: format!("entry {next}"), error });
                return ControlFlow::Break(());
            }
            next += 1;
            ControlFlow::Continue(())
        })?;
        let committed = self.committed()?.filter(|id| Some(*id) > applied && id.index >= next);
        if committed.is_some() && wrong.is_none() {
            wrong = Some(LogError::Damaged { what: format!("entry {next}"), error: FormError::Missing });
        }
        wrong.map_or(Ok(()), Err)
    }

    /// Which entry is here at an index, if any is.
    pub(crate) fn id_at(&self, index: u64) -> Result<Option<LogId>, LogError> {
        Ok(self.entries(index..=index, usize::MAX)?.first().map(|entry| *entry.get_log_id()))
    }

    pub(crate) fn state(&self) -> Result<LogState<TypeConfig>, LogError> {
        let purged = self.meta::<Option<LogId>>("purged")?.flatten();
        let last = match self.store.last(Table::RaftLog)? {
            Some((key, _)) => self.id_at(key.as_ref().try_into().map_or(0, u64::from_be_bytes))?,
            None => None,
        };
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.max(purged) })
    }

    fn write_entries(&self, entries: impl IntoIterator<Item = Entry<TypeConfig>>) -> Result<(), LogError> {
        let mut batch = Batch::new();
        for entry in entries {
            let index = entry.get_log_id().index;
            let what = || format!("entry {index}");
            let row = encode(&entry).map_err(|error| LogError::Damaged { what: what(), error })?;
            batch.put(Table::RaftLog, key(index).to_vec(), row);
        }
        Ok(self.store.write(batch)?)
    }

    /// Removes the entries up to this one, the first first, so that a crash leaves no hole.
    fn remove_up_to(&self, index: u64) -> Result<(), LogError> {
        let keys = self.keys((Bound::Unbounded, Bound::Included(&key(index))))?;
        self.remove(&keys)
    }

    /// Removes the entries from this one on, the last first, so that a crash leaves no hole.
    fn remove_from(&self, index: u64) -> Result<(), LogError> {
        let mut keys = self.keys((Bound::Included(&key(index)), Bound::Unbounded))?;
        keys.reverse();
        self.remove(&keys)
    }

    fn keys(&self, range: (Bound<&[u8]>, Bound<&[u8]>)) -> Result<Vec<Vec<u8>>, LogError> {
        let mut keys = Vec::new();
        self.store.scan(Table::RaftLog, range.0, range.1, &mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        Ok(keys)
    }

    /// Removes entries in this order.
    fn remove(&self, keys: &[Vec<u8>]) -> Result<(), LogError> {
        for keys in keys.chunks(STEP) {
            let mut batch = Batch::new();
            keys.iter().for_each(|key| batch.delete(Table::RaftLog, key.clone()));
            self.store.write(batch)?;
        }
        Ok(())
    }

    /// Syncs, away from the tasks.
    async fn sync(&self) -> Result<(), StoreError> {
        let store = Arc::clone(&self.store);
        let synced = tokio::task::spawn_blocking(move || store.sync()).await;
        synced.unwrap_or_else(|e| Err(StoreError::Closed(e.to_string())))
    }
}

/// Removes everything of log, votes and snapshots, durably.
pub(crate) fn clean(store: &dyn Datastore) -> Result<(), StoreError> {
    for table in [Table::RaftLog, Table::RaftMeta] {
        loop {
            let rows = store.page(table, Bound::Unbounded, STEP)?;
            let mut batch = Batch::new();
            rows.iter().for_each(|(key, _)| batch.delete(table, key.clone()));
            if batch.is_empty() {
                break;
            }
            store.write(batch)?;
        }
    }
    store.sync()
}

fn reading(error: LogError) -> StorageError {
    StorageIOError::read_logs(error.any()).into()
}

fn writing(error: impl Into<LogError>) -> StorageError {
    StorageIOError::write_logs(error.into().any()).into()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<TypeConfig>>, StorageError> {
        self.entries(range, usize::MAX).map_err(reading)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry<TypeConfig>>, StorageError> {
        self.entries(start..end, MESSAGE_BYTES).map_err(reading)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        self.state().map_err(reading)
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<Member>) -> Result<(), StorageError> {
        let failed = |error: LogError| StorageIOError::write_vote(error.any());
        self.write_meta("vote", vote).map_err(failed)?;
        Ok(self.sync().await.map_err(|error| failed(error.into()))?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<Member>>, StorageError> {
        Ok(self.meta("vote").map_err(|error| StorageIOError::read_vote(error.any()))?)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.write_meta("committed", &committed).map_err(writing)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        self.committed().map_err(reading)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.write_entries(entries).map_err(writing)?;
        let synced = self.sync().await;
        callback
            .log_io_completed(synced.as_ref().map(|_| ()).map_err(|error| std::io::Error::other(error.to_string())));
        synced.map_err(writing)
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        self.remove_from(since.index).map_err(writing)?;
        self.sync().await.map_err(writing)
    }

    /// Not synced: entries that a crash brings back are purged again, and everything that they did is durable in a
    /// snapshot.
    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        self.write_meta("purged", &Some(upto)).map_err(writing)?;
        self.remove_up_to(upto.index).map_err(writing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_datastore::MemoryStore;
    use openraft::{CommittedLeaderId, EntryPayload};

    /// Many entries go in several batches, and the power may fail between two.
    #[test]
    fn a_crash_while_entries_are_removed_leaves_no_hole() {
        let end = 2 * STEP as u64 + 100;
        let id = |index| LogId::new(CommittedLeaderId::new(1, Member::from(1)), index);
        let memory = Arc::new(MemoryStore::new());
        let log = LogStore::new(Arc::clone(&memory) as Arc<dyn Datastore>);
        let entries = (0..end).map(|index| Entry { log_id: id(index), payload: EntryPayload::Blank });
        log.write_entries(entries).expect("written");
        memory.sync().expect("synced");
        log.remove_from(50).expect("removed");

        for batches in 0..=3 {
            let log = LogStore::new(Arc::new(memory.crash_keeping(batches)));

            assert!(log.check(None).is_ok(), "{:?} after {batches} batches", log.check(None));
            let last = log.state().expect("read").last_log_id.map(|id| id.index);
            assert_eq!(last == Some(49), batches == 3, "{last:?} after {batches} batches");
        }
    }
}
