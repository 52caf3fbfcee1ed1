//! A replica without a running peer: taking in a whole pinset, and removing it.

use cluster_core::crdt::{Effect, Event, LocalChange, Replica, ReplicaError};
use cluster_types::Pin;
use cluster_types::store::{Batch, Datastore, DatastoreReadExt, StoreError, Table};
use std::ops::Bound;

/// Pins that are taken in with one step: about a megabyte of delta.
const STEP: usize = 5_000;

/// Rows that are removed with one batch.
const CLEAN_STEP: usize = 10_000;

const TABLES: [Table; 6] =
    [Table::CrdtMeta, Table::CrdtNodes, Table::CrdtIndex, Table::CrdtBlocks, Table::CrdtElements, Table::CrdtTombs];

/// Adds pins to what is there, in large deltas; returns how many. Durable when this returns.
///
/// # Errors
/// When the store fails, or the first error of the pins; what came before it is there.
pub fn import<E: From<ReplicaError> + From<StoreError>>(
    store: &dyn Datastore,
    pins: impl Iterator<Item = Result<Pin, E>>,
) -> Result<u64, E> {
    let mut replica = Replica::load(store)?;
    let (mut group, mut count) = (Vec::with_capacity(STEP), 0);
    for pin in pins {
        let pin = pin?;
        group.push(LocalChange::Put(pin.cid, pin.to_proto()));
        count += 1;
        if group.len() == STEP {
            write(store, &mut replica, std::mem::take(&mut group))?;
        }
    }
    if !group.is_empty() {
        write(store, &mut replica, group)?;
    }
    store.sync()?;
    Ok(count)
}

fn write(store: &dyn Datastore, replica: &mut Replica, group: Vec<LocalChange>) -> Result<(), ReplicaError> {
    let mut effects = Vec::new();
    replica.step(Event::Local(group), store, &mut effects)?;
    for effect in effects {
        if let Effect::Write(batch) = effect {
            store.write(batch)?;
        }
    }
    Ok(())
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
