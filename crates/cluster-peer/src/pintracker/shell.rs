//! What all trackers share: drives the machine of `cluster-core` against an index of statuses. Which index, and so what
//! is remembered beyond the process, is what tells the trackers apart.
//!
//! Changes of the pinset are hints. At the start, after missed changes, and again and again after that, the pinset is
//! compared with the index, and the index with the daemon, page by page behind all other work.

use super::leaving::{AskPeer, Silent};
use super::progress::Progresses;
use super::scans::Gone;
use async_trait::async_trait;
use cluster_component::PageStream;
use cluster_component::component::{Component, Consensus, IpfsConnector, PinTracker, PinsetChange, StateRead};
use cluster_component::errors::{StartError, TrackerError};
use cluster_component::ports::{Clock, Entropy, sleep};
use cluster_component::tasks::TaskScope;
use cluster_component::trace::{self, Begun, SpanKind, TraceId, Tracer, Value};
use cluster_core::tracker::machine::{Aim, Config, Effect, Event, Failure, Kind, OpId, Tracker, read};
use cluster_core::tracker::row::Class;
use cluster_types::store::{Batch, Datastore, DatastoreReadExt, StoreError, Table};
use cluster_types::{Cid, IpfsId, PeerId, Pin, PinInfo, PinType, Timestamp, TrackerStatus};
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Asks other peers whether they hold what this one shall let go of.
    pub others: AskPeer,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance, by which retries are spread.
    pub entropy: Box<dyn Entropy>,
    /// Is told what was done about single pins.
    pub tracer: Tracer,
}

/// Whether the index outlives the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// It does: what waited waits again at the next start.
    Kept,
    /// It does not: at each start it is made anew from the pinset and what the daemon holds.
    Lost,
}

/// The tracker.
pub(super) struct TrackerShell {
    key: &'static str,
    pub(super) parts: Parts,
    pub(super) state: Arc<dyn StateRead>,
    pub(super) machine: Mutex<Tracker>,
    memory: Memory,
    pub(super) silent: Silent,
    pub(super) progress: Arc<Progresses>,
    /// Whether every pin has its row: not before the first comparison, and not while missed changes are looked for.
    pub(super) compared: AtomicBool,
    /// By which work is given up that is to be begun, or under way.
    aborts: Mutex<BTreeMap<OpId, CancellationToken>>,
    tasks: Mutex<Option<TaskScope>>,
}

impl fmt::Debug for TrackerShell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackerShell").field("key", &self.key).finish_non_exhaustive()
    }
}

impl TrackerShell {
    fn new(key: &'static str, rules: Config, memory: Memory, parts: Parts) -> Self {
        let state = parts.consensus.state();
        let machine = Mutex::new(Tracker::new(rules));
        Self {
            key,
            parts,
            state,
            machine,
            memory,
            silent: Silent::default(),
            progress: Arc::default(),
            compared: AtomicBool::new(false),
            aborts: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now().wall
    }

    /// Gives events to the machine, writes what it records, and begins what it may.
    pub(super) fn apply(self: &Arc<Self>, events: impl IntoIterator<Item = Event>) -> Result<(), StoreError> {
        let mut effects = Vec::new();
        let stepped = {
            let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
            let mut stepped = self.record(&mut machine, events, &mut effects);
            if stepped.is_ok() && self.is_running() {
                stepped = machine.begin(self.now(), &*self.parts.store, &mut effects);
            }
            self.expect_work(&effects);
            stepped
        };
        // Also after an error: the machine counts on what it said before.
        self.carry_out_all(effects).and(stepped)
    }

    /// Steps and writes; leaves the other effects to the caller.
    fn record(
        &self,
        machine: &mut Tracker,
        events: impl IntoIterator<Item = Event>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StoreError> {
        let mut unwritten = Unwritten { store: &*self.parts.store, batch: Batch::new(), items: BTreeSet::new() };
        let now = self.now();
        let stepped = events.into_iter().try_for_each(|event| {
            unwritten.let_read(machine.item_of(&event))?;
            let mut recorded = Vec::new();
            machine.step(now, self.parts.entropy.next_u64(), event, unwritten.store, &mut recorded)?;
            for effect in recorded {
                match effect {
                    Effect::Record(batch) => unwritten.batch.changes.extend(batch.changes),
                    other => effects.push(other),
                }
            }
            Ok(())
        });
        unwritten.write()?;
        stepped
    }

    /// What cannot be made durable is not begun, and tried again as any other failure.
    fn carry_out_all(self: &Arc<Self>, effects: Vec<Effect>) -> Result<(), StoreError> {
        let (mut durable, mut failed) = (Ok(()), Vec::new());
        for effect in effects {
            match (effect, &durable) {
                (Effect::Sync, _) => durable = self.parts.store.sync(),
                (Effect::Start(op, ..), Err(error)) => {
                    self.aborts.lock().unwrap_or_else(PoisonError::into_inner).remove(&op);
                    let message = format!("not begun: the status index cannot be made durable: {error}");
                    failed.push(Event::Done(op, Err(Failure { message })));
                }
                (effect, _) => self.carry_out(effect),
            }
        }
        if durable.is_err() {
            let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
            machine.not_durable();
            self.record(&mut machine, failed, &mut Vec::new())?;
        }
        durable
    }

    /// Makes it possible to give work up before it was begun: others step the machine while this step is carried out.
    fn expect_work(&self, effects: &[Effect]) {
        let mut aborts = self.aborts.lock().unwrap_or_else(PoisonError::into_inner);
        for effect in effects {
            if let Effect::Start(op, ..) = effect {
                aborts.insert(*op, CancellationToken::new());
            }
        }
    }

    fn is_running(&self) -> bool {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn carry_out(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::Record(_) | Effect::Sync => {}
            Effect::Abort(op) => {
                if let Some(token) = self.aborts.lock().unwrap_or_else(PoisonError::into_inner).remove(&op) {
                    token.cancel();
                }
            }
            Effect::Start(op, kind, cid) => self.begin_work(op, kind, cid),
        }
    }

    fn begin_work(self: &Arc<Self>, op: OpId, kind: Kind, cid: Cid) {
        let token = self.aborts.lock().unwrap_or_else(PoisonError::into_inner).get(&op).cloned();
        let Some(token) = token else { return }; // It was given up meanwhile.
        let this = Arc::clone(self);
        let work = async move {
            let Some(result) = token.run_until_cancelled(this.work(kind, &cid)).await else { return };
            this.aborts.lock().unwrap_or_else(PoisonError::into_inner).remove(&op);
            if let Err(failure) = &result {
                tracing::warn!(%cid, ?kind, error = failure.message, "an item is not as it shall be: tried again later");
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
            Kind::Unpin => {
                let pin = self.state.get(cid).map_err(|e| failed(&e))?;
                if let Some(pin) = pin.filter(|pin| self.aim(pin) == Aim::Remote) {
                    self.may_let_go(&pin).await.map_err(|e| failed(&e))?;
                }
                let span = self.begin_span(TraceId::of_unpin(cid), "tracker/Unpin", cid);
                let asked = self.parts.connector.unpin(cid).await;
                trace::end(span, &asked);
                asked.map_err(|e| failed(&e))
            }
            Kind::Pin => match self.state.get(cid) {
                Ok(Some(pin)) => {
                    let span = self.begin_span(TraceId::of_pin(&pin), "tracker/Pin", cid);
                    let below = span.as_ref().map(Begun::id);
                    let asking = self.parts.tracer.begin(TraceId::of_pin(&pin), "ipfs/Pin", SpanKind::Client);
                    let asking = asking.zip(below).map(|(asking, below)| asking.below(below));
                    let (told, sink) = Progresses::follow(&self.progress, *cid);
                    let asked = self.parts.connector.pin(&pin, Some(sink)).await;
                    drop(told);
                    trace::end(asking, &asked);
                    trace::end(span, &asked);
                    asked.map_err(|e| failed(&e))
                }
                // It was unpinned meanwhile, which the machine is about to hear.
                Ok(None) => Ok(()),
                Err(error) => Err(failed(&error)),
            },
        }
    }

    /// A span of this peer's work on an item, which began when the item was put into the queue.
    fn begin_span(&self, trace: TraceId, name: &'static str, cid: &Cid) -> Option<Begun> {
        let span = self.parts.tracer.begin(trace, name, SpanKind::Internal)?;
        let Ok(Some(row)) = read(&*self.parts.store, cid) else { return Some(span) };
        let attempt = Value::Number(i64::from(row.attempts) + 1);
        Some(span.since(row.since).with("cid", Value::Text(cid.to_string())).with("attempt", attempt))
    }

    pub(super) fn log_store_error(&self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::error!(%error, "the status index cannot be used; comparing will mend it");
        }
    }

    pub(super) fn aim(&self, pin: &Pin) -> Aim {
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
                    PinsetChange::Resync => {
                        self.compared.store(false, Ordering::Release);
                        self.compare_with_pinset().await;
                    }
                }
            }
            self.log_store_error(self.apply(events));
        }
    }

    async fn tick(self: Arc<Self>) {
        loop {
            sleep(&*self.parts.clock, TICK).await;
            self.log_store_error(self.apply([]));
        }
    }

    /// Whether there are pins and nothing is remembered of any: the pinset was imported, or another program's peer ran
    /// here until now, whose daemon has them all.
    fn begins_anew(&self) -> bool {
        let is_empty = self.parts.store.page(Table::Status, Bound::Unbounded, 1).is_ok_and(|rows| rows.is_empty());
        is_empty && self.state.page(None, 1).is_ok_and(|pins| !pins.is_empty())
    }

    async fn keep_comparing(self: Arc<Self>) {
        if self.memory == Memory::Lost || self.begins_anew() {
            self.take_over_what_is_held().await;
        }
        loop {
            self.compare_with_pinset().await;
            self.compare_with_daemon().await;
            self.machine.lock().unwrap_or_else(PoisonError::into_inner).rescan();
            sleep(&*self.parts.clock, COMPARE_INTERVAL).await;
        }
    }
}

/// What steps have recorded and the store does not have yet: rows of so many items share a write.
struct Unwritten<'a> {
    store: &'a dyn Datastore,
    batch: Batch,
    items: BTreeSet<Cid>,
}

impl Unwritten<'_> {
    /// Sees to it that the store has what was recorded of an item.
    fn let_read(&mut self, item: Option<Cid>) -> Result<(), StoreError> {
        if let Some(item) = item
            && !self.items.insert(item)
        {
            self.write()?;
            self.items.insert(item);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.items.clear();
        match std::mem::take(&mut self.batch) {
            batch if batch.is_empty() => Ok(()),
            batch => self.store.write(batch),
        }
    }
}

#[async_trait]
impl Component for TrackerShell {
    fn key(&self) -> &'static str {
        self.key
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
        if everything { tracker.list_all(filter, Gone::LeftOut) } else { tracker.list_attention(filter) }
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

/// A tracker as a component: what others hold.
#[derive(Debug)]
pub struct Tracked(Arc<TrackerShell>);

impl Tracked {
    /// A tracker that is not started.
    pub(super) fn new(key: &'static str, rules: Config, memory: Memory, parts: Parts) -> Self {
        Self(Arc::new(TrackerShell::new(key, rules, memory, parts)))
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
