//! PinTracker `stateless`: drives the machine of `cluster-core`. Everything it must remember is in the datastore's index,
//! which lists are read from; nothing grows with the pinset.
//!
//! Changes of the pinset are hints. At the start, after missed changes, and again and again after that, the pinset is
//! compared with the index, and the index with the daemon, page by page behind all other work.

use super::config::StatelessConfig;
use async_trait::async_trait;
use cluster_component::component::{Component, Consensus, IpfsConnector, PinTracker, PinsetChange, StateRead};
use cluster_component::errors::{StartError, StateError, TrackerError};
use cluster_component::ports::{Clock, Entropy, sleep};
use cluster_component::tasks::TaskScope;
use cluster_component::{PAGE_MAX, PageStream};
use cluster_core::tracker::machine::{Aim, Effect, Event, Failure, Kind, OpId, Tracker, read};
use cluster_core::tracker::row::{Class, Row, read_attention_key};
use cluster_types::store::{Datastore, DatastoreReadExt, StoreError, Table};
use cluster_types::{
    Cid, IpfsId, IpfsPinStatus, PeerId, Pin, PinInfo, PinInfoShort, PinType, Timestamp, TrackerStatus,
};
use futures::{FutureExt, StreamExt};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often what is due is looked for, besides at every change.
const TICK: Duration = Duration::from_secs(1);

/// How often everything is compared with the daemon.
const COMPARE_INTERVAL: Duration = Duration::from_secs(12 * 60);

/// Changes that are taken together.
const CHANGES_AT_ONCE: usize = 256;

/// Who this peer is to others: its name, and its daemon as far as it is known.
pub type Whoami = Arc<dyn Fn() -> (String, IpfsId) + Send + Sync>;

/// What the tracker is made of.
#[allow(missing_debug_implementations)] // Its parts are traits that need not show themselves.
pub struct Parts {
    /// This peer.
    pub me: PeerId,
    /// Name and daemon of this peer.
    pub whoami: Whoami,
    /// The index.
    pub store: Arc<dyn Datastore>,
    /// The pinset.
    pub consensus: Arc<dyn Consensus>,
    /// The daemon.
    pub connector: Arc<dyn IpfsConnector>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance, by which retries are spread.
    pub entropy: Box<dyn Entropy>,
}

/// The tracker.
pub struct StatelessTracker {
    parts: Parts,
    state: Arc<dyn StateRead>,
    machine: Mutex<Tracker>,
    aborts: Mutex<BTreeMap<OpId, CancellationToken>>,
    tasks: Mutex<Option<TaskScope>>,
}

impl fmt::Debug for StatelessTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatelessTracker")
    }
}

impl StatelessTracker {
    /// A tracker that is not started.
    #[must_use]
    pub fn new(config: &StatelessConfig, parts: Parts) -> Self {
        let state = parts.consensus.state();
        let machine = Mutex::new(Tracker::new(config.rules()));
        Self { parts, state, machine, aborts: Mutex::default(), tasks: Mutex::default() }
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now().wall
    }

    /// Gives events to the machine, writes what it records, and begins what it may.
    fn apply(self: &Arc<Self>, events: impl IntoIterator<Item = Event>) -> Result<(), StoreError> {
        let (mut effects, now, store) = (Vec::new(), self.now(), &*self.parts.store);
        {
            let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
            for event in events {
                let mut recorded = Vec::new();
                machine.step(now, self.parts.entropy.next_u64(), event, store, &mut recorded)?;
                for effect in recorded {
                    match effect {
                        Effect::Record(batch) => store.write(batch)?,
                        other => effects.push(other),
                    }
                }
            }
            if self.is_running() {
                machine.begin(now, store, &mut effects)?;
            }
        }
        effects.into_iter().for_each(|effect| self.carry_out(effect));
        Ok(())
    }

    fn is_running(&self) -> bool {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn carry_out(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::Record(_) => {}
            Effect::Abort(op) => {
                if let Some(token) = self.aborts.lock().unwrap_or_else(PoisonError::into_inner).remove(&op) {
                    token.cancel();
                }
            }
            Effect::Start(op, kind, cid) => self.begin_work(op, kind, cid),
        }
    }

    fn begin_work(self: &Arc<Self>, op: OpId, kind: Kind, cid: Cid) {
        let token = CancellationToken::new();
        self.aborts.lock().unwrap_or_else(PoisonError::into_inner).insert(op, token.clone());
        let this = Arc::clone(self);
        let work = async move {
            let Some(result) = token.run_until_cancelled(this.work(kind, &cid)).await else { return };
            this.aborts.lock().unwrap_or_else(PoisonError::into_inner).remove(&op);
            if let Err(failure) = &result {
                tracing::warn!(%cid, ?kind, error = failure.message, "the IPFS daemon failed");
            }
            this.log_store_error(this.apply([Event::Done(op, result)]));
        };
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(tasks) = tasks {
            tasks.spawn_until_stopped("track", work);
        }
    }

    async fn work(&self, kind: Kind, cid: &Cid) -> Result<(), Failure> {
        let failed = |error: &dyn fmt::Display| Failure { message: error.to_string() };
        match kind {
            Kind::Unpin => self.parts.connector.unpin(cid).await.map_err(|e| failed(&e)),
            Kind::Pin => match self.state.get(cid) {
                Ok(Some(pin)) => self.parts.connector.pin(&pin, None).await.map_err(|e| failed(&e)),
                // It was unpinned meanwhile, which the machine is about to hear.
                Ok(None) => Ok(()),
                Err(error) => Err(failed(&error)),
            },
        }
    }

    fn log_store_error(&self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::error!(%error, "the status index cannot be used; comparing will mend it");
        }
    }

    fn aim(&self, pin: &Pin) -> Aim {
        if pin.kind == PinType::Meta {
            Aim::Sharded
        } else if pin.is_remote_to(&self.parts.me) {
            Aim::Remote
        } else {
            Aim::Pinned(pin.timestamp)
        }
    }

    /// Takes changes as they come, many at a time.
    async fn follow_changes(self: Arc<Self>) {
        let mut changes = self.parts.consensus.changes().ready_chunks(CHANGES_AT_ONCE);
        while let Some(changes) = changes.next().await {
            let mut events = Vec::with_capacity(changes.len());
            for change in changes {
                match change {
                    PinsetChange::Pinned(pin) => events.push(Event::Track(pin.cid, self.aim(&pin))),
                    PinsetChange::Unpinned(cid) => events.push(Event::Track(cid, Aim::Gone)),
                    PinsetChange::Resync => self.compare_with_pinset().await,
                }
            }
            self.log_store_error(self.apply(events));
        }
    }

    async fn tick(self: Arc<Self>) {
        loop {
            sleep(&*self.parts.clock, TICK).await;
            self.log_store_error(self.apply([Event::Tick]));
        }
    }

    async fn keep_comparing(self: Arc<Self>) {
        loop {
            self.compare_with_pinset().await;
            self.compare_with_daemon().await;
            self.machine.lock().unwrap_or_else(PoisonError::into_inner).rescan();
            sleep(&*self.parts.clock, COMPARE_INTERVAL).await;
        }
    }

    /// Finds pins that have no row or a wrong one, and rows that have no pin.
    async fn compare_with_pinset(self: &Arc<Self>) {
        let mut after = None;
        loop {
            let page = self.state.page(after.as_ref(), PAGE_MAX);
            let pins = match page {
                Ok(pins) => pins,
                Err(error) => return tracing::error!(%error, "the pinset cannot be compared"),
            };
            let events: Vec<_> = pins.iter().map(|pin| Event::Compare(pin.cid, self.aim(pin))).collect();
            self.log_store_error(self.apply(events));
            match pins.last() {
                Some(pin) if pins.len() == PAGE_MAX => after = Some(pin.cid),
                _ => break,
            }
            tokio::task::yield_now().await;
        }
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

    /// Finds items that the daemon lost, or holds although they are thought lost.
    async fn compare_with_daemon(self: &Arc<Self>) {
        let kinds = [IpfsPinStatus::Recursive, IpfsPinStatus::Direct];
        // Twelve bytes of the hash of each CID: a million pins take little memory, and two never meet.
        let mut held = std::collections::BTreeSet::new();
        let mut pages = Arc::clone(&self.parts.connector).pin_ls(&kinds);
        while let Some(page) = pages.next().await {
            match page {
                Ok(pins) => {
                    held.extend(pins.iter().map(|pin| fingerprint(&pin.cid, pin.status == IpfsPinStatus::Direct)))
                }
                Err(error) => return tracing::warn!(%error, "the daemon's pins cannot be compared"),
            }
        }
        let mut after = None;
        loop {
            let Ok(pins) = self.state.page(after.as_ref(), PAGE_MAX) else { return };
            let mine = pins.iter().filter(|pin| matches!(self.aim(pin), Aim::Pinned(_)));
            let observed =
                mine.map(|pin| Event::Observed(pin.cid, held.contains(&fingerprint(&pin.cid, pin.max_depth == 0))));
            self.log_store_error(self.apply(observed.collect::<Vec<_>>()));
            match pins.last() {
                Some(pin) if pins.len() == PAGE_MAX => after = Some(pin.cid),
                _ => return,
            }
            tokio::task::yield_now().await;
        }
    }

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

    fn flight(&self, cid: &Cid) -> Option<(Kind, Timestamp)> {
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

    async fn status_now(self: &Arc<Self>, cid: &Cid) -> PinInfo {
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

#[async_trait]
impl Component for StatelessTracker {
    fn key(&self) -> &'static str {
        "stateless"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = Some(tasks.clone());
        tasks.spawn_until_stopped("tracker-changes", Arc::clone(&self).follow_changes());
        tasks.spawn_until_stopped("tracker-tick", Arc::clone(&self).tick());
        tasks.spawn_until_stopped("tracker-compare", self.keep_comparing());
        Ok(())
    }

    async fn shutdown(&self) {
        // Work that is under way ends with its scope; its rows stay, and it is begun again at the next start.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let aborts = std::mem::take(&mut *self.aborts.lock().unwrap_or_else(PoisonError::into_inner));
        aborts.values().for_each(CancellationToken::cancel);
    }
}

/// `&self` methods of the trait need the `Arc`, which each tracker lives in.
#[async_trait]
impl PinTracker for Tracked {
    async fn track(&self, pin: Pin) -> Result<(), TrackerError> {
        Ok(self.0.apply([Event::Track(pin.cid, self.0.aim(&pin))])?)
    }

    async fn untrack(&self, cid: &Cid) -> Result<(), TrackerError> {
        Ok(self.0.apply([Event::Track(*cid, Aim::Gone)])?)
    }

    async fn status(&self, cid: &Cid) -> PinInfo {
        self.0.status_now(cid).await
    }

    fn status_all(self: Arc<Self>, filter: TrackerStatus) -> PageStream<PinInfo, TrackerError> {
        let at_rest = TrackerStatus::PINNED | TrackerStatus::REMOTE | TrackerStatus::SHARDED;
        let everything = filter == TrackerStatus::UNDEFINED || filter.intersects(at_rest);
        let tracker = Arc::clone(&self.0);
        if everything { tracker.list_all(filter) } else { tracker.list_attention(filter) }
    }

    async fn recover(&self, cid: &Cid) -> Result<PinInfo, TrackerError> {
        let known = self.0.state.contains(cid)? || read(&*self.0.parts.store, cid)?.is_some();
        if !known {
            return Err(TrackerError::NotPinned);
        }
        self.0.status_now(cid).await;
        self.0.apply([Event::Recover(*cid)])?;
        Ok(self.0.status_now(cid).await)
    }

    fn recover_all(self: Arc<Self>) -> PageStream<PinInfo, TrackerError> {
        let failed = TrackerStatus::PIN_ERROR | TrackerStatus::UNPIN_ERROR | TrackerStatus::UNEXPECTEDLY_UNPINNED;
        let this = Arc::clone(&self.0);
        let pages = Arc::clone(&self.0).list_attention(failed);
        let queued = pages.map(move |page| {
            let page = page?;
            this.apply(page.iter().map(|info| Event::Recover(info.cid)))?;
            let queued = page.into_iter().map(|info| match this.flight(&info.cid) {
                Some((Kind::Pin, since)) => with_status(info, TrackerStatus::PINNING, since),
                Some((Kind::Unpin, since)) => with_status(info, TrackerStatus::UNPINNING, since),
                None => {
                    let unpin = info.status.status == TrackerStatus::UNPIN_ERROR;
                    let status = if unpin { TrackerStatus::UNPIN_QUEUED } else { TrackerStatus::PIN_QUEUED };
                    with_status(info, status, this.now())
                }
            });
            Ok(queued.collect())
        });
        queued.boxed()
    }

    fn pin_queue_len(&self) -> u64 {
        let mut count = 0;
        for class in [Class::Priority, Class::Normal] {
            let counted = self.0.parts.store.scan_prefix(Table::Attention, &[class as u8], &mut |_, _| {
                count += 1;
                if count < QUEUE_COUNT_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            self.0.log_store_error(counted);
        }
        count
    }
}

/// The length of the queue is counted up to this: beyond, it says enough.
const QUEUE_COUNT_MAX: u64 = 1_000_000;

fn with_status(mut info: PinInfo, status: TrackerStatus, since: Timestamp) -> PinInfo {
    info.status.status = status;
    info.status.timestamp = since;
    info.status.error.clear();
    info
}

/// The tracker as a component: what others hold.
#[derive(Debug)]
pub struct Tracked(Arc<StatelessTracker>);

impl Tracked {
    /// Wraps a tracker.
    #[must_use]
    pub fn new(tracker: StatelessTracker) -> Self {
        Self(Arc::new(tracker))
    }
}

#[async_trait]
impl Component for Tracked {
    fn key(&self) -> &'static str {
        self.0.key()
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        Arc::clone(&self.0).start(tasks).await
    }

    async fn shutdown(&self) {
        self.0.shutdown().await;
    }
}

impl StatelessTracker {
    /// A merge of two ordered scans, page by page: constant memory, whatever the pinset.
    fn list_all(self: Arc<Self>, filter: TrackerStatus) -> PageStream<PinInfo, TrackerError> {
        let base = self.short(TrackerStatus::UNDEFINED, Timestamp::ZERO, "");
        let pages = Arc::clone(&self.state).list().map(move |page| -> Result<Vec<PinInfo>, TrackerError> {
            Ok(self.page(page.map_err(|e: StateError| TrackerError::from(e))?, filter, &base)?)
        });
        pages.filter(|page| std::future::ready(!matches!(page, Ok(items) if items.is_empty()))).boxed()
    }

    /// Costs what it returns, not what the pinset has.
    fn list_attention(self: Arc<Self>, filter: TrackerStatus) -> PageStream<PinInfo, TrackerError> {
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
