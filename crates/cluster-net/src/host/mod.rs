//! The handle of the host, and its ports.

mod announcing;
mod bandwidth;
mod bind;
mod command;
mod dials;
mod driver;
mod gossip;
mod inbound;
mod keep;
mod reach;
mod routing;

use crate::addresses::{SharedBook, split};
use crate::options::{Options, Protocols, RPC_PROTOCOL};
use crate::pubsub::Topics;
use async_trait::async_trait;
use bandwidth::Rates;
use bytes::Bytes;
use cluster_component::component::Component;
use cluster_component::errors::{NetError, StartError};
use cluster_component::ports::{Accepts, BandwidthByProtocol, Duplex, Message, Network, PubSub, Topic, Wire};
use cluster_component::tasks::TaskScope;
use cluster_transport::streams::OpenError;
use cluster_types::{Multiaddr, PeerId};
use command::Command;
use driver::Driver;
use futures::stream::BoxStream;
use libp2p::swarm::{Stream, StreamProtocol};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Orders that may wait for the swarm. Those who give one wait for its answer, so that this is a bound on callers.
const COMMANDS_MAX: usize = 256;

/// How long both sides may take to agree on a protocol, once there is a connection.
const OPEN_MAX: Duration = Duration::from_secs(10);

/// Whether this host keeps connections to a peer.
type Protected = Arc<Mutex<BTreeSet<PeerId>>>;

/// What the handle and the driver share.
#[derive(Clone)]
struct Shared {
    me: PeerId,
    book: SharedBook,
    topics: Topics,
    /// What others are told.
    announced: Arc<Mutex<Vec<Multiaddr>>>,
    protected: Protected,
    rates: Arc<Rates>,
}

/// The libp2p host of a peer.
pub struct Host {
    shared: Shared,
    dial_timeout: Duration,
    commands: mpsc::Sender<Command>,
    /// Until it is started.
    driver: Mutex<Option<Driver>>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("me", &self.shared.me).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    /// Listens, but answers nobody before it is [started](Component::start). Streams that peers open are given to
    /// `protocols`.
    ///
    /// # Errors
    /// When it cannot listen on any address, or the options do not go together.
    pub async fn bind(options: &Options, protocols: Protocols) -> Result<Self, StartError> {
        let (orders, commands) = mpsc::channel(COMMANDS_MAX);
        let bound = bind::bind(options, protocols, commands).await;
        let (shared, driver) = bound.map_err(|reason| StartError { component: "libp2p host", reason })?;
        let dial_timeout = options.dial_timeout;
        Ok(Self { shared, dial_timeout, commands: orders, driver: Mutex::new(Some(driver)) })
    }

    /// Which peer it is.
    #[must_use]
    pub fn me(&self) -> PeerId {
        self.shared.me
    }

    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(order(reply)).await.map_err(|_| Unanswered::Stopped)?;
        answer.await.map_err(|_| if self.commands.is_closed() { Unanswered::Stopped } else { Unanswered::Dropped })
    }

    /// Connects to a peer at the given addresses and at those that are known.
    async fn dial(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), NetError> {
        let dial = self.order(|reply| Command::Connect { peer, addresses, reply });
        match tokio::time::timeout(self.dial_timeout, dial).await {
            Ok(Err(_)) => Err(stopped()),
            Ok(Ok(outcome)) => outcome.map_err(|reason| NetError::Unreachable { peer, reason }),
            Err(_) => {
                let reason = format!("it did not answer within {:?}", self.dial_timeout);
                Err(NetError::Unreachable { peer, reason })
            }
        }
    }

    /// Opens a stream of a protocol, connecting first where that is needed. *Cancel safety:* dropped, nothing was
    /// opened.
    ///
    /// # Errors
    /// When the peer cannot be reached, or does not speak the protocol.
    pub async fn open_stream(&self, peer: PeerId, protocol: &'static str) -> Result<Duplex, NetError> {
        Ok(self.open_any(peer, &[protocol]).await?.0)
    }

    /// As [`open_stream`](Self::open_stream), of the first of several protocols that the peer speaks; tells which.
    pub(crate) async fn open_any(
        &self,
        peer: PeerId,
        protocols: &[&'static str],
    ) -> Result<(Duplex, StreamProtocol), NetError> {
        let protocols: Vec<StreamProtocol> = protocols.iter().map(|name| StreamProtocol::new(name)).collect();
        let opening = async {
            match self.open_once(peer, protocols.clone()).await? {
                // The connection ended just then: the peer may have been started anew.
                Err(OpenError::NotConnected) => self.open_once(peer, protocols).await,
                opened => Ok(opened),
            }
        };
        match opening.await? {
            Ok((stream, protocol)) => Ok((Box::new(stream), protocol)),
            Err(OpenError::Unsupported(names)) => Err(NetError::Unsupported { peer, names }),
            Err(error) => Err(NetError::Closed(format!("no stream could be opened to {peer}: {error}"))),
        }
    }

    async fn open_once(
        &self,
        peer: PeerId,
        protocols: Vec<StreamProtocol>,
    ) -> Result<Result<(Stream, StreamProtocol), OpenError>, NetError> {
        self.dial(peer, Vec::new()).await?;
        let open = self.order(|reply| Command::Open { peer, protocols, reply });
        match tokio::time::timeout(OPEN_MAX, open).await {
            Ok(Err(Unanswered::Dropped)) => Ok(Err(OpenError::NotConnected)),
            Ok(Err(Unanswered::Stopped)) => Err(stopped()),
            Ok(Ok(opened)) => Ok(opened),
            Err(_) => Err(NetError::Closed(format!("{peer} did not agree on a protocol in time"))),
        }
    }
}

/// Why an order was not answered.
enum Unanswered {
    /// The network is not running.
    Stopped,
    /// What it was about is gone.
    Dropped,
}

fn stopped() -> NetError {
    NetError::Closed("the network is not running".into())
}

#[async_trait]
impl Component for Host {
    fn key(&self) -> &'static str {
        "libp2p"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        let Some(driver) = lock(&self.driver).take() else {
            return Err(StartError { component: "libp2p host", reason: "it was started before".into() });
        };
        tasks.spawn("libp2p", driver.run(tasks.clone()));
        Ok(())
    }

    async fn shutdown(&self) {
        // The driver ends with its scope. What was bound and never started is let go here.
        drop(lock(&self.driver).take());
    }
}

#[async_trait]
impl Wire for Host {
    async fn open(&self, to: &PeerId) -> Result<Duplex, NetError> {
        self.open_stream(*to, RPC_PROTOCOL).await
    }
}

#[async_trait]
impl PubSub for Host {
    async fn publish(&self, topic: &Topic, data: Bytes) -> Result<(), NetError> {
        self.shared.topics.deliver_own(&topic.0, &Message { from: self.shared.me, data: data.clone() });
        let topic = topic.0.clone();
        match self.order(|reply| Command::Publish { topic, data, reply }).await {
            Err(_) => Err(stopped()),
            Ok(published) => published.map_err(NetError::Closed),
        }
    }

    fn subscribe(&self, topic: &Topic, accepts: Accepts) -> BoxStream<'static, Message> {
        self.shared.topics.subscribe(topic, accepts)
    }
}

#[async_trait]
impl Network for Host {
    fn addresses(&self) -> Vec<Multiaddr> {
        lock(&self.shared.announced).clone()
    }

    fn addresses_of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        lock(&self.shared.book).addresses(peer, Instant::now())
    }

    fn connected(&self) -> BTreeSet<PeerId> {
        lock(&self.shared.book).connected().clone()
    }

    async fn connect(&self, address: &Multiaddr) -> Result<PeerId, NetError> {
        let (rest, peer) = split(address);
        let Some(peer) = peer else {
            return Err(NetError::Closed(format!(
                "{address} does not say which peer it is: it must end with /p2p/<id>"
            )));
        };
        let addresses = if rest.is_empty() { Vec::new() } else { vec![rest] };
        self.dial(peer, addresses).await?;
        Ok(peer)
    }

    async fn forget(&self, peer: &PeerId) {
        let peer = *peer;
        // A network that does not run has no connections either.
        let _stopped = self.order(|reply| Command::Forget { peer, reply }).await;
    }

    fn protect(&self, peer: &PeerId, protected: bool) {
        let mut peers = lock(&self.shared.protected);
        if protected {
            peers.insert(*peer);
        } else {
            peers.remove(peer);
        }
    }

    fn bandwidth(&self) -> BandwidthByProtocol {
        self.shared.rates.now()
    }
}
