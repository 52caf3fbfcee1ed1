//! The component: orders in, durable acknowledgements out, changes told to whoever listens.

use crate::config::{CrdtConfig, Trust};
use crate::writer::{Grouping, Order, Outbound, Writer, arrived};
use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::component::{Component, Consensus, Leadership, PinsetChange, StateRead};
use cluster_component::errors::{ConsensusError, StartError};
use cluster_component::ports::{BlockExchange, Clock, PubSub, Topic, sleep};
use cluster_component::tasks::TaskScope;
use cluster_core::crdt::delta::{decode_heads, encode_heads};
use cluster_core::crdt::{Event, LocalChange, Replica};
use cluster_types::store::Datastore;
use cluster_types::{Cid, PeerId, Pin};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot};

/// Changes that a listener may be behind before it is told to compare everything.
const CHANGES_BEHIND_MAX: usize = 65_536;

/// Messages to the network that may wait.
const OUTBOUND_MAX: usize = 4_096;

/// Blocks that are fetched at a time.
const FETCHES_MAX: usize = 50;

/// The wait before a block that nobody gave is asked for again.
const FETCH_AGAIN: Duration = Duration::from_secs(5);

/// Tells the members, this peer excluded, as far as they are known.
pub type Members = Arc<dyn Fn() -> BTreeSet<PeerId> + Send + Sync>;

/// What the component is made of.
#[allow(missing_debug_implementations)] // Its parts are traits that need not show themselves.
pub struct Parts {
    /// This peer.
    pub me: PeerId,
    /// Where the replica lives.
    pub store: Arc<dyn Datastore>,
    /// The pinset for reading.
    pub state: Arc<dyn StateRead>,
    /// Waits.
    pub clock: Arc<dyn Clock>,
    /// Announcements; `None`: this peer is alone.
    pub pubsub: Option<Arc<dyn PubSub>>,
    /// Blocks of other peers; `None`: this peer is alone.
    pub exchange: Option<Arc<dyn BlockExchange>>,
    /// The other members.
    pub members: Members,
}

/// Consensus by Merkle-CRDT.
pub struct CrdtConsensus {
    config: CrdtConfig,
    parts: Parts,
    trust: Arc<RwLock<Trust>>,
    changes: broadcast::Sender<PinsetChange>,
    running: Mutex<Option<Running>>,
}

struct Running {
    orders: SyncSender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for CrdtConsensus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrdtConsensus").field("cluster", &self.config.cluster_name).finish_non_exhaustive()
    }
}

impl CrdtConsensus {
    /// A consensus that is not started.
    ///
    /// # Errors
    /// When the configuration names a peer that is none.
    pub fn new(config: CrdtConfig, parts: Parts) -> Result<Self, StartError> {
        let trust = config.trust().map_err(|e| StartError { component: "crdt", reason: e.message })?;
        let (changes, _) = broadcast::channel(CHANGES_BEHIND_MAX);
        Ok(Self { config, parts, trust: Arc::new(RwLock::new(trust)), changes, running: Mutex::new(None) })
    }

    fn orders(&self) -> Result<SyncSender<Order>, ConsensusError> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|r| r.orders.clone()).ok_or(ConsensusError::NotRunning)
    }

    async fn change(&self, change: LocalChange) -> Result<(), ConsensusError> {
        let (answer, answered) = oneshot::channel();
        self.orders()?.try_send(Order::Change(change, answer)).map_err(|error| match error {
            TrySendError::Full(_) => ConsensusError::Busy(
                "error batching item: batching max_queue_size reached. Too many operations are waiting to be batched. \
                 Try increasing the max_queue_size or adjusting the batching options"
                    .into(),
            ),
            TrySendError::Disconnected(_) => ConsensusError::NotRunning,
        })?;
        answered.await.unwrap_or(Err(ConsensusError::NotRunning))
    }

    fn grouping(&self) -> Option<Grouping> {
        let batching = &self.config.batching;
        let size = usize::try_from(batching.max_batch_size).ok().filter(|size| *size > 0)?;
        (batching.max_batch_age.0 > 0).then(|| Grouping { size, age: batching.max_batch_age.get() })
    }

    fn topic(&self) -> Topic {
        Topic(self.config.cluster_name.clone())
    }

    /// Announces again and looks for missing blocks, each in its interval.
    fn start_upkeep(&self, orders: &SyncSender<Order>, tasks: &TaskScope) {
        let upkeep = [
            (self.config.rebroadcast_interval.get(), Event::Rebroadcast),
            (self.config.repair_interval.get(), Event::Repair),
        ];
        for (interval, event) in upkeep {
            let (clock, orders) = (Arc::clone(&self.parts.clock), orders.clone());
            if interval.is_zero() || self.parts.pubsub.is_none() {
                continue;
            }
            tasks.spawn_until_stopped("crdt-upkeep", async move {
                loop {
                    sleep(&*clock, interval).await;
                    // A full queue means that there is work; the next round will do.
                    let _later = orders.try_send(Order::Event(event.clone()));
                }
            });
        }
    }

    fn start_network(&self, orders: &SyncSender<Order>, outbound: mpsc::Receiver<Outbound>, tasks: &TaskScope) {
        let (Some(pubsub), Some(exchange)) = (self.parts.pubsub.clone(), self.parts.exchange.clone()) else {
            return;
        };
        let (trust, me) = (Arc::clone(&self.trust), self.parts.me);
        let mut messages = pubsub.subscribe(&self.topic(), Arc::new(move |peer| *peer == me || trusts(&trust, peer)));
        let inbound = orders.clone();
        tasks.spawn_until_stopped("crdt-inbound", async move {
            while let Some(message) = messages.next().await {
                match decode_heads(&message.data) {
                    // A full queue means that there is work; heads are announced again.
                    Ok(heads) => drop(inbound.try_send(Order::Event(Event::Heads(heads)))),
                    Err(error) => tracing::warn!(peer = %message.from, %error, "an announcement makes no sense"),
                }
            }
        });
        let (topic, orders, clock) = (self.topic(), orders.clone(), Arc::clone(&self.parts.clock));
        tasks.spawn_until_stopped("crdt-outbound", async move {
            let outbound = futures::stream::unfold(outbound, |mut outbound| async move {
                outbound.recv().await.map(|message| (message, outbound))
            });
            outbound
                .for_each_concurrent(FETCHES_MAX, |message| {
                    let (pubsub, exchange, orders) = (Arc::clone(&pubsub), Arc::clone(&exchange), orders.clone());
                    let (topic, clock) = (topic.clone(), Arc::clone(&clock));
                    async move {
                        match message {
                            Outbound::Announce(heads) => {
                                if let Err(error) = pubsub.publish(&topic, Bytes::from(encode_heads(&heads))).await {
                                    tracing::debug!(%error, "heads could not be announced; they will be again");
                                }
                            }
                            Outbound::Fetch(cid) => fetch(&*exchange, &*clock, &orders, cid).await,
                        }
                    }
                })
                .await;
        });
    }
}

/// Asks for a block until somebody gives it.
async fn fetch(exchange: &dyn BlockExchange, clock: &dyn Clock, orders: &SyncSender<Order>, cid: Cid) {
    loop {
        match exchange.get(&cid).await {
            Ok(block) => {
                let mut order = arrived(cid, block.data);
                // The queue is full of local work: that goes first.
                while let Err(TrySendError::Full(back)) = orders.try_send(order) {
                    order = back;
                    sleep(clock, Duration::from_millis(10)).await;
                }
                return;
            }
            Err(error) => {
                tracing::debug!(%cid, %error, "a block of the pinset was not found; asking again");
                sleep(clock, FETCH_AGAIN).await;
            }
        }
    }
}

fn trusts(trust: &RwLock<Trust>, peer: &PeerId) -> bool {
    match &*trust.read().unwrap_or_else(PoisonError::into_inner) {
        Trust::All => true,
        Trust::These(peers) => peers.contains(peer),
    }
}

#[async_trait]
impl Component for CrdtConsensus {
    fn key(&self) -> &'static str {
        "crdt"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        let failed = |reason: String| StartError { component: "crdt", reason };
        let replica = Replica::load(&*self.parts.store).map_err(|e| failed(e.to_string()))?;
        let wanted = replica.wanted();
        let queue = usize::try_from(self.config.batching.max_queue_size).ok().filter(|n| *n > 0).unwrap_or(50_000);
        let (orders, receiver) = sync_channel(queue);
        let (outbound, outgoing) = mpsc::channel(OUTBOUND_MAX);
        for cid in wanted {
            // What does not fit is asked for by the next repair.
            let _later = outbound.try_send(Outbound::Fetch(cid));
        }
        let writer = Writer {
            store: Arc::clone(&self.parts.store),
            replica,
            orders: receiver,
            changes: self.changes.clone(),
            outbound,
            grouping: self.grouping(),
        };
        let thread = std::thread::Builder::new().name("crdt-writer".into()).spawn(move || writer.run());
        let thread = thread.map_err(|e| failed(format!("its thread cannot be started: {e}")))?;
        self.start_upkeep(&orders, tasks);
        self.start_network(&orders, outgoing, tasks);
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(Running { orders, thread: Some(thread) });
        Ok(())
    }

    /// What was ordered before is written and acknowledged; what comes after is refused.
    async fn shutdown(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut running) = running else { return };
        let joined = tokio::task::spawn_blocking(move || {
            let _ended_already = running.orders.send(Order::Stop);
            running.thread.take().map(JoinHandle::join)
        });
        if !matches!(joined.await, Ok(Some(Ok(())))) {
            tracing::error!("the writer of the pinset did not end in order");
        }
    }
}

#[async_trait]
impl Consensus for CrdtConsensus {
    async fn ready(&self) -> Result<(), ConsensusError> {
        self.orders().map(drop)
    }

    async fn log_pin(&self, pin: Pin) -> Result<(), ConsensusError> {
        self.change(LocalChange::Put(pin.cid, pin.to_proto())).await
    }

    async fn log_unpin(&self, cid: &Cid) -> Result<(), ConsensusError> {
        self.change(LocalChange::Remove(*cid)).await
    }

    fn state(&self) -> Arc<dyn StateRead> {
        Arc::clone(&self.parts.state)
    }

    fn changes(&self) -> BoxStream<'static, PinsetChange> {
        futures::stream::unfold(self.changes.subscribe(), |mut changes| async move {
            match changes.recv().await {
                Ok(change) => Some((change, changes)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((PinsetChange::Resync, changes)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
        .boxed()
    }

    async fn peers(&self) -> Result<BTreeSet<PeerId>, ConsensusError> {
        let mut peers = (self.parts.members)();
        peers.insert(self.parts.me);
        Ok(peers)
    }

    async fn add_peer(&self, _: PeerId) -> Result<(), ConsensusError> {
        // As the reference: whoever publishes the metric of members is one.
        Ok(())
    }

    async fn remove_peer(&self, _: &PeerId) -> Result<(), ConsensusError> {
        Err(ConsensusError::Unsupported("crdt consensus component cannot remove peers".into()))
    }

    fn leadership(&self) -> Leadership {
        Leadership::EveryPeer
    }

    fn trusts(&self, peer: &PeerId) -> bool {
        *peer == self.parts.me || trusts(&self.trust, peer)
    }

    fn set_trust(&self, peer: &PeerId, trusted: bool) {
        if let Trust::These(peers) = &mut *self.trust.write().unwrap_or_else(PoisonError::into_inner) {
            let _changed = if trusted { peers.insert(*peer) } else { peers.remove(peer) };
        }
    }

    async fn wait_for_sync(&self) -> Result<(), ConsensusError> {
        Ok(())
    }

    async fn clean(&self) -> Result<(), ConsensusError> {
        if self.orders().is_ok() {
            return Err(ConsensusError::Unsupported("consensus component is not shutdown".into()));
        }
        Ok(crate::offline::clean(&*self.parts.store)?)
    }
}
