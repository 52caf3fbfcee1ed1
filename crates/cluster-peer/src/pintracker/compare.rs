//! Comparing: the pinset with the index, and the index with the daemon, page by page behind all other work.

use super::shell::TrackerShell;
use cluster_component::PAGE_MAX;
use cluster_component::errors::ConnectorError;
use cluster_core::tracker::machine::{Aim, Event};
use cluster_types::store::{DatastoreReadExt, StoreError, Table};
use cluster_types::{Cid, IpfsPinStatus};
use futures::StreamExt;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl TrackerShell {
    /// Finds pins that have no row or a wrong one, and rows that have no pin.
    pub(super) async fn compare_with_pinset(self: &Arc<Self>) {
        let mut after = None;
        loop {
            let page = self.state.page(after.as_ref(), PAGE_MAX);
            let pins = match page {
                Ok(pins) => pins,
                Err(error) => return tracing::error!(%error, "the pinset cannot be compared"),
            };
            let events: Vec<_> = pins.iter().map(|pin| Event::Compare(pin.cid, self.aim(pin))).collect();
            if let Err(error) = self.apply(events) {
                return self.log_store_error(Err(error));
            }
            match pins.last() {
                Some(pin) if pins.len() == PAGE_MAX => after = Some(pin.cid),
                _ => break,
            }
            tokio::task::yield_now().await;
        }
        self.compared.store(true, Ordering::Release);
        self.log_store_error(self.drop_rows_without_pins().await);
    }

    async fn drop_rows_without_pins(self: &Arc<Self>) -> Result<(), StoreError> {
        let mut from = Bound::Unbounded;
        loop {
            let rows = self.parts.store.page(Table::Status, from.as_ref().map(Vec::as_slice), PAGE_MAX)?;
            let mut events = Vec::new();
            for (key, _) in &rows {
                let Ok(cid) = Cid::from_sort_key(key) else { continue };
                if self.state.contains(&cid).is_ok_and(|there| !there) {
                    events.push(Event::Compare(cid, Aim::Gone));
                }
            }
            self.apply(events)?;
            match rows.last() {
                Some((key, _)) if rows.len() == PAGE_MAX => from = Bound::Excluded(key.to_vec()),
                _ => return Ok(()),
            }
            tokio::task::yield_now().await;
        }
    }

    /// What the daemon holds: twelve bytes of the hash of each CID, so that a million pins take little memory, and two
    /// never meet.
    async fn held_by_daemon(&self) -> Result<BTreeSet<[u8; 13]>, ConnectorError> {
        let kinds = [IpfsPinStatus::Recursive, IpfsPinStatus::Direct];
        let mut held = BTreeSet::new();
        let mut pages = Arc::clone(&self.parts.connector).pin_ls(&kinds);
        while let Some(page) = pages.next().await {
            held.extend(page?.iter().map(|pin| fingerprint(&pin.cid, pin.status == IpfsPinStatus::Direct)));
        }
        Ok(held)
    }

    /// Finds items that the daemon lost, or holds although they are thought lost.
    pub(super) async fn compare_with_daemon(self: &Arc<Self>) {
        match self.held_by_daemon().await {
            Ok(held) => self.tell_of_mine(&|pin, held| Some(Event::Observed(pin, held)), &held).await,
            Err(error) => tracing::warn!(%error, "the daemon's pins cannot be compared"),
        }
    }

    /// Makes the index anew: what the daemon holds already is at rest, and the daemon is not asked to pin it again.
    pub(super) async fn take_over_what_is_held(self: &Arc<Self>) {
        // An error: the connector is being stopped, and this task with it.
        let _ready = self.parts.connector.ready().await;
        match self.held_by_daemon().await {
            Ok(held) => self.tell_of_mine(&|pin, held| held.then_some(Event::Held(pin)), &held).await,
            Err(error) => tracing::warn!(%error, "the daemon's pins are not known: each is asked for"),
        }
    }

    /// Tells the machine of every item that this peer shall hold whether the daemon holds it.
    async fn tell_of_mine(
        self: &Arc<Self>,
        event: &(dyn Fn(Cid, bool) -> Option<Event> + Sync),
        held: &BTreeSet<[u8; 13]>,
    ) {
        let mut after = None;
        loop {
            let Ok(pins) = self.state.page(after.as_ref(), PAGE_MAX) else { return };
            let mine = pins.iter().filter(|pin| matches!(self.aim(pin), Aim::Pinned(_)));
            let told = mine.filter_map(|pin| event(pin.cid, held.contains(&fingerprint(&pin.cid, pin.max_depth == 0))));
            self.log_store_error(self.apply(told.collect::<Vec<_>>()));
            match pins.last() {
                Some(pin) if pins.len() == PAGE_MAX => after = Some(pin.cid),
                _ => return,
            }
            tokio::task::yield_now().await;
        }
    }
}

/// What stands for a CID and the way it is held.
fn fingerprint(cid: &Cid, direct: bool) -> [u8; 13] {
    let mut out = [0; 13];
    let bytes = cid.to_bytes();
    let tail = &bytes[bytes.len().saturating_sub(12)..];
    out[..tail.len()].copy_from_slice(tail);
    out[12] = u8::from(direct);
    out
}
