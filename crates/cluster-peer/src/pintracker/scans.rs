//! The pinset and the index of statuses read side by side: both are in the listing order, so that constant memory is
//! enough, whatever is in them.

use cluster_component::PAGE_MAX;
use cluster_component::component::StateRead;
use cluster_component::errors::TrackerError;
use cluster_core::tracker::row::Row;
use cluster_types::store::{Datastore, Table};
use cluster_types::{Cid, Pin};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow};

/// What becomes of rows that have no pin (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// They are listed: they may still have to be unpinned.
    Listed,
    /// They are not.
    LeftOut,
}

/// Where both scans are.
#[derive(Debug, Default)]
pub(super) struct BothScans {
    pins: Scan<Pin>,
    rows: Scan<Option<Row>>,
}

/// One of them: items that were read and not yet passed on, by their keys.
#[derive(Debug)]
struct Scan<T> {
    ahead: VecDeque<(Vec<u8>, T)>,
    behind: Option<Vec<u8>>,
    ended: bool,
}

impl<T> Default for Scan<T> {
    fn default() -> Self {
        Self { ahead: VecDeque::new(), behind: None, ended: false }
    }
}

impl<T> Scan<T> {
    fn wants_more(&self) -> bool {
        self.ahead.is_empty() && !self.ended
    }

    fn take(&mut self, items: impl Iterator<Item = (Vec<u8>, T)>) {
        self.ahead.extend(items);
        self.ended = self.ahead.len() < PAGE_MAX;
        self.behind = self.ahead.back().map(|(key, _)| key.clone());
    }
}

/// An item, with its pin, its row, or both.
pub(super) type Pair = (Cid, Option<Pin>, Option<Row>);

impl BothScans {
    /// The next items, at most a page; none: that was all.
    pub(super) fn next_pairs(
        &mut self,
        state: &dyn StateRead,
        store: &dyn Datastore,
    ) -> Result<Vec<Pair>, TrackerError> {
        let mut pairs = Vec::with_capacity(PAGE_MAX);
        while pairs.len() < PAGE_MAX {
            self.fill(state, store)?;
            let side = match (self.pins.ahead.front(), self.rows.ahead.front()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((pin, _)), Some((row, _))) => pin.cmp(row),
            };
            let row = if side == Ordering::Less { None } else { self.rows.ahead.pop_front() };
            let pin = if side == Ordering::Greater { None } else { self.pins.ahead.pop_front() };
            match (pin, row) {
                (Some((_, pin)), row) => pairs.push((pin.cid, Some(pin), row.and_then(|(_, row)| row))),
                // A row whose key is no CID's belongs to nothing that could be listed.
                (None, Some((key, row))) => pairs.extend(Cid::from_sort_key(&key).ok().map(|cid| (cid, None, row))),
                (None, None) => {}
            }
        }
        Ok(pairs)
    }

    fn fill(&mut self, state: &dyn StateRead, store: &dyn Datastore) -> Result<(), TrackerError> {
        if self.pins.wants_more() {
            let after = self.pins.behind.as_deref().and_then(|key| Cid::from_sort_key(key).ok());
            let pins = state.page(after.as_ref(), PAGE_MAX)?;
            self.pins.take(pins.into_iter().map(|pin| (pin.cid.sort_key(), pin)));
        }
        if self.rows.wants_more() {
            let from = self.rows.behind.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut rows = Vec::with_capacity(PAGE_MAX);
            // A damaged row counts as none: comparing writes it anew.
            store.scan(Table::Status, from, Bound::Unbounded, &mut |key, row| {
                rows.push((key.to_vec(), Row::decode(row)));
                if rows.len() < PAGE_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            self.rows.take(rows.into_iter());
        }
        Ok(())
    }
}
