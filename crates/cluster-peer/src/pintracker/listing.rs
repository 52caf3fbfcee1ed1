//! How items stand: read from the index, with what is in flight and the daemon's word laid over it.

use super::shell::TrackerShell;
use cluster_component::errors::{StateError, TrackerError};
use cluster_component::{PAGE_MAX, PageStream};
use cluster_core::tracker::machine::{Aim, Event, Kind, read};
use cluster_core::tracker::row::{Class, Row, read_attention_key};
use cluster_types::store::{DatastoreReadExt, StoreError, Table};
use cluster_types::{Cid, Pin, PinInfo, PinInfoShort, Timestamp, TrackerStatus};
use futures::{FutureExt, StreamExt};
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, PoisonError};

impl TrackerShell {
    fn info(&self, cid: Cid, pin: Option<&Pin>, short: PinInfoShort) -> PinInfo {
        PinInfo {
            cid,
            name: pin.map(|pin| pin.options.name.clone()).unwrap_or_default(),
            peer: self.parts.me,
            allocations: pin.map(|pin| pin.allocations.clone()),
            origins: pin.and_then(|pin| pin.options.origins.clone()),
            created: pin.map_or(Timestamp::ZERO, |pin| pin.timestamp),
            metadata: pin.and_then(|pin| pin.options.metadata.clone()),
            status: short,
        }
    }

    fn short(&self, status: TrackerStatus, since: Timestamp, error: impl Into<String>) -> PinInfoShort {
        let (peername, ipfs) = (self.parts.whoami)();
        PinInfoShort {
            peername,
            ipfs_peer_id: ipfs.id,
            ipfs_peer_addresses: ipfs.addresses,
            status,
            timestamp: since,
            error: error.into(),
            attempt_count: 0,
            priority_pin: false,
        }
    }

    /// How an item stands by its row, and by what is in flight.
    fn short_of_row(&self, row: &Row, flight: Option<(Kind, Timestamp)>, base: &PinInfoShort) -> PinInfoShort {
        let (status, since) = match flight {
            Some((Kind::Pin, since)) => (TrackerStatus::PINNING, since),
            Some((Kind::Unpin, since)) if row.status != TrackerStatus::REMOTE => (TrackerStatus::UNPINNING, since),
            _ => (row.status, row.since),
        };
        PinInfoShort {
            status,
            timestamp: since,
            error: row.error.clone(),
            attempt_count: row.attempts,
            priority_pin: matches!(row.waiting, Some((Class::Priority, _))),
            ..base.clone()
        }
    }

    pub(super) fn flight(&self, cid: &Cid) -> Option<(Kind, Timestamp)> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner).in_flight(cid)
    }

    /// Items of one page of pins, with their rows beside them.
    fn page(&self, pins: Vec<Pin>, filter: TrackerStatus, base: &PinInfoShort) -> Result<Vec<PinInfo>, StoreError> {
        let (Some(first), Some(last)) = (pins.first(), pins.last()) else { return Ok(Vec::new()) };
        let mut rows = Vec::with_capacity(pins.len());
        let (from, to) = (first.cid.sort_key(), last.cid.sort_key());
        let range = (Bound::Included(from.as_slice()), Bound::Included(to.as_slice()));
        self.parts.store.scan(Table::Status, range.0, range.1, &mut |key, row| {
            rows.extend(Row::decode(row).map(|row| (key.to_vec(), row)));
            ControlFlow::Continue(())
        })?;
        // Both are in the order of their keys: each row is passed once.
        let mut rows = rows.into_iter().peekable();
        let mut infos = Vec::with_capacity(pins.len());
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        for pin in pins {
            let key = pin.cid.sort_key();
            while rows.next_if(|(other, _)| *other < key).is_some() {}
            let short = match rows.next_if(|(other, _)| *other == key) {
                Some((_, row)) => self.short_of_row(&row, machine.in_flight(&pin.cid), base),
                // Not seen yet: it is about to be queued.
                None => {
                    let status = match self.aim(&pin) {
                        Aim::Sharded => TrackerStatus::SHARDED,
                        Aim::Remote => TrackerStatus::REMOTE,
                        _ => TrackerStatus::PIN_QUEUED,
                    };
                    PinInfoShort { status, timestamp: pin.timestamp, ..base.clone() }
                }
            };
            if short.status.matches(filter) {
                infos.push(self.own_info(pin, short));
            }
        }
        Ok(infos)
    }

    /// As [`info`](Self::info), with the pin's parts moved and not copied.
    fn own_info(&self, pin: Pin, status: PinInfoShort) -> PinInfo {
        PinInfo {
            cid: pin.cid,
            name: pin.options.name,
            peer: self.parts.me,
            allocations: Some(pin.allocations),
            origins: pin.options.origins,
            created: pin.timestamp,
            metadata: pin.options.metadata,
            status,
        }
    }

    /// Items that are being worked on or failed, from the index of those alone.
    fn attention_page(
        &self,
        after: &[u8],
        filter: TrackerStatus,
    ) -> Result<(Vec<PinInfo>, Option<Vec<u8>>), TrackerError> {
        let rows = self.parts.store.page(Table::Attention, Bound::Excluded(after), PAGE_MAX)?;
        let base = self.short(TrackerStatus::UNDEFINED, Timestamp::ZERO, "");
        let mut infos = Vec::new();
        for (key, _) in &rows {
            let Some((_, _, cid)) = read_attention_key(key) else { continue };
            let Some(row) = read(&*self.parts.store, &cid)? else { continue };
            let short = self.short_of_row(&row, self.flight(&cid), &base);
            if short.status.matches(filter) {
                infos.push(self.info(cid, self.state.get(&cid)?.as_ref(), short));
            }
        }
        let next = (rows.len() == PAGE_MAX).then(|| rows.last().map(|(key, _)| key.to_vec())).flatten();
        Ok((infos, next))
    }

    /// The daemon's word on an item that is thought to be at rest.
    async fn ask_daemon(self: &Arc<Self>, pin: &Pin, row: Option<&Row>) -> PinInfoShort {
        match self.parts.connector.pin_ls_cid(pin).await {
            Err(error) => self.short(TrackerStatus::CLUSTER_ERROR, self.now(), error.to_string()),
            Ok(held) => {
                let held = held.satisfies(pin.max_depth);
                self.log_store_error(self.apply([Event::Observed(pin.cid, held)]));
                if held {
                    self.short(TrackerStatus::PINNED, row.map_or(pin.timestamp, |row| row.since), "")
                } else {
                    let text = "the item should be pinned but it is not";
                    self.short(TrackerStatus::UNEXPECTEDLY_UNPINNED, self.now(), text)
                }
            }
        }
    }

    pub(super) async fn status_now(self: &Arc<Self>, cid: &Cid) -> PinInfo {
        let failed = |error: String| self.info(*cid, None, self.short(TrackerStatus::CLUSTER_ERROR, self.now(), error));
        let pin = match self.state.get(cid) {
            Ok(pin) => pin,
            Err(error) => return failed(error.to_string()),
        };
        let row = match read(&*self.parts.store, cid) {
            Ok(row) => row,
            Err(error) => return failed(error.to_string()),
        };
        let base = self.short(TrackerStatus::UNDEFINED, Timestamp::ZERO, "");
        let short = match (&pin, &row) {
            (None, None) => self.short(TrackerStatus::UNPINNED, self.now(), ""),
            (Some(pin), Some(row)) if row.waiting.is_none() && row.status == TrackerStatus::PINNED => {
                self.ask_daemon(pin, Some(row)).await
            }
            (_, Some(row)) => self.short_of_row(row, self.flight(cid), &base),
            (Some(pin), None) => match self.aim(pin) {
                Aim::Remote => self.short(TrackerStatus::REMOTE, self.now(), ""),
                Aim::Sharded => self.short(TrackerStatus::SHARDED, self.now(), ""),
                _ => self.short(TrackerStatus::PIN_QUEUED, pin.timestamp, ""),
            },
        };
        self.info(*cid, pin.as_ref(), short)
    }

    /// A merge of two ordered scans, page by page: constant memory, whatever the pinset.
    pub(super) fn list_all(self: Arc<Self>, filter: TrackerStatus) -> PageStream<PinInfo, TrackerError> {
        let base = self.short(TrackerStatus::UNDEFINED, Timestamp::ZERO, "");
        let pages = Arc::clone(&self.state).list().map(move |page| -> Result<Vec<PinInfo>, TrackerError> {
            Ok(self.page(page.map_err(|e: StateError| TrackerError::from(e))?, filter, &base)?)
        });
        pages.filter(|page| std::future::ready(!matches!(page, Ok(items) if items.is_empty()))).boxed()
    }

    /// Costs what it returns, not what the pinset has.
    pub(super) fn list_attention(self: Arc<Self>, filter: TrackerStatus) -> PageStream<PinInfo, TrackerError> {
        let pages = futures::stream::unfold((self, Some(Vec::new())), move |(this, after)| {
            let page = after.map(|after| this.attention_page(&after, filter));
            let next = match page {
                None => None,
                Some(Ok((infos, next))) => Some((Ok(infos), (this, next))),
                Some(Err(error)) => Some((Err(error), (this, None))),
            };
            std::future::ready(next).boxed()
        });
        pages.filter(|page| std::future::ready(!matches!(page, Ok(items) if items.is_empty()))).boxed()
    }
}
