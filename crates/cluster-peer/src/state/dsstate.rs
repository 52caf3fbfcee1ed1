//! State `dsstate` under the CRDT: reads the pins out of the replica's rows in the datastore. Keeps nothing in memory.

use super::listing;
use cluster_component::component::StateRead;
use cluster_component::errors::StateError;
use cluster_component::{PAGE_MAX, PageStream};
use cluster_core::crdt::keys::cid_of_row_key;
use cluster_core::crdt::{element_value, replica};
use cluster_types::store::{Datastore, Table};
use cluster_types::{Cid, Pin, PinsetDigest};
use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

/// The pinset as the datastore has it.
pub struct DsState {
    store: Arc<dyn Datastore>,
}

impl fmt::Debug for DsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DsState")
    }
}

impl DsState {
    /// Reads from this store.
    #[must_use]
    pub fn new(store: Arc<dyn Datastore>) -> Self {
        Self { store }
    }
}

fn pin(cid: Cid, row: &[u8]) -> Result<Pin, StateError> {
    let damaged = |reason: String| StateError::Damaged { cid: cid.to_string(), reason };
    let value = element_value(row).ok_or_else(|| damaged("its row is cut short".into()))?;
    Pin::from_proto(value, Some(cid)).map_err(|e| damaged(e.to_string()))
}

impl StateRead for DsState {
    fn get(&self, cid: &Cid) -> Result<Option<Pin>, StateError> {
        let row = self.store.get(Table::CrdtElements, &cid.sort_key())?;
        row.map(|row| pin(*cid, &row)).transpose()
    }

    fn contains(&self, cid: &Cid) -> Result<bool, StateError> {
        Ok(self.store.get(Table::CrdtElements, &cid.sort_key())?.is_some())
    }

    fn page(&self, after: Option<&Cid>, limit: usize) -> Result<Vec<Pin>, StateError> {
        let mut pins = Vec::with_capacity(limit.min(PAGE_MAX));
        if limit == 0 {
            return Ok(pins);
        }
        let key = after.map(Cid::sort_key);
        let from = key.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.store.scan(Table::CrdtElements, from, Bound::Unbounded, &mut |key, row| {
            // Rows of other users of the replica are not ours to list.
            let Some(cid) = cid_of_row_key(key) else { return ControlFlow::Continue(()) };
            match pin(cid, row) {
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
        Ok(replica::pin_count(&*self.store)?)
    }

    fn digest(&self) -> Result<PinsetDigest, StateError> {
        Ok(replica::pin_digest(&*self.store)?)
    }
}
