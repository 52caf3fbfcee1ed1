//! Peers, their disks, and the network between them.

use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::component::{Component, Consensus, Leadership, State};
use cluster_component::errors::{NetError, StartError};
use cluster_component::ports::Clock;
use cluster_component::tasks::TaskScope;
use cluster_datastore::MemoryStore;
use cluster_peer::state::mapstate::MapState;
use cluster_peer::state::pinstate::PinState;
use cluster_raft::{Courier, Parts, RaftConfig, RaftConsensus};
use cluster_testkit::{Chance, ManualClock, TokioSpawn};
use cluster_types::PeerId;
use cluster_types::store::Datastore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) use cluster_testkit::contract::allocator::peer;

/// The network.
pub(crate) struct Lan {
    chance: Chance,
    there: Mutex<BTreeMap<PeerId, Arc<RaftConsensus>>>,
    /// Between these two nothing passes.
    cut: Mutex<BTreeSet<(PeerId, PeerId)>>,
    /// So many of a thousand messages are lost, as are answers.
    pub(crate) loss: AtomicU64,
    /// The pieces of snapshots that were sent, by their numbers.
    pub(crate) pieces: Mutex<Vec<u32>>,
    /// The piece whose answer is lost once.
    pub(crate) lost_piece: Mutex<Option<u32>>,
    /// To whom nothing comes that a leader sends of its own accord.
    pub(crate) deaf: Mutex<Option<PeerId>>,
    /// Requests for votes that are held back until two peers want to lead in the same term.
    pub(crate) split: SplitVote,
}

/// Holds requests for votes back.
#[derive(Default)]
pub(crate) struct SplitVote {
    /// Who wants to lead, and in which term; `None`: nothing is held back.
    held: Mutex<Option<BTreeMap<PeerId, u64>>>,
    released: tokio::sync::Notify,
    /// How often two wanted to lead in the same term.
    pub(crate) seen: AtomicU64,
}

impl SplitVote {
    /// The next vote is split.
    pub(crate) fn force(&self) {
        *self.held.lock().expect("no panic") = Some(BTreeMap::new());
    }

    async fn hold(&self, from: PeerId, message: &[u8]) {
        let Some(term) = term_wanted(message) else { return };
        let released = self.released.notified();
        tokio::pin!(released);
        released.as_mut().enable();
        {
            let mut held = self.held.lock().expect("no panic");
            let Some(wanted) = held.as_mut() else { return };
            wanted.insert(from, term);
            if wanted.values().filter(|other| **other == term).count() > 1 {
                *held = None;
                self.seen.fetch_add(1, Ordering::Relaxed);
                self.released.notify_waiters();
                return;
            }
        }
        released.await;
    }
}

/// Version and checksum, which stand before what members say to each other.
const HEAD: usize = 5;

/// What kind of message it is.
fn is(message: &[u8], kind: &str) -> bool {
    let name = [&[0xa1, 0x60 + u8::try_from(kind.len()).expect("short")], kind.as_bytes()].concat();
    message.get(HEAD..).is_some_and(|body| body.starts_with(&name))
}

/// The term in which somebody wants to lead, if that is what this says.
fn term_wanted(message: &[u8]) -> Option<u64> {
    if !is(message, "Vote") {
        return None;
    }
    let body: serde_json::Value = serde_ipld_dagcbor::from_slice(&message[HEAD..]).expect("a vote");
    Some(body["Vote"]["vote"]["leader_id"]["term"].as_u64().expect("a term"))
}

/// Which piece of a snapshot this is, if it is one.
fn piece_number(message: &[u8]) -> Option<u32> {
    #[derive(serde::Deserialize)]
    struct Piece {
        piece: u32,
    }
    let of_piece =
        is(message, "Piece").then(|| serde_ipld_dagcbor::from_slice::<BTreeMap<String, Piece>>(&message[HEAD..]));
    of_piece.map(|piece| piece.expect("a piece")["Piece"].piece)
}

struct Post {
    from: PeerId,
    lan: Arc<Lan>,
}

impl Lan {
    fn passes(&self, from: PeerId, to: PeerId) -> bool {
        let cut = self.cut.lock().expect("no panic").contains(&(from.min(to), from.max(to)));
        !cut && !self.chance.per_mille(self.loss.load(Ordering::Relaxed))
    }

    async fn travel(&self, from: PeerId, to: PeerId) {
        tokio::time::sleep(Duration::from_micros(200 + self.chance.below(4_000))).await;
        if !self.passes(from, to) {
            // Nobody says that a message was lost: whoever asked gives up by itself.
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Courier for Post {
    async fn ask(&self, peer: &PeerId, message: Bytes) -> Result<Bytes, NetError> {
        self.lan.split.hold(self.from, &message).await;
        if is(&message, "Append") && *self.lan.deaf.lock().expect("no panic") == Some(*peer) {
            std::future::pending::<()>().await;
        }
        let piece = piece_number(&message);
        self.lan.pieces.lock().expect("no panic").extend(piece);
        self.lan.travel(self.from, *peer).await;
        let to = self.lan.there.lock().expect("no panic").get(peer).cloned();
        let refused = |reason: String| NetError::Unreachable { peer: *peer, reason };
        let to = to.ok_or_else(|| refused("connection refused".into()))?;
        // What has arrived goes on, whether whoever asked still waits or not.
        let answer = tokio::spawn(async move { to.message(message).await });
        let answer = answer.await.map_err(|e| refused(e.to_string()))?.map_err(|e| refused(e.to_string()))?;
        if piece.is_some()
            && self.lan.lost_piece.lock().expect("no panic").take_if(|lost| Some(*lost) == piece).is_some()
        {
            return Err(refused("the connection broke".into()));
        }
        self.lan.travel(*peer, self.from).await;
        Ok(answer)
    }
}

/// Which state the peers have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Disk,
    Memory,
}

pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) store: Arc<MemoryStore>,
    running: Option<(Arc<RaftConsensus>, TaskScope)>,
}

impl Peer {
    /// One with an empty disk.
    pub(crate) fn new(number: u8) -> Self {
        Self { id: peer(number), store: Arc::new(MemoryStore::new()), running: None }
    }
}

pub(crate) struct World {
    pub(crate) lan: Arc<Lan>,
    pub(crate) peers: Vec<Peer>,
    kind: Kind,
    pub(crate) config: RaftConfig,
}

impl World {
    /// So many peers, not started, that will found a cluster together.
    pub(crate) fn new(seed: u64, count: u8, kind: Kind) -> Self {
        let lan = Lan {
            chance: Chance::new(seed),
            there: Mutex::default(),
            cut: Mutex::default(),
            loss: AtomicU64::default(),
            pieces: Mutex::default(),
            lost_piece: Mutex::default(),
            deaf: Mutex::default(),
            split: SplitVote::default(),
        };
        let config = RaftConfig {
            init_peerset: (1..=count).map(|number| peer(number).to_string()).collect(),
            ..RaftConfig::default()
        };
        Self { lan: Arc::new(lan), peers: (1..=count).map(Peer::new).collect(), kind, config }
    }

    /// All of them run, and there is a leader.
    pub(crate) async fn started(seed: u64, count: u8, kind: Kind) -> Self {
        let mut world = Self::new(seed, count, kind);
        for at in 0..world.peers.len() {
            world.start(at).await.expect("started");
        }
        for at in 0..world.peers.len() {
            world.at(at).ready().await.expect("ready");
        }
        world
    }

    fn state(&self, store: &Arc<MemoryStore>) -> Arc<dyn State> {
        match self.kind {
            Kind::Disk => Arc::new(PinState::open(Arc::clone(store) as Arc<dyn Datastore>).expect("opened")),
            Kind::Memory => Arc::new(MapState::new()),
        }
    }

    pub(crate) async fn start(&mut self, at: usize) -> Result<(), StartError> {
        self.start_as(at, Vec::new()).await
    }

    pub(crate) async fn start_as(&mut self, at: usize, join: Vec<PeerId>) -> Result<(), StartError> {
        let peer = &self.peers[at];
        let parts = Parts {
            me: peer.id,
            store: Arc::clone(&peer.store) as Arc<dyn Datastore>,
            state: self.state(&peer.store),
            courier: Arc::new(Post { from: peer.id, lan: Arc::clone(&self.lan) }),
            clock: Arc::new(ManualClock::default()) as Arc<dyn Clock>,
            join,
            backups: None,
        };
        let consensus = Arc::new(RaftConsensus::new(self.config.clone(), parts));
        let tasks = TaskScope::new(Arc::new(TokioSpawn));
        Arc::clone(&consensus).start(&tasks).await?;
        self.lan.there.lock().expect("no panic").insert(peer.id, Arc::clone(&consensus));
        self.peers[at].running = Some((consensus, tasks));
        Ok(())
    }

    /// A further peer, which waits to be taken in.
    pub(crate) async fn stage(&mut self, number: u8) -> usize {
        self.peers.push(Peer::new(number));
        self.start_as(self.peers.len() - 1, vec![peer(1)]).await.expect("started");
        self.peers.len() - 1
    }

    pub(crate) fn at(&self, at: usize) -> Arc<RaftConsensus> {
        Arc::clone(&self.peers[at].running.as_ref().expect("it runs").0)
    }

    pub(crate) fn is_running(&self, at: usize) -> bool {
        self.peers[at].running.is_some()
    }

    /// The power of a peer fails: what was not synced is gone, and nobody is told.
    pub(crate) async fn crash(&mut self, at: usize) {
        self.peers[at].store = Arc::new(self.peers[at].store.crash());
        self.stop(at).await;
    }

    /// A peer ends, and what was on its disk is gone.
    pub(crate) async fn lose(&mut self, at: usize) {
        self.stop(at).await;
        self.peers[at].store = Arc::new(MemoryStore::new());
    }

    /// A peer ends in order.
    pub(crate) async fn stop(&mut self, at: usize) {
        let Some((consensus, tasks)) = self.peers[at].running.take() else { return };
        self.lan.there.lock().expect("no panic").remove(&self.peers[at].id);
        consensus.shutdown().await;
        tasks.stop().await;
    }

    pub(crate) async fn stop_all(&mut self) {
        for at in 0..self.peers.len() {
            self.stop(at).await;
        }
    }

    /// Parts these from the others.
    pub(crate) fn part(&self, these: &[usize]) {
        let mut cut = self.lan.cut.lock().expect("no panic");
        for (a, one) in self.peers.iter().enumerate() {
            for (b, other) in self.peers.iter().enumerate() {
                if these.contains(&a) && !these.contains(&b) {
                    cut.insert((one.id.min(other.id), one.id.max(other.id)));
                }
            }
        }
    }

    /// Everything passes again, and nothing is lost.
    pub(crate) fn heal(&self) {
        self.lan.cut.lock().expect("no panic").clear();
        self.lan.loss.store(0, Ordering::Relaxed);
    }

    /// Which peer leads, as those that run see it; waits for one that all of them see.
    pub(crate) async fn leader(&self) -> usize {
        self.leader_of(&(0..self.peers.len()).filter(|at| self.is_running(*at)).collect::<Vec<_>>()).await
    }

    /// The same, as these see it.
    pub(crate) async fn leader_of(&self, these: &[usize]) -> usize {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let seen: BTreeSet<_> = these.iter().map(|at| format!("{:?}", self.at(*at).leadership())).collect();
            let leader = self.at(these[0]).leadership();
            if let (1, Leadership::Peer(leader)) = (seen.len(), leader)
                && let Some(at) = these.iter().copied().find(|at| self.peers[*at].id == leader)
            {
                return at;
            }
            assert!(tokio::time::Instant::now() < deadline, "no leader that all see: {seen:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
