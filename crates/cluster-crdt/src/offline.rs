//! A replica without a running peer: taking in a whole pinset, and removing it.

use bytes::Bytes;
use cluster_core::crdt::{Effect, Event, LocalChange, Replica, ReplicaError};
use cluster_types::Cid;
use cluster_types::store::{Batch, Datastore, DatastoreRead, DatastoreReadExt, Row, StoreError, Table, Visit};
use std::ops::Bound;
use std::sync::mpsc;
use std::thread;

/// Pins that are taken in with one step: about a megabyte of delta.
const STEP: usize = 5_000;

/// Rows that are removed with one batch.
const CLEAN_STEP: usize = 10_000;

const TABLES: [Table; 6] =
    [Table::CrdtMeta, Table::CrdtNodes, Table::CrdtIndex, Table::CrdtBlocks, Table::CrdtElements, Table::CrdtTombs];

/// Batches that are made while one is being written.
const WRITES_AHEAD: usize = 1;

/// Fills an empty replica with pins in their stored form, in large deltas; returns how many. None comes twice; fastest is
/// the order of their sort keys. Durable when this returns.
///
/// # Errors
/// When the store fails, or the first error of the pins; what came before it is there.
pub fn import<E: From<ReplicaError> + From<StoreError>>(
    store: &dyn Datastore,
    pins: impl Iterator<Item = Result<(Cid, Vec<u8>), E>>,
) -> Result<u64, E> {
    let (to_write, batches) = mpsc::sync_channel(WRITES_AHEAD);
    let (made, written) = thread::scope(|scope| {
        let writer = scope.spawn(move || batches.into_iter().try_for_each(|batch| store.write(batch)));
        let made = make_deltas(pins, to_write);
        (made, writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    // A writer that failed makes the maker stop.
    written?;
    store.sync()?;
    made
}

fn make_deltas<E: From<ReplicaError>>(
    pins: impl Iterator<Item = Result<(Cid, Vec<u8>), E>>,
    to_write: mpsc::SyncSender<Batch>,
) -> Result<u64, E> {
    let (mut replica, mut count) = (Replica::default(), 0);
    let mut pins = pins.peekable();
    while pins.peek().is_some() {
        let group = pins.by_ref().take(STEP).map(|pin| pin.map(|(cid, pin)| LocalChange::Put(cid, pin)));
        let group = group.collect::<Result<Vec<_>, E>>()?;
        count += group.len() as u64;
        let mut effects = Vec::new();
        replica.step(Event::Local(group), &Nothing, &mut effects)?;
        for effect in effects {
            if let Effect::Write(batch) = effect
                && to_write.send(batch).is_err()
            {
                return Ok(count);
            }
        }
    }
    Ok(count)
}

/// What an empty store answers. An import never asks for what it wrote itself, since no key comes twice.
struct Nothing;

impl DatastoreRead for Nothing {
    fn get(&self, _: Table, _: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    fn scan(
        &self,
        _: Table,
        _: Bound<&[u8]>,
        _: Bound<&[u8]>,
        _: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    fn last(&self, _: Table) -> Result<Option<Row>, StoreError> {
        Ok(None)
    }
}

/// Removes everything of the replica, durably.
///
/// # Errors
/// When the store fails.
pub fn clean(store: &dyn Datastore) -> Result<(), StoreError> {
    for table in TABLES {
        loop {
            let rows = store.page(table, Bound::Unbounded, CLEAN_STEP)?;
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
