//! The component: orders in, durable acknowledgements out, changes told to whoever listens.

use crate::config::{CrdtConfig, Trust};
use crate::following::Following;
use crate::members::Notes;
use crate::writer::{Grouping, Order, Orders, Outbound, Writer};
use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::component::{Component, Consensus, Leadership, PinsetChange, StateRead};
use cluster_component::errors::{ConsensusError, StartError};
use cluster_component::metrics::Metrics;
use cluster_component::ports::{Below, BlockExchange, Clock, PubSub, Topic, sleep};
use cluster_component::tasks::TaskScope;
use cluster_core::crdt::delta::{decode_heads, encode_heads};
use cluster_core::crdt::{Event, LocalChange, Replica};
use cluster_types::store::Datastore;
use cluster_types::{Cid, PeerId, Pin};
use futures::StreamExt;
use futures::stream::BoxStream;
use md5::{Digest, Md5};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

/// Changes that a listener may be behind before it is told to compare everything. Room for all is taken at once, about
/// 150 bytes each.
const CHANGES_BEHIND_MAX: usize = 4_096;

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
    /// What the writer of the pinset runs on.
    pub writer: WriterOn,
    /// Where it is counted what waits, and how far behind this peer is.
    pub metrics: Arc<Metrics>,
}

/// What the writer of the pinset runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriterOn {
    /// A thread of its own: the disk keeps nobody waiting.
    #[default]
    Thread,
    /// A task like any other, for simulations: nothing happens beside what they schedule.
    Task,
}

/// Consensus by Merkle-CRDT.
pub struct CrdtConsensus {
    config: CrdtConfig,
    parts: Parts,
    trust: Arc<RwLock<Trust>>,
    notes: Arc<Notes>,
    changes: broadcast::Sender<PinsetChange>,
    running: Mutex<Option<Running>>,
}

struct Running {
    orders: Orders,
    end: End,
}

/// By what the end of the writer is awaited.
enum End {
    Thread(JoinHandle<()>),
    Task(oneshot::Receiver<()>),
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
        let behind = match parts.writer {
            WriterOn::Thread => CHANGES_BEHIND_MAX,
            WriterOn::Task => CHANGES_BEHIND_MAX / 4, // A simulation starts many.
        };
        let (changes, _) = broadcast::channel(behind);
        let notes = Arc::new(Notes::new(Arc::clone(&parts.store)));
        Ok(Self { config, parts, trust: Arc::new(RwLock::new(trust)), notes, changes, running: Mutex::new(None) })
    }

    fn orders(&self) -> Result<Orders, ConsensusError> {
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
        topic_of(&self.config.cluster_name)
    }

    fn start_writer(
        &self,
        writer: Writer,
        queue: SyncSender<Order>,
        tasks: &TaskScope,
    ) -> Result<(Orders, End), String> {
        let metrics = Arc::clone(&self.parts.metrics);
        if self.parts.writer == WriterOn::Task {
            let (wake, (ended, end)) = (Arc::new(Notify::new()), oneshot::channel());
            let woken = Arc::clone(&wake);
            tasks.spawn("crdt-writer", async move {
                writer.run_as_task(woken).await;
                let _nobody_waits = ended.send(());
            });
            return Ok((Orders { queue, wake: Some(wake), metrics }, End::Task(end)));
        }
        let thread = std::thread::Builder::new().name("crdt-writer".into()).spawn(move || writer.run());
        let thread = thread.map_err(|e| format!("its thread cannot be started: {e}"))?;
        Ok((Orders { queue, wake: None, metrics }, End::Thread(thread)))
    }

    fn notes_topic(&self) -> Topic {
        Topic(format!("{}.members", self.config.cluster_name))
    }

    /// Hears who was put out or taken in, and says it again in the interval of announcements.
    fn start_notes(&self, tasks: &TaskScope) {
        let Some(pubsub) = self.parts.pubsub.clone() else { return };
        let (trust, me, topic) = (Arc::clone(&self.trust), self.parts.me, self.notes_topic());
        let mut messages = pubsub.subscribe(&topic, Arc::new(move |peer| *peer == me || trusts(&trust, peer)));
        let notes = Arc::clone(&self.notes);
        tasks.spawn_until_stopped("crdt-members", async move {
            while let Some(message) = messages.next().await {
                if let Err(error) = notes.hear(&message.data) {
                    tracing::warn!(peer = %message.from, %error, "what a peer says of members was not taken");
                }
            }
        });
        let (notes, clock) = (Arc::clone(&self.notes), Arc::clone(&self.parts.clock));
        let interval = self.config.rebroadcast_interval.get();
        tasks.spawn_until_stopped("crdt-members-again", async move {
            loop {
                sleep(&*clock, interval).await;
                notes.tell(&*pubsub, &topic).await;
            }
        });
    }

    async fn note(&self, peer: PeerId, removed: bool) -> Result<(), ConsensusError> {
        if self.notes.set(peer, removed, self.parts.clock.now().wall)?
            && let Some(pubsub) = &self.parts.pubsub
        {
            self.notes.tell(&**pubsub, &self.notes_topic()).await;
        }
        Ok(())
    }

    /// Announces again and looks for missing blocks, each in its interval.
    fn start_upkeep(&self, orders: &Orders, tasks: &TaskScope) {
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

    fn start_network(&self, orders: &Orders, outbound: mpsc::Receiver<Outbound>, tasks: &TaskScope) {
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
                            Outbound::Fetch(wanted, known) => {
                                let below = Below { most: wanted.most, known };
                                fetch(&*exchange, &*clock, &orders, wanted.cid, &below).await;
                            }
                        }
                    }
                })
                .await;
        });
    }
}

/// The topic on which the peers of a cluster announce their heads.
///
/// As go: consensus/crdt/consensus.go, `Setup`: the base58 text of the multihash of the name's MD5 sum.
fn topic_of(cluster_name: &str) -> Topic {
    const MD5: u64 = 0xd5;
    let digest = Md5::digest(cluster_name.as_bytes());
    let hash = cid::multihash::Multihash::<64>::wrap(MD5, &digest).expect("16 bytes fit");
    Topic(bs58::encode(hash.to_bytes()).into_string())
}

/// Asks for a block until somebody gives it.
async fn fetch(exchange: &dyn BlockExchange, clock: &dyn Clock, orders: &Orders, cid: Cid, below: &Below) {
    loop {
        match exchange.get_below(&cid, below).await {
            Ok(blocks) => {
                let blocks = blocks.into_iter().map(|block| (block.cid, block.data)).collect();
                let mut order = Order::Event(Event::Blocks(blocks));
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
        self.notes.load().map_err(|e| failed(e.to_string()))?;
        let (queue, receiver) = sync_channel(queue);
        let (outbound, outgoing) = mpsc::channel(OUTBOUND_MAX);
        for wanted in wanted {
            // What does not fit is asked for by the next repair.
            let _later = outbound.try_send(Outbound::Fetch(wanted, Vec::new()));
        }
        let writer = Writer {
            store: Arc::clone(&self.parts.store),
            replica,
            orders: receiver,
            changes: self.changes.clone(),
            outbound,
            grouping: self.grouping(),
            unsynced: None,
            pending: Vec::new(),
            following: Following::new(Arc::clone(&self.parts.metrics)),
            dirty: crate::graph::is_dirty(&*self.parts.store).map_err(|e| failed(e.to_string()))?,
        };
        let (orders, end) = self.start_writer(writer, queue, tasks).map_err(failed)?;
        self.start_upkeep(&orders, tasks);
        self.start_network(&orders, outgoing, tasks);
        self.start_notes(tasks);
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(Running { orders, end });
        Ok(())
    }

    /// What was ordered before is written and acknowledged; what comes after is refused.
    async fn shutdown(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return };
        let ended = match running.end {
            End::Thread(thread) => {
                let joined = tokio::task::spawn_blocking(move || {
                    let _ended_already = running.orders.queue.send(Order::Stop);
                    thread.join()
                });
                matches!(joined.await, Ok(Ok(())))
            }
            End::Task(ended) => {
                while let Err(TrySendError::Full(_)) = running.orders.try_send(Order::Stop) {
                    tokio::task::yield_now().await;
                }
                ended.await.is_ok()
            }
        };
        if !ended {
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
        peers.retain(|peer| !self.notes.is_removed(peer));
        Ok(peers)
    }

    /// As the reference, whoever publishes the metric of members is one, but for those that were put out: they must
    /// be taken in again.
    fn greet(&self) {
        if let Ok(orders) = self.orders() {
            // A full queue means that there is work; heads are announced again.
            let _later = orders.try_send(Order::Event(Event::Greet));
        }
    }

    async fn add_peer(&self, peer: PeerId) -> Result<(), ConsensusError> {
        if self.notes.is_removed(&peer) { self.note(peer, false).await } else { Ok(()) }
    }

    async fn remove_peer(&self, peer: &PeerId) -> Result<(), ConsensusError> {
        self.note(*peer, true).await
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and topics as the reference made them.
    #[test]
    fn the_topic_is_the_references() {
        for (name, topic) in [
            ("ipfs-cluster", "fzhnp2UwTBkgNabrJi1VanzwgN"),
            ("test", "fzhnJ2vw7NBkaLbPXVHuw1r59o"),
            ("my-cluster", "fzhnksgSU2eXwHBS2XoLWNxDjU"),
        ] {
            assert_eq!(topic_of(name), Topic(topic.to_owned()));
        }
    }
}
