//! State `dsstate` under a consensus that keeps no pins of its own: rows of the table `Pins`, one for each pin, and the
//! mark in a row that sorts before all of them, so that one scan sees both at one moment. Keeps nothing in memory but the
//! number of pins and their digest.

use super::listing;
use bytes::Bytes;
use cluster_component::component::{PinsetChange, State, StateRead, VisitPin};
use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_component::errors::StateError;
use cluster_component::{PAGE_MAX, PageStream};
use cluster_core::pinset::digest;
use cluster_types::store::{Batch, Datastore, DatastoreReadExt, StoreError, Table};
use cluster_types::{Cid, Pin, PinsetDigest, StateDigest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, PoisonError};

/// Section `state.dsstate`: it has no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DsStateConfig {}

impl ComponentConfig for DsStateConfig {
    const SECTION: Section = Section::State;
    const KEY: &'static str = "dsstate";

    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// The row of the mark. No CID's key begins with a zero byte, since no CID begins with the five bits 11010.
const MARK: &[u8] = b"\0mark";

/// The first key that a pin can have.
const PINS: &[u8] = b"\x01";

/// Rows that are written or removed with one batch.
const STEP: usize = 5_000;

/// The pinset in the table `Pins`.
pub struct PinState {
    store: Arc<dyn Datastore>,
    /// What the pins are together; also taken by writers, one at a time.
    sum: Mutex<StateDigest>,
}

impl fmt::Debug for PinState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinState")
    }
}

impl PinState {
    /// Opens it. The pins are counted and summed up.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(store: Arc<dyn Datastore>) -> Result<Self, StateError> {
        let mut sum = StateDigest::default();
        store.scan(Table::Pins, Bound::Included(PINS), Bound::Unbounded, &mut |key, stored| {
            sum.pins += 1;
            sum.digest.add(&digest::of_pin(key, stored));
            ControlFlow::Continue(())
        })?;
        Ok(Self { store, sum: Mutex::new(sum) })
    }

    fn remove_all(&self) -> Result<(), StoreError> {
        loop {
            let rows = self.store.page(Table::Pins, Bound::Unbounded, STEP)?;
            let mut batch = Batch::new();
            rows.iter().for_each(|(key, _)| batch.delete(Table::Pins, key.clone()));
            if batch.is_empty() {
                // Without its mark it is known to be cut short.
                return self.store.sync();
            }
            self.store.write(batch)?;
        }
    }
}

fn damaged(cid: impl fmt::Display, reason: impl fmt::Display) -> StateError {
    StateError::Damaged { cid: cid.to_string(), reason: reason.to_string() }
}

fn pin(cid: Cid, row: &[u8]) -> Result<Pin, StateError> {
    Pin::from_proto(row, Some(cid)).map_err(|e| damaged(cid, e))
}

impl StateRead for PinState {
    fn get(&self, cid: &Cid) -> Result<Option<Pin>, StateError> {
        let row = self.store.get(Table::Pins, &cid.sort_key())?;
        row.map(|row| pin(*cid, &row)).transpose()
    }

    fn contains(&self, cid: &Cid) -> Result<bool, StateError> {
        Ok(self.store.get(Table::Pins, &cid.sort_key())?.is_some())
    }

    fn page(&self, after: Option<&Cid>, limit: usize) -> Result<Vec<Pin>, StateError> {
        let mut pins = Vec::with_capacity(limit.min(PAGE_MAX));
        if limit == 0 {
            return Ok(pins);
        }
        let key = after.map(Cid::sort_key);
        let from = key.as_deref().map_or(Bound::Included(PINS), Bound::Excluded);
        self.store.scan(Table::Pins, from, Bound::Unbounded, &mut |key, row| {
            match Cid::from_sort_key(key).map_err(|e| damaged(hex::encode(key), e)).and_then(|cid| pin(cid, row)) {
                Ok(pin) => pins.push(pin),
                Err(error) => tracing::warn!(%error, "a pin is left out of the list"),
            }
            if pins.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(pins)
    }

    fn list(self: Arc<Self>) -> PageStream<Pin, StateError> {
        listing::list(self)
    }

    fn len(&self) -> Result<u64, StateError> {
        Ok(self.sum.lock().unwrap_or_else(PoisonError::into_inner).pins)
    }

    fn digest(&self) -> Result<PinsetDigest, StateError> {
        Ok(self.sum.lock().unwrap_or_else(PoisonError::into_inner).digest)
    }
}

impl State for PinState {
    fn apply(&self, changes: &[PinsetChange], mark: Bytes) -> Result<(), StateError> {
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        // Of two changes of one pin the later counts, so that each row is looked for once.
        let mut last: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        for change in changes {
            match change {
                PinsetChange::Pinned(pin) => drop(last.insert(pin.cid.sort_key(), Some(pin.to_proto()))),
                PinsetChange::Unpinned(cid) => drop(last.insert(cid.sort_key(), None)),
                PinsetChange::Resync => {}
            }
        }
        let (mut batch, mut after) = (Batch::new(), *sum);
        for (key, row) in last {
            let before = self.store.get(Table::Pins, &key)?;
            after.pins = after.pins + u64::from(row.is_some()) - u64::from(before.is_some());
            after.digest = after.digest.and(digest::change(&key, before.as_deref(), row.as_deref()));
            match row {
                Some(row) => batch.put(Table::Pins, key, row),
                None => batch.delete(Table::Pins, key),
            }
        }
        batch.put(Table::Pins, MARK, mark);
        self.store.write(batch)?;
        *sum = after;
        Ok(())
    }

    fn mark(&self) -> Result<Option<Bytes>, StateError> {
        Ok(self.store.get(Table::Pins, MARK)?)
    }

    fn replace(
        &self,
        pins: &mut dyn Iterator<Item = Result<Pin, StateError>>,
        mark: Option<Bytes>,
    ) -> Result<(), StateError> {
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove_all()?;
        *sum = StateDigest::default();
        let mut batch = Batch::new();
        for pin in pins {
            let pin = pin?;
            let (key, stored) = (pin.cid.sort_key(), pin.to_proto());
            sum.pins += 1;
            sum.digest.add(&digest::of_pin(&key, &stored));
            batch.put(Table::Pins, key, stored);
            if batch.len() == STEP {
                self.store.write(std::mem::take(&mut batch))?;
            }
        }
        if !batch.is_empty() {
            self.store.write(batch)?;
        }
        if let Some(mark) = mark {
            // After the pins, in a batch of its own: a crash keeps a prefix of the batches.
            let mut batch = Batch::new();
            batch.put(Table::Pins, MARK, mark);
            self.store.write(batch)?;
        }
        Ok(self.store.sync()?)
    }

    fn freeze(&self, visit: &mut VisitPin<'_>) -> Result<Option<Bytes>, StateError> {
        let (mut mark, mut failed) = (None, None);
        self.store.scan(Table::Pins, Bound::Unbounded, Bound::Unbounded, &mut |key, row| {
            if key == MARK {
                mark = Some(Bytes::copy_from_slice(row));
                return ControlFlow::Continue(());
            }
            let visited = Cid::from_sort_key(key).map_err(|e| damaged(hex::encode(key), e));
            match visited.and_then(|cid| visit(&cid, row)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(mark), Err)
    }
}
