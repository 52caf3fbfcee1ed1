//! The thread that owns the replica. It takes everything that waits, makes one step of it, writes and syncs once, and
//! only then acknowledges: a group grows by itself while a sync is under way, so a busy peer has large deltas and an
//! idle one answers at once.

use crate::following::Following;
use crate::graph;
use cluster_component::component::PinsetChange;
use cluster_component::errors::ConsensusError;
use cluster_component::metrics::Metrics;
use cluster_core::crdt::{Change, Effect, Event, LocalChange, Replica, Wanted};
use cluster_types::store::{Datastore, StoreError};
use cluster_types::{Cid, Pin};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

/// Most changes of one group.
const GROUP_MAX: usize = 10_000;

/// While a walk is under way, what it brings is made durable after so long, in one sync: nobody was promised anything.
const SETTLE_AFTER: Duration = Duration::from_millis(50);

/// Changes that wait to be made durable; with more of them it is done at once.
const PENDING_MAX: usize = 20_000;

/// What the thread is told.
pub(crate) enum Order {
    /// Make this change, and say when it is durable.
    Change(LocalChange, oneshot::Sender<Result<(), ConsensusError>>),
    /// Another peer, or the clock, has something for the replica.
    Event(Event),
    /// End.
    Stop,
}

/// Where orders are given. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Orders {
    pub(crate) queue: SyncSender<Order>,
    /// Wakes a writer that is a task.
    pub(crate) wake: Option<Arc<Notify>>,
    /// Where it is counted how many wait.
    pub(crate) metrics: Arc<Metrics>,
}

impl Orders {
    /// Gives an order, or gives it back when the queue is full.
    pub(crate) fn try_send(&self, order: Order) -> Result<(), TrySendError<Order>> {
        // Before it can be taken out, so that the count is never below nothing.
        self.metrics.writer_queue.add(1);
        if let Err(refused) = self.queue.try_send(order) {
            self.metrics.writer_queue.add(-1);
            return Err(refused);
        }
        if let Some(wake) = &self.wake {
            wake.notify_one();
        }
        Ok(())
    }
}

/// What the thread tells the network.
#[derive(Debug)]
pub(crate) enum Outbound {
    /// Announce these heads.
    Announce(Vec<Cid>),
    /// Get this block, and what is below it down to the heads that were here.
    Fetch(Wanted, Vec<Cid>),
}

/// How long a group is waited for, if at all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grouping {
    pub(crate) size: usize,
    pub(crate) age: Duration,
}

pub(crate) struct Writer {
    pub(crate) store: Arc<dyn Datastore>,
    pub(crate) replica: Replica,
    pub(crate) orders: Receiver<Order>,
    pub(crate) changes: broadcast::Sender<PinsetChange>,
    pub(crate) outbound: mpsc::Sender<Outbound>,
    pub(crate) grouping: Option<Grouping>,
    /// Since when something is written that is not durable yet.
    pub(crate) unsynced: Option<Instant>,
    /// What changed by that. Told once it is durable: daemons act on it, and do not forget it in a crash.
    pub(crate) pending: Vec<Change>,
    /// Heads that are not here as a whole.
    pub(crate) following: Following,
    /// Whether the store is marked: blocks may be missing below the heads, and the DAG was not walked since.
    pub(crate) dirty: bool,
}

impl Writer {
    /// Works until it is told to stop, or nobody is left to tell it anything.
    pub(crate) fn run(mut self) {
        self.begin();
        loop {
            let next = match self.unsynced {
                Some(since) => self.orders.recv_timeout(SETTLE_AFTER.saturating_sub(since.elapsed())),
                None => self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(first) => {
                    if self.turn(first) {
                        return;
                    }
                    if self.unsynced.is_some_and(|since| since.elapsed() >= SETTLE_AFTER) {
                        self.settle();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.settle(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// As [`run`](Self::run), without a thread of its own: for simulations, where one thread plays all peers.
    pub(crate) async fn run_as_task(mut self, wake: Arc<Notify>) {
        self.begin();
        loop {
            match self.orders.try_recv() {
                Ok(first) => {
                    if self.turn(first) {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
                Err(TryRecvError::Empty) => {
                    self.settle();
                    wake.notified().await;
                }
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    /// Looks for missing blocks, if somebody said that there are some.
    fn begin(&mut self) {
        if !self.dirty {
            return;
        }
        tracing::info!("the pinset is marked dirty: looking for blocks that are missing");
        match self.step(Event::Repair) {
            Ok(effects) => {
                self.tell(effects);
                self.clean_if_whole();
            }
            Err(error) => {
                self.dirty = false; // In this run; the mark stays for the next one.
                tracing::error!(%error, "the pinset could not be looked through");
            }
        }
    }

    /// Takes the mark away once nothing is missing. A mark that a crash leaves is looked after at the next start.
    fn clean_if_whole(&mut self) {
        if !self.dirty || self.replica.is_walking() {
            return;
        }
        match self.sync().and_then(|()| graph::mark(&*self.store, false)) {
            Ok(()) => {
                self.dirty = false;
                tracing::info!("no block of the pinset is missing: it is marked clean");
            }
            Err(error) => tracing::error!(%error, "the pinset could not be marked clean"),
        }
    }

    /// Takes an order and what waits behind it; tells whether it was to end.
    fn turn(&mut self, first: Order) -> bool {
        let (changes, events, stop) = self.gather(first);
        self.commit(changes);
        for event in events {
            self.take(event);
        }
        if stop || !self.replica.is_walking() || self.pending.len() >= PENDING_MAX {
            self.settle();
        }
        self.clean_if_whole();
        stop
    }

    /// Makes durable what came from others, and tells of it.
    fn settle(&mut self) {
        if let Err(error) = self.sync() {
            tracing::error!(%error, "changes of other peers could not be made durable");
            return;
        }
        let replica = &self.replica;
        self.following.look(|| replica.roots());
    }

    /// Everything that waits, up to a bound.
    fn gather(&self, first: Order) -> (Vec<Waiting>, Vec<Event>, bool) {
        let (mut changes, mut events) = (Vec::new(), Vec::new());
        let until = self.grouping.map(|grouping| Instant::now() + grouping.age);
        let size = self.grouping.map_or(GROUP_MAX, |grouping| grouping.size.min(GROUP_MAX));
        let mut next = Some(first);
        while let Some(order) = next.take() {
            if !matches!(order, Order::Stop) {
                self.following.metrics().writer_queue.add(-1); // The end is not counted in.
            }
            match order {
                Order::Change(change, answer) => changes.push(Waiting { change, answer }),
                Order::Event(event) => events.push(event),
                Order::Stop => return (changes, events, true),
            }
            if changes.len() + events.len() >= size {
                break;
            }
            next = match until {
                Some(until) if !changes.is_empty() => self.wait(until),
                _ => self.orders.try_recv().ok(),
            };
        }
        (changes, events, false)
    }

    fn wait(&self, until: Instant) -> Option<Order> {
        self.orders.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// One group: one step, one batch, one sync, and then the answers.
    fn commit(&mut self, waiting: Vec<Waiting>) {
        if waiting.is_empty() {
            return;
        }
        let (changes, answers): (Vec<_>, Vec<_>) = waiting.into_iter().map(|w| (w.change, w.answer)).unzip();
        let done = self.step(Event::Local(changes));
        if let Err(error) = &done {
            tracing::error!(%error, pins = answers.len(), "changes could not be made durable");
        }
        let result = done.as_ref().map(|_| ()).map_err(|error| ConsensusError::from(error.clone()));
        for answer in answers {
            let _gave_up = answer.send(result.clone()); // Whoever asked may have gone.
        }
        self.tell(done.unwrap_or_default());
    }

    fn take(&mut self, event: Event) {
        let heard = match &event {
            Event::Heads(heads) => heads.clone(),
            _ => Vec::new(),
        };
        match self.step(event) {
            Ok(effects) => {
                self.following.heard(&heard, |head| self.replica.wants(head));
                self.tell(effects);
            }
            Err(error) => tracing::error!(%error, "a change of another peer could not be merged"),
        }
    }

    /// Steps and writes; returns what may be told now. What is announced is durable before.
    fn step(&mut self, event: Event) -> Result<Vec<Effect>, StoreError> {
        let mut effects = Vec::new();
        let done = self.try_step(event, &mut effects);
        if done.is_err() {
            // What the replica remembers is ahead of the store: take up what is there.
            match Replica::load(&*self.store) {
                Ok(replica) => self.replica = replica,
                Err(error) => tracing::error!(%error, "the pinset cannot be read"),
            }
        }
        done.map(|()| effects)
    }

    fn try_step(&mut self, event: Event, effects: &mut Vec<Effect>) -> Result<(), StoreError> {
        let is_ours = matches!(event, Event::Local(_));
        let stepped = self.replica.step(event, &*self.store, effects);
        stepped.map_err(|error| match error {
            cluster_core::crdt::ReplicaError::Store(error) => error,
            other => StoreError::Corrupt(other.to_string()),
        })?;
        for effect in effects.iter_mut() {
            match effect {
                Effect::Write(batch) => {
                    self.unsynced.get_or_insert_with(Instant::now);
                    self.store.write(std::mem::take(batch))?;
                }
                Effect::Changed(changes) => self.pending.append(changes),
                _ => {}
            }
        }
        // What a failed sync left behind must not be told either: heads that a power cut takes back can never be had.
        if is_ours || effects.iter().any(|effect| matches!(effect, Effect::Announce(_))) { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if self.unsynced.is_some() {
            self.store.sync()?;
            self.unsynced = None;
        }
        for change in self.pending.drain(..).filter_map(pinset_change) {
            let _nobody_listens = self.changes.send(change); // Changes are hints; the state is the truth.
        }
        Ok(())
    }

    fn tell(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Announce(heads) => self.send(Outbound::Announce(heads)),
                Effect::Fetch(wanted) => {
                    self.send(Outbound::Fetch(wanted, self.replica.heads().keys().copied().collect()));
                }
                Effect::Refused(cid, reason) => tracing::warn!(%cid, reason, "a block of the pinset makes no sense"),
                Effect::Write(_) | Effect::Changed(_) => {}
            }
        }
    }

    /// What cannot be told now is told again: heads by the next rebroadcast, wants at the next repair or start.
    fn send(&self, message: Outbound) {
        if self.outbound.try_send(message).is_err() {
            tracing::debug!("the network is behind: an announcement or a request for a block is put off");
        }
    }
}

struct Waiting {
    change: LocalChange,
    answer: oneshot::Sender<Result<(), ConsensusError>>,
}

fn pinset_change(change: Change) -> Option<PinsetChange> {
    match change {
        Change::Removed(cid) => Some(PinsetChange::Unpinned(cid)),
        Change::Put(cid, value) => match Pin::from_proto(&value, Some(cid)) {
            Ok(pin) => Some(PinsetChange::Pinned(Arc::new(pin))),
            Err(error) => {
                tracing::warn!(%cid, %error, "a pin makes no sense and is left out");
                None
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_datastore::MemoryStore;
    use cluster_types::store::{Batch, Table};
    use std::sync::mpsc::sync_channel;

    fn writer(store: &Arc<dyn Datastore>) -> (Writer, SyncSender<Order>, mpsc::Receiver<Outbound>) {
        let (queue, orders) = sync_channel(16);
        let (outbound, outgoing) = mpsc::channel(16);
        let writer = Writer {
            store: Arc::clone(store),
            replica: Replica::load(&**store).expect("loaded"),
            orders,
            changes: broadcast::channel(16).0,
            outbound,
            grouping: None,
            unsynced: None,
            pending: Vec::new(),
            following: Following::new(Arc::default()),
            dirty: graph::is_dirty(&**store).expect("read"),
        };
        (writer, queue, outgoing)
    }

    /// The mark was written and read by nobody.
    #[test]
    fn a_store_that_is_marked_dirty_is_looked_through_at_the_start_and_marked_clean_when_nothing_is_missing() {
        let whole: Arc<dyn Datastore> = Arc::new(MemoryStore::new());
        let cid: Cid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN".parse().expect("a CID");
        let (mut first, _queue, _outgoing) = writer(&whole);
        first.step(Event::Local(vec![LocalChange::Put(cid, Vec::new())])).expect("pinned");
        graph::mark(&*whole, true).expect("marked");

        let (mut again, _queue, mut outgoing) = writer(&whole);
        again.begin();

        assert!(!graph::is_dirty(&*whole).expect("read"), "nothing is missing");
        assert!(outgoing.try_recv().is_err(), "and nothing is asked for");

        // A row of the index is lost: the block of the head is missing.
        let head = *again.replica.heads().keys().next().expect("a head");
        let mut batch = Batch::new();
        batch.delete(Table::CrdtIndex, head.hash().to_bytes());
        whole.write(batch).expect("lost");
        graph::mark(&*whole, true).expect("marked");
        let (mut damaged, _queue, mut outgoing) = writer(&whole);
        damaged.begin();

        assert!(graph::is_dirty(&*whole).expect("read"), "it stays marked while a block is missing");
        let asked = outgoing.try_recv().expect("asked for");
        assert!(matches!(asked, Outbound::Fetch(Wanted { cid, .. }, _) if cid == head), "{asked:?}");
    }
}
