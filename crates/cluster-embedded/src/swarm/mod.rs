//! The node as a member of the IPFS network: a libp2p host of its own, without the cluster's secret and with the node's
//! own key. It serves every stored block by bitswap, and fetches blocks that are not here from whom it is connected to.
//!
//! [`Host`] is the handle; one task drives the swarm (`driver.rs`).

mod behaviour;
mod config;
mod dht;
mod driver;
mod gate;
mod provide;
mod records;
mod routing;

pub use config::{Dht, SwarmConfig};

use crate::pins::Pins;
use crate::store::Blockstore;
use bitswap::{Bitswap, Link, PROTOCOLS, Version};
use bytes::Bytes;
use cluster_component::errors::{NetError, StartError};
use cluster_component::ports::{Block, Clock};
use cluster_component::tasks::TaskScope;
use cluster_transport::streams::{OpenError, Opened};
use cluster_types::{Cid, Multiaddr, PeerId};
use driver::Driver;
use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::swarm::{Stream, StreamProtocol};
use libp2p_identity::Keypair;
use provide::Provider;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

/// Orders that may wait for the swarm. Those who give one wait for its answer, so that this is a bound on callers.
const COMMANDS_MAX: usize = 256;

/// How long a peer may take to be connected to.
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// Blocks that are asked for at a time by pins, and by readers: together at most 640 MiB with the largest blocks. Those who
/// want more wait in the order in which they came.
const WANTS_OF_PINS: usize = 256;
const WANTS_OF_READERS: usize = 64;

/// How long a block is waited for before the next one that waits has its turn; it may be asked for again.
const GET_MAX: Duration = Duration::from_secs(30);

/// How long those who are connected have for a block before others who have it are looked for.
const FIND_AFTER: Duration = Duration::from_secs(1);

/// How long after that they are looked for again: the last search was given up by then, or was not begun.
const FIND_AGAIN: Duration = Duration::from_secs(20);

/// Roots that wait for others to be told of them. More wait for the next round.
const FRESH_MAX: usize = 1_024;

/// What a block is for: readers, who may be strangers at the gateway, take no turns of pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Pin,
    Read,
}

/// Orders of the handle to the driver.
enum Command {
    /// Connect to a peer at these addresses. An error is why not.
    Connect { peer: PeerId, addresses: Vec<Multiaddr>, reply: oneshot::Sender<Result<(), String>> },
    /// Open a stream of any of these protocols on a connection that is there.
    Open { peer: PeerId, protocols: Vec<StreamProtocol>, reply: Opened },
    /// Look for others who have a block, and connect to them.
    Find { cid: Cid },
    /// Tell others that a block is here. An error is why not.
    Provide { cid: Cid, reply: oneshot::Sender<Result<(), String>> },
}

/// What the handle and the driver share.
#[derive(Default)]
struct Shared {
    /// Who is connected.
    connected: Mutex<BTreeSet<PeerId>>,
    /// Who of them speaks bitswap.
    speakers: Mutex<BTreeSet<PeerId>>,
    /// Where this host can be reached.
    addresses: Mutex<Vec<Multiaddr>>,
    /// Whether anybody is in the table of who has what.
    known: watch::Sender<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The host.
pub(crate) struct Host {
    key: Keypair,
    config: SwarmConfig,
    shared: Arc<Shared>,
    orders: mpsc::Sender<Command>,
    /// Until it is started.
    unstarted: Mutex<Option<Unstarted>>,
    /// What was pinned just now.
    fresh: mpsc::Sender<Cid>,
    bitswap: Arc<Bitswap>,
    pins: Semaphore,
    readers: Semaphore,
}

/// What is given to its tasks.
struct Unstarted {
    commands: mpsc::Receiver<Command>,
    provider: Provider,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("connected", &lock(&self.shared.connected).len()).finish_non_exhaustive()
    }
}

impl Host {
    /// A host that does nothing until it is [started](Self::start), and then serves these blocks.
    pub(crate) fn new(
        key: Keypair,
        config: SwarmConfig,
        blocks: Arc<Blockstore>,
        pins: Pins,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (orders, commands) = mpsc::channel(COMMANDS_MAX);
        let shared = Arc::<Shared>::default();
        let streams = Streams { orders: orders.clone(), shared: Arc::clone(&shared) };
        let bitswap = Arc::new(Bitswap::new(Arc::new(streams), Arc::new(Stored(blocks))));
        let (fresh, new) = mpsc::channel(FRESH_MAX);
        let turns = Semaphore::new;
        let (interval, known) = (config.reprovide_interval.get(), shared.known.subscribe());
        let provider = Provider { orders: orders.clone(), pins, clock, interval, fresh: new, known };
        let unstarted = Mutex::new(Some(Unstarted { commands, provider }));
        Self {
            key,
            config,
            shared,
            orders,
            unstarted,
            fresh,
            bitswap,
            pins: turns(WANTS_OF_PINS),
            readers: turns(WANTS_OF_READERS),
        }
    }

    /// Listens, and takes part in the network until the scope is told to stop.
    ///
    /// # Errors
    /// When it can listen nowhere, or was started before.
    pub(crate) async fn start(&self, tasks: &TaskScope) -> Result<(), StartError> {
        let failed = |reason: String| StartError { component: "embedded", reason };
        let Some(Unstarted { commands, provider }) = lock(&self.unstarted).take() else {
            return Err(failed("it was started before".into()));
        };
        let driver = Driver::bind(&self.key, &self.config, Arc::clone(&self.shared), commands, &self.bitswap);
        tasks.spawn("ipfs swarm", driver.await.map_err(failed)?.run(tasks.clone()));
        tasks.spawn_until_stopped("ipfs bitswap", Arc::clone(&self.bitswap).run());
        if self.config.dht != Dht::Off && self.config.reprovide_interval.0 > 0 {
            tasks.spawn_until_stopped("ipfs provide", provider.run());
        }
        Ok(())
    }

    /// A root is held here: others shall know.
    pub(crate) fn holds(&self, cid: Cid) {
        let _next_round = self.fresh.try_send(cid);
    }

    /// Looks for others who have a block, for as long as it is polled.
    async fn find(&self, cid: Cid) -> std::convert::Infallible {
        sleep(FIND_AFTER).await;
        loop {
            let _stopped = self.orders.send(Command::Find { cid }).await;
            sleep(FIND_AGAIN).await;
        }
    }

    /// Who is connected.
    pub(crate) fn connected(&self) -> Vec<PeerId> {
        lock(&self.shared.connected).iter().copied().collect()
    }

    /// Where it can be reached, each with its name at the end.
    pub(crate) fn addresses(&self) -> Vec<Multiaddr> {
        let me = self.key.public().to_peer_id();
        let addresses = lock(&self.shared.addresses).clone();
        addresses.into_iter().filter_map(|address| address.with_p2p(me).ok()).collect()
    }

    /// Connects to a peer, unless it is connected.
    ///
    /// # Errors
    /// When it does not say which peer it is, or cannot be reached.
    pub(crate) async fn connect(&self, address: &Multiaddr) -> Result<(), NetError> {
        let (rest, peer) = cluster_transport::split(address);
        let Some(peer) = peer else {
            let text = format!("{address} does not say which peer it is: it must end with /p2p/<id>");
            return Err(NetError::Closed(text));
        };
        let (reply, answer) = oneshot::channel();
        let dial = async {
            let order = Command::Connect { peer, addresses: vec![rest], reply };
            self.orders.send(order).await.map_err(|_| stopped())?;
            let dialed = answer.await.map_err(|_| stopped())?;
            dialed.map_err(|reason| NetError::Unreachable { peer, reason })
        };
        let late = || NetError::Unreachable { peer, reason: format!("it did not answer within {CONNECT_MAX:?}") };
        timeout(CONNECT_MAX, dial).await.map_err(|_| late())?
    }
}

fn stopped() -> NetError {
    NetError::Closed("the embedded IPFS node is not connected to the IPFS network".into())
}

impl Host {
    /// Gets a block of whoever is connected or found, in turn.
    ///
    /// # Errors
    /// When nobody gave it in time: try again later.
    pub(crate) async fn get(&self, cid: &Cid, purpose: Purpose) -> Result<Block, NetError> {
        let turns = match purpose {
            Purpose::Pin => &self.pins,
            Purpose::Read => &self.readers,
        };
        let _turn = turns.acquire().await.map_err(|_| stopped())?;
        let get = async {
            tokio::select! {
                biased;
                got = self.bitswap.get(cid.0) => got,
                never = self.find(*cid) => match never {},
            }
        };
        match timeout(GET_MAX, get).await {
            Ok(Ok(data)) => Ok(Block::verified(*cid, data)),
            Ok(Err(busy)) => Err(NetError::Closed(busy.to_string())),
            Err(_) => Err(NetError::NotFound(cid.to_string())),
        }
    }
}

/// What strangers are served: every block that is stored.
struct Stored(Arc<Blockstore>);

impl bitswap::Blocks for Stored {
    fn get(&self, cid: &cid::Cid) -> Option<Bytes> {
        self.0.get(cid).ok().flatten()
    }

    fn size(&self, cid: &cid::Cid) -> Option<usize> {
        self.0.size(cid).ok().flatten().and_then(|bytes| usize::try_from(bytes).ok())
    }
}

/// The streams of bitswap.
struct Streams {
    orders: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

impl bitswap::Network for Streams {
    fn peers(&self) -> BTreeSet<PeerId> {
        lock(&self.shared.speakers).clone()
    }

    fn open(&self, peer: PeerId) -> BoxFuture<'static, io::Result<(Box<dyn Link>, Version)>> {
        let (orders, shared) = (self.orders.clone(), Arc::clone(&self.shared));
        async move {
            let (stream, protocol) = open(&orders, peer).await.map_err(|error| {
                // It said that it does; whoever does not is left alone from now on.
                if matches!(error, OpenError::Unsupported(_)) {
                    lock(&shared.speakers).remove(&peer);
                }
                io::Error::other(error)
            })?;
            Ok((Box::new(stream) as Box<dyn Link>, Version::of(protocol.as_ref())))
        }
        .boxed()
    }
}

async fn open(orders: &mpsc::Sender<Command>, peer: PeerId) -> Result<(Stream, StreamProtocol), OpenError> {
    let protocols = PROTOCOLS.into_iter().map(StreamProtocol::new).collect();
    let (reply, answer) = oneshot::channel();
    let order = Command::Open { peer, protocols, reply };
    orders.send(order).await.map_err(|_| OpenError::NotConnected)?;
    answer.await.map_err(|_| OpenError::NotConnected)?
}
