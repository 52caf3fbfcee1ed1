//! A network in memory: every port that a peer has to others, for any number of peers in one process, with delay, loss,
//! duplication, reordering, partitions and crashes as a test or a seed wants them.

mod pipe;

use crate::chance::Chance;
use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::errors::NetError;
use cluster_component::ports::{
    Accepts, BandwidthByProtocol, Below, Block, BlockExchange, Clock, Duplex, LocalBlocks, Message, Network, PubSub,
    Topic, Wire, sleep,
};
use cluster_component::tasks::Spawn;
use cluster_types::{Cid, Multiaddr, PeerId};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use multiaddr::Protocol;
use pipe::Breaker;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

/// Messages of a topic that a reader may be behind.
const BEHIND_MAX: usize = 1_024;

/// How long a call waits for a peer that does not answer.
const NO_ANSWER: Duration = Duration::from_secs(5);

/// How often a block is asked for before it counts as not there.
const ASKED_MAX: usize = 3;

/// Bytes of blocks in one answer.
const ANSWER_BYTES: usize = 1 << 20;

/// Takes a stream that a peer has opened.
pub type Acceptor = Arc<dyn Fn(PeerId, Duplex) + Send + Sync>;

/// How the network misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Of a thousand messages so many are lost.
    pub lost: u64,
    /// Of a thousand messages so many come twice.
    pub twice: u64,
    /// A message takes at least so many milliseconds.
    pub delay_min_ms: u64,
    /// And at most so many: messages overtake each other.
    pub delay_max_ms: u64,
}

impl Faults {
    /// Every message comes, once, after a millisecond.
    pub const NONE: Self = Self { lost: 0, twice: 0, delay_min_ms: 1, delay_max_ms: 1 };
}

/// The network. Cheap to clone.
#[derive(Clone)]
pub struct Net(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    spawn: Arc<dyn Spawn>,
    chance: Chance,
    state: Mutex<State>,
}

struct State {
    faults: Faults,
    hosts: BTreeMap<PeerId, Host>,
    /// Pairs that cannot reach each other, the smaller name first.
    cuts: BTreeSet<(PeerId, PeerId)>,
    /// Peers whose messages reach nobody.
    muted: BTreeSet<PeerId>,
    streams: Vec<((PeerId, PeerId), Breaker)>,
    passed: BTreeMap<PeerId, BandwidthByProtocol>,
}

#[derive(Default)]
struct Host {
    accept: Option<Acceptor>,
    blocks: Option<Arc<dyn LocalBlocks>>,
    topics: BTreeMap<Topic, Vec<Listener>>,
}

#[derive(Clone)]
struct Listener {
    accepts: Accepts,
    queue: broadcast::Sender<Message>,
}

fn pair_of(one: PeerId, other: PeerId) -> (PeerId, PeerId) {
    if one < other { (one, other) } else { (other, one) }
}

impl State {
    fn reaches(&self, from: &PeerId, to: &PeerId) -> bool {
        let both = self.hosts.contains_key(from) && self.hosts.contains_key(to);
        both && !self.cuts.contains(&pair_of(*from, *to))
    }

    fn break_streams(&mut self, broken: impl Fn(&(PeerId, PeerId)) -> bool) -> Vec<Breaker> {
        self.streams.retain(|(_, breaker)| !breaker.is_gone());
        self.streams.extract_if(.., |(ends, _)| broken(ends)).map(|(_, breaker)| breaker).collect()
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").field("peers", &self.state().hosts.len()).finish_non_exhaustive()
    }
}

impl Net {
    /// A network without peers. Messages on their way are tasks of `spawn`.
    #[must_use]
    pub fn new(seed: u64, clock: Arc<dyn Clock>, spawn: Arc<dyn Spawn>) -> Self {
        let state = State {
            faults: Faults::NONE,
            hosts: BTreeMap::new(),
            cuts: BTreeSet::new(),
            muted: BTreeSet::new(),
            streams: Vec::new(),
            passed: BTreeMap::new(),
        };
        Self(Arc::new(Inner { clock, spawn, chance: Chance::new(seed), state: Mutex::new(state) }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects a peer; what it was connected with before is gone.
    #[must_use]
    pub fn join(&self, me: PeerId) -> Arc<Port> {
        self.state().hosts.insert(me, Host::default());
        Arc::new(Port { net: self.clone(), me })
    }

    /// Disconnects a peer, as a crash does.
    pub fn leave(&self, peer: &PeerId) {
        let broken = {
            let mut state = self.state();
            state.hosts.remove(peer);
            state.break_streams(|(one, other)| one == peer || other == peer)
        };
        broken.iter().for_each(Breaker::break_off);
    }

    /// How the network misbehaves from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// From now on peers of different sides do not reach each other; peers on no side reach everyone.
    pub fn partition(&self, sides: &[&[PeerId]]) {
        let broken = {
            let mut state = self.state();
            state.cuts.clear();
            for (number, side) in sides.iter().enumerate() {
                let others = sides.iter().skip(number + 1).flat_map(|side| side.iter());
                for other in others {
                    state.cuts.extend(side.iter().map(|one| pair_of(*one, *other)));
                }
            }
            let cuts = state.cuts.clone();
            state.break_streams(|(one, other)| cuts.contains(&pair_of(*one, *other)))
        };
        broken.iter().for_each(Breaker::break_off);
    }

    /// From now on the messages of this peer reach nobody; calls do.
    pub fn mute(&self, peer: &PeerId) {
        self.state().muted.insert(*peer);
    }

    /// Ends all partitions.
    pub fn heal(&self) {
        self.state().cuts.clear();
    }

    fn delay(&self) -> Duration {
        let faults = self.state().faults;
        let spread = faults.delay_max_ms.saturating_sub(faults.delay_min_ms) + 1;
        Duration::from_millis(faults.delay_min_ms + self.0.chance.below(spread))
    }

    fn is_lost(&self) -> bool {
        let often = self.state().faults.lost;
        self.0.chance.per_mille(often)
    }

    /// The way of a question from one peer to another.
    ///
    /// # Errors
    /// When it does not arrive.
    pub async fn travel(&self, from: PeerId, to: PeerId) -> Result<(), NetError> {
        sleep(&*self.0.clock, self.delay()).await;
        if self.is_lost() {
            sleep(&*self.0.clock, NO_ANSWER).await;
            return Err(unreachable(to, "no answer"));
        }
        let reached = self.state().reaches(&from, &to);
        if reached { Ok(()) } else { Err(unreachable(to, "no route")) }
    }

    /// Sends a message on its way, so often as it will come.
    fn send(&self, to: PeerId, topic: Topic, message: Message) {
        let often = self.state().faults.twice;
        let times = if self.is_lost() { 0 } else { 1 + usize::from(self.0.chance.per_mille(often)) };
        for _ in 0..times {
            let (net, topic, message, delay) = (self.clone(), topic.clone(), message.clone(), self.delay());
            let travel = async move {
                sleep(&*net.0.clock, delay).await;
                let heard = {
                    let state = net.state();
                    state.reaches(&message.from, &to) && !state.muted.contains(&message.from)
                };
                if heard {
                    net.arrive(&to, &topic, &message);
                }
            };
            self.0.spawn.spawn("message", Box::pin(travel));
        }
    }

    fn arrive(&self, to: &PeerId, topic: &Topic, message: &Message) {
        let listeners = {
            let mut state = self.state();
            let Some(host) = state.hosts.get_mut(to) else { return };
            let Some(listeners) = host.topics.get_mut(topic) else { return };
            listeners.retain(|listener| listener.queue.receiver_count() > 0);
            listeners.clone()
        };
        for listener in listeners {
            if message.from == *to || (listener.accepts)(&message.from) {
                let _nobody_reads = listener.queue.send(message.clone());
            }
        }
    }

    fn count(&self, peer: PeerId, protocol: &str, bytes_in: usize, bytes_out: usize) {
        let mut state = self.state();
        let by_protocol = state.passed.entry(peer).or_default();
        let passed = by_protocol.entry(protocol.to_owned()).or_default();
        passed.bytes_in += u64::try_from(bytes_in).unwrap_or(0);
        passed.bytes_out += u64::try_from(bytes_out).unwrap_or(0);
    }
}

fn unreachable(peer: PeerId, reason: &str) -> NetError {
    NetError::Unreachable { peer, reason: reason.to_owned() }
}

/// The connection of one peer.
#[derive(Debug)]
pub struct Port {
    net: Net,
    me: PeerId,
}

impl Port {
    /// Where streams of others go.
    pub fn listen(&self, accept: Acceptor) {
        if let Some(host) = self.net.state().hosts.get_mut(&self.me) {
            host.accept = Some(accept);
        }
    }

    /// What others are served.
    pub fn serve(&self, blocks: Arc<dyn LocalBlocks>) {
        if let Some(host) = self.net.state().hosts.get_mut(&self.me) {
            host.blocks = Some(blocks);
        }
    }

    /// Those that have a host and no cut between, in an order that changes.
    fn others(&self) -> Vec<PeerId> {
        let state = self.net.state();
        let mut others: Vec<PeerId> = state.hosts.keys().filter(|peer| **peer != self.me).copied().collect();
        others.retain(|peer| state.reaches(&self.me, peer));
        drop(state);
        for last in (1..others.len()).rev() {
            others.swap(last, self.net.0.chance.place(last + 1));
        }
        others
    }

    async fn ask_for(&self, cid: &Cid, below: &Below) -> Vec<Block> {
        for peer in self.others() {
            sleep(&*self.net.0.clock, self.net.delay()).await;
            if self.net.is_lost() {
                continue;
            }
            let blocks = {
                let state = self.net.state();
                let reached = state.reaches(&self.me, &peer);
                reached.then(|| state.hosts.get(&peer).and_then(|host| host.blocks.clone())).flatten()
            };
            let found = blocks.map(|blocks| blocks.get_below(cid, below, ANSWER_BYTES)).unwrap_or_default();
            if !found.is_empty() {
                let bytes = found.iter().map(|block| block.data.len()).sum();
                self.net.count(self.me, "/ipfs/bitswap/1.2.0", bytes, 0);
                self.net.count(peer, "/ipfs/bitswap/1.2.0", 0, bytes);
                return found;
            }
        }
        Vec::new()
    }
}

#[async_trait]
impl Wire for Port {
    async fn open(&self, to: &PeerId) -> Result<Duplex, NetError> {
        self.net.travel(self.me, *to).await?;
        let (near, far, breaker) = pipe::pair();
        let accept = {
            let mut state = self.net.state();
            state.streams.retain(|(_, breaker)| !breaker.is_gone());
            state.streams.push(((self.me, *to), breaker));
            state.hosts.get(to).and_then(|host| host.accept.clone())
        };
        let accept = accept.ok_or_else(|| unreachable(*to, "it does not listen"))?;
        accept(self.me, Box::new(far));
        Ok(Box::new(near))
    }
}

#[async_trait]
impl PubSub for Port {
    async fn publish(&self, topic: &Topic, data: Bytes) -> Result<(), NetError> {
        let message = Message { from: self.me, data };
        let others: Vec<PeerId> = {
            let state = self.net.state();
            if !state.hosts.contains_key(&self.me) {
                return Err(NetError::Closed("the network is not running".into()));
            }
            let listening = state.hosts.iter().filter(|(_, host)| host.topics.contains_key(topic));
            listening.map(|(peer, _)| *peer).filter(|peer| *peer != self.me).collect()
        };
        self.net.arrive(&self.me, topic, &message);
        self.net.count(self.me, "/meshsub/1.3.0", 0, message.data.len());
        for peer in others {
            self.net.send(peer, topic.clone(), message.clone());
        }
        Ok(())
    }

    fn subscribe(&self, topic: &Topic, accepts: Accepts) -> BoxStream<'static, Message> {
        let (queue, messages) = broadcast::channel(BEHIND_MAX);
        let listener = Listener { accepts, queue };
        if let Some(host) = self.net.state().hosts.get_mut(&self.me) {
            host.topics.entry(topic.clone()).or_default().push(listener);
        }
        let next = |mut messages: broadcast::Receiver<Message>| async move {
            loop {
                match messages.recv().await {
                    Ok(message) => return Some((message, messages)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        };
        stream::unfold(messages, next).boxed()
    }
}

#[async_trait]
impl BlockExchange for Port {
    async fn get(&self, cid: &Cid) -> Result<Block, NetError> {
        let alone = Below { most: 1, known: Vec::new() };
        let found = self.get_below(cid, &alone).await?;
        found.into_iter().next().ok_or_else(|| NetError::NotFound(cid.to_string()))
    }

    async fn get_below(&self, cid: &Cid, below: &Below) -> Result<Vec<Block>, NetError> {
        for _ in 0..ASKED_MAX {
            let found = self.ask_for(cid, below).await;
            if !found.is_empty() {
                return Ok(found);
            }
            sleep(&*self.net.0.clock, Duration::from_secs(1)).await;
        }
        Err(NetError::NotFound(cid.to_string()))
    }
}

#[async_trait]
impl Network for Port {
    fn addresses(&self) -> Vec<Multiaddr> {
        self.addresses_of(&self.me)
    }

    fn addresses_of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let state = self.net.state();
        let number = state.hosts.keys().position(|host| host == peer);
        let number = number.and_then(|number| u64::try_from(number + 1).ok());
        number.map(|number| Multiaddr::empty().with(Protocol::Memory(number))).into_iter().collect()
    }

    fn connected(&self) -> BTreeSet<PeerId> {
        let state = self.net.state();
        let others = state.hosts.keys().filter(|peer| **peer != self.me);
        others.filter(|peer| state.reaches(&self.me, peer)).copied().collect()
    }

    async fn connect(&self, address: &Multiaddr) -> Result<PeerId, NetError> {
        let named = address.iter().last();
        let Some(Protocol::P2p(peer)) = named else {
            return Err(NetError::Closed(format!("{address} names no peer")));
        };
        self.net.travel(self.me, peer).await.map(|()| peer)
    }

    async fn forget(&self, peer: &PeerId) {
        let me = self.me;
        let broken = self.net.state().break_streams(|ends| pair_of(ends.0, ends.1) == pair_of(me, *peer));
        broken.iter().for_each(Breaker::break_off);
    }

    fn protect(&self, _: &PeerId, _: bool) {}

    fn bandwidth(&self) -> BandwidthByProtocol {
        self.net.state().passed.get(&self.me).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Scheduler;
    use futures::io::{AsyncReadExt, AsyncWriteExt};

    fn topic() -> Topic {
        Topic("t".into())
    }

    struct World {
        scheduler: Scheduler,
        net: Net,
        peers: Vec<PeerId>,
        ports: Vec<Arc<Port>>,
        heard: Arc<Mutex<Vec<(usize, Bytes)>>>,
    }

    /// So many peers that listen to one topic and echo what comes by wire.
    fn world(count: usize) -> World {
        let scheduler = Scheduler::new(3);
        let net = Net::new(4, scheduler.clock(0), scheduler.spawner(0));
        let peers: Vec<PeerId> = (0..count).map(|_| PeerId::random()).collect();
        let ports: Vec<_> = peers.iter().map(|peer| net.join(*peer)).collect();
        let heard: Arc<Mutex<Vec<(usize, Bytes)>>> = Arc::default();
        for (number, port) in ports.iter().enumerate() {
            let (mut messages, heard) = (port.subscribe(&topic(), Arc::new(|_| true)), Arc::clone(&heard));
            let listen = async move {
                while let Some(message) = messages.next().await {
                    heard.lock().expect("lock").push((number, message.data));
                }
            };
            scheduler.spawner(0).spawn("listen", Box::pin(listen));
            let spawn = scheduler.spawner(0);
            port.listen(Arc::new(move |_, mut stream: Duplex| {
                let echo = async move {
                    let mut bytes = Vec::new();
                    if stream.read_to_end(&mut bytes).await.is_ok() {
                        drop(stream.write_all(&bytes).await);
                        drop(stream.close().await);
                    }
                };
                spawn.spawn("echo", Box::pin(echo));
            }));
        }
        World { scheduler, net, peers, ports, heard }
    }

    impl World {
        fn say(&self, from: usize, words: &'static str) {
            let port = Arc::clone(&self.ports[from]);
            let said = async move { port.publish(&topic(), Bytes::from_static(words.as_bytes())).await };
            assert_eq!(self.scheduler.complete(Duration::from_secs(1), said), Some(Ok(())));
            self.scheduler.run_for(Duration::from_secs(1));
        }

        fn call(&self, from: usize, to: usize) -> Result<Vec<u8>, String> {
            let (port, to) = (Arc::clone(&self.ports[from]), self.peers[to]);
            let call = async move {
                let mut stream = port.open(&to).await.map_err(|e| e.to_string())?;
                stream.write_all(b"hello").await.map_err(|e| e.to_string())?;
                stream.close().await.map_err(|e| e.to_string())?;
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).await.map_err(|e| e.to_string())?;
                Ok(answer)
            };
            self.scheduler.complete(Duration::from_secs(60), call).expect("it ends")
        }

        fn heard(&self) -> Vec<(usize, Bytes)> {
            let mut heard = std::mem::take(&mut *self.heard.lock().expect("lock"));
            heard.sort();
            heard
        }
    }

    #[test]
    fn messages_and_calls_reach_those_on_the_same_side() {
        let world = world(3);
        world.say(0, "a");
        assert_eq!(world.heard().len(), 3);
        assert_eq!(world.call(0, 1), Ok(b"hello".to_vec()));

        world.net.partition(&[&world.peers[..1], &world.peers[1..]]);
        world.say(0, "b");
        assert_eq!(world.heard(), [(0, Bytes::from_static(b"b"))]);
        assert!(world.call(0, 1).is_err_and(|e| e.contains("no route")));
        assert_eq!(world.call(1, 2), Ok(b"hello".to_vec()));

        world.net.heal();
        world.net.leave(&world.peers[2]);
        world.say(0, "c");
        assert_eq!(world.heard().len(), 2);
        assert!(world.call(0, 2).is_err());
        assert_eq!(world.ports[0].connected(), BTreeSet::from([world.peers[1]]));
    }

    #[test]
    fn messages_are_lost_doubled_and_overtake_each_other_as_asked() {
        let world = world(2);
        world.net.set_faults(Faults { lost: 1_000, ..Faults::NONE });
        world.say(0, "lost");
        assert_eq!(world.heard().len(), 1, "one's own come always");
        assert!(world.call(0, 1).is_err_and(|e| e.contains("no answer")));

        world.net.set_faults(Faults { twice: 1_000, ..Faults::NONE });
        world.say(0, "twice");
        assert_eq!(world.heard().len(), 3);

        world.net.set_faults(Faults { delay_max_ms: 900, ..Faults::NONE });
        let port = Arc::clone(&world.ports[0]);
        let many = async move {
            for number in 0..20_u8 {
                port.publish(&topic(), Bytes::from(vec![number])).await.expect("published");
            }
        };
        world.scheduler.complete(Duration::from_secs(1), many).expect("it ends");
        world.scheduler.run_for(Duration::from_secs(2));
        let heard: Vec<_> = std::mem::take(&mut *world.heard.lock().expect("lock"));
        let order: Vec<u8> = heard.iter().filter(|(peer, _)| *peer == 1).map(|(_, data)| data[0]).collect();
        assert!(order.len() == 20 && !order.is_sorted(), "{order:?}");
    }
}
