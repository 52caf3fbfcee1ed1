//! How items stand: read from the index, with what is in flight and the daemon's word laid over it.

use super::scans::{BothScans, Gone};
use super::shell::TrackerShell;
use cluster_component::errors::TrackerError;
use cluster_component::{PAGE_MAX, PageStream};
use cluster_core::tracker::machine::{Aim, Event, Kind, read};
use cluster_core::tracker::row::{Class, Row, sort_key_of_attention};
use cluster_types::store::{StoreError, Table};
use cluster_types::{Cid, Pin, PinInfo, PinInfoShort, Timestamp, TrackerStatus};
use futures::StreamExt;
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// Items that wait are put into the listing order by sorting their keys, up to so many: about 3 MB while one list is
/// read. Beyond, the whole pinset is read, which is in that order.
const SORTED_MAX: usize = 32_768;

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
            progress: None,
            retry_at: None,
        }
    }

    /// How an item stands by its row, and by what is in flight.
    fn short_of_row(
        &self,
        cid: &Cid,
        row: &Row,
        flight: Option<(Kind, Timestamp)>,
        base: &PinInfoShort,
    ) -> PinInfoShort {
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
            progress: self.progress.of(cid).filter(|_| status == TrackerStatus::PINNING),
            retry_at: row.waiting.filter(|_| !row.error.is_empty() && flight.is_none()).map(|(_, due)| moment(due)),
            ..base.clone()
        }
    }

    pub(super) fn flight(&self, cid: &Cid) -> Option<(Kind, Timestamp)> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner).in_flight(cid)
    }

    /// How the next items of both scans stand: a pin without a row is about to be queued, a row without a pin is about to
    /// be unpinned.
    fn page(
        &self,
        both: &mut BothScans,
        filter: TrackerStatus,
        gone: Gone,
        base: &PinInfoShort,
    ) -> Result<Option<Vec<PinInfo>>, TrackerError> {
        let pairs = both.next_pairs(&*self.state, &*self.parts.store)?;
        if pairs.is_empty() {
            return Ok(None);
        }
        let mut infos = Vec::with_capacity(pairs.len());
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        for (cid, pin, row) in pairs {
            let short = match (&pin, row) {
                (None, _) if gone == Gone::LeftOut => continue,
                (_, Some(row)) => self.short_of_row(&cid, &row, machine.in_flight(&cid), base),
                (Some(pin), None) => {
                    let status = match self.aim(pin) {
                        Aim::Sharded => TrackerStatus::SHARDED,
                        Aim::Remote => TrackerStatus::REMOTE,
                        _ => TrackerStatus::PIN_QUEUED,
                    };
                    PinInfoShort { status, timestamp: pin.timestamp, ..base.clone() }
                }
                (None, None) => continue,
            };
            if short.status.matches(filter) {
                infos.push(match pin {
                    Some(pin) => self.own_info(pin, short),
                    None => self.info(cid, None, short),
                });
            }
        }
        Ok(Some(infos))
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

    /// The keys of all items that are being worked on or failed, in the listing order; `None` if there are too many to
    /// sort, or if the index is not known to name them all.
    fn attention(&self) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        if !self.compared.load(Ordering::Acquire) {
            return Ok(None);
        }
        let mut keys = Vec::new();
        self.parts.store.scan(Table::Attention, Bound::Unbounded, Bound::Unbounded, &mut |key, _| {
            keys.extend(sort_key_of_attention(key).map(<[u8]>::to_vec));
            if keys.len() <= SORTED_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if keys.len() > SORTED_MAX {
            return Ok(None);
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(Some(keys))
    }

    fn attention_page(&self, keys: &[Vec<u8>], filter: TrackerStatus) -> Result<Vec<PinInfo>, TrackerError> {
        let base = self.short(TrackerStatus::UNDEFINED, Timestamp::ZERO, "");
        let mut infos = Vec::new();
        for cid in keys.iter().filter_map(|key| Cid::from_sort_key(key).ok()) {
            let Some(row) = read(&*self.parts.store, &cid)? else { continue };
            let short = self.short_of_row(&cid, &row, self.flight(&cid), &base);
            if short.status.matches(filter) {
                infos.push(self.info(cid, self.state.get(&cid)?.as_ref(), short));
            }
        }
        Ok(infos)
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
            (_, Some(row)) => self.short_of_row(cid, row, self.flight(cid), &base),
            (Some(pin), None) => match self.aim(pin) {
                Aim::Remote => self.short(TrackerStatus::REMOTE, self.now(), ""),
                Aim::Sharded => self.short(TrackerStatus::SHARDED, self.now(), ""),
                _ => self.short(TrackerStatus::PIN_QUEUED, pin.timestamp, ""),
            },
        };
        self.info(*cid, pin.as_ref(), short)
    }

    /// A merge of two ordered scans, page by page: constant memory, whatever the pinset.
    pub(super) fn list_all(self: Arc<Self>, filter: TrackerStatus, gone: Gone) -> PageStream<PinInfo, TrackerError> {
        let base = self.short(TrackerStatus::UNDEFINED, Timestamp::ZERO, "");
        let start = (self, Some(BothScans::default()), base);
        let pages = futures::stream::unfold(start, move |(this, both, base)| async move {
            let mut both = both?;
            loop {
                match this.page(&mut both, filter, gone, &base) {
                    Ok(None) => return None,
                    // Much may be read before anything matches: others get their turn meanwhile.
                    Ok(Some(infos)) if infos.is_empty() => tokio::task::yield_now().await,
                    Ok(Some(infos)) => return Some((Ok(infos), (this, Some(both), base))),
                    Err(error) => return Some((Err(error), (this, None, base))),
                }
            }
        });
        pages.boxed()
    }

    /// Items that are being worked on or failed. Costs what it returns, not what the pinset has: but for a start, when
    /// pins may have no row yet, and when too many wait to be sorted.
    pub(super) fn list_attention(self: Arc<Self>, filter: TrackerStatus) -> PageStream<PinInfo, TrackerError> {
        let keys = match self.attention() {
            Ok(Some(keys)) => keys,
            Ok(None) => return self.list_all(filter, Gone::Listed),
            Err(error) => return futures::stream::iter([Err(error.into())]).boxed(),
        };
        let pages = futures::stream::unfold((self, keys, 0), move |(this, keys, mut at)| async move {
            while at < keys.len() {
                let end = (at + PAGE_MAX).min(keys.len());
                let page = this.attention_page(&keys[at..end], filter);
                // Nothing comes behind an error.
                at = if page.is_ok() { end } else { keys.len() };
                if !matches!(&page, Ok(infos) if infos.is_empty()) {
                    return Some((page, (this, keys, at)));
                }
                tokio::task::yield_now().await;
            }
            None
        });
        pages.boxed()
    }
}

/// A due time of a row.
fn moment(micros: u64) -> Timestamp {
    let secs = i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX);
    Timestamp::from_unix(secs, u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000)
}
