//! Opens streams to peers, for programs that are no peers themselves.

use super::{Behaviour, swarm};
use crate::streams::{OpenError, Opened};
use crate::{Options, TransportError, dial_reason, is_stranger};
use futures::StreamExt;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, Stream, StreamProtocol, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use libp2p_identity::Keypair;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Orders that may wait. Those who give one wait for its answer, so that this is a bound on callers.
const ORDERS_MAX: usize = 64;

/// How long a stream may take, with the connection below it.
const OPEN_MAX: Duration = Duration::from_secs(30);

/// What a [`Caller`] is made with. Its name is made up anew each time.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallerOptions {
    /// What those share whom it talks to; `None`: they take anybody.
    pub secret: Option<[u8; 32]>,
}

/// Why a stream was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer cannot be reached, for this reason.
    #[error("{0}")]
    Unreachable(String),
    /// There is somebody, who has another secret or none.
    #[error(
        "failed to negotiate security protocol: the peer has another secret, or none: give its cluster.secret, or none \
             if its API has a libp2p host of its own ({0})"
    )]
    OtherSecret(String),
    /// The peer does not speak the protocol, which is named.
    #[error("failed to negotiate protocol: protocols not supported: [{0}]")]
    Unsupported(String),
}

struct Order {
    peer: PeerId,
    addresses: Vec<Multiaddr>,
    protocol: StreamProtocol,
    opened: oneshot::Sender<Result<Stream, CallError>>,
}

/// Opens streams. Clones share their connections, which end with the last of them.
#[derive(Clone)]
pub struct Caller {
    orders: mpsc::Sender<Order>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

impl Caller {
    /// Starts the task that holds the connections, on the present runtime. It ends with the last clone.
    ///
    /// # Errors
    /// When names cannot be resolved on this system.
    pub fn start(options: &CallerOptions) -> Result<Self, TransportError> {
        let with = Options { secret: options.secret, ..Options::default() };
        let swarm = swarm(&Keypair::generate_ed25519(), &with, Vec::new())?;
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        // Ends when the last sender is dropped.
        drop(tokio::spawn(Driver { swarm, waiting: BTreeMap::new() }.run(received)));
        Ok(Self { orders })
    }

    /// Opens a stream, connecting at one of these addresses first where that is needed. *Cancel safety:* dropped, nothing
    /// was opened.
    ///
    /// # Errors
    /// When the peer cannot be reached, or does not speak the protocol.
    pub async fn open(
        &self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        protocol: &'static str,
    ) -> Result<Stream, CallError> {
        let (opened, answer) = oneshot::channel();
        let order = Order { peer, addresses, protocol: StreamProtocol::new(protocol), opened };
        let gone = || CallError::Unreachable("the connection ended".into());
        let opening = async {
            self.orders.send(order).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        let late = || CallError::Unreachable(format!("{peer} did not answer within {OPEN_MAX:?}"));
        tokio::time::timeout(OPEN_MAX, opening).await.map_err(|_| late())?
    }
}

struct Driver {
    swarm: Swarm<Behaviour>,
    /// Who waits for a connection.
    waiting: BTreeMap<PeerId, Vec<Order>>,
}

impl Driver {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            // What is ours first, which is little.
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        }
    }

    fn obey(&mut self, order: Order) {
        let peer = order.peer;
        if self.swarm.is_connected(&peer) {
            return self.open(order);
        }
        let dial = DialOpts::peer_id(peer)
            .addresses(order.addresses.clone())
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .build();
        self.waiting.entry(peer).or_default().push(order);
        match self.swarm.dial(dial) {
            // It is being dialed for somebody else.
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.fail(peer, &error),
        }
    }

    fn open(&mut self, Order { peer, protocol, opened, .. }: Order) {
        let (reply, answer): (Opened, _) = oneshot::channel();
        self.swarm.behaviour_mut().streams.open(peer, vec![protocol], reply);
        drop(tokio::spawn(async move {
            let outcome = match answer.await {
                Ok(Ok((stream, _))) => Ok(stream),
                Ok(Err(OpenError::Unsupported(names))) => Err(CallError::Unsupported(names)),
                Ok(Err(error)) => Err(CallError::Unreachable(error.to_string())),
                Err(_) => Err(CallError::Unreachable("the connection ended".into())),
            };
            let _caller_is_gone = opened.send(outcome);
        }));
    }

    fn fail(&mut self, peer: PeerId, error: &DialError) {
        let reason = dial_reason(error);
        let stranger = is_stranger(error);
        for order in self.waiting.remove(&peer).into_iter().flatten() {
            let reason = reason.clone();
            let error = if stranger { CallError::OtherSecret(reason) } else { CallError::Unreachable(reason) };
            let _caller_is_gone = order.opened.send(Err(error));
        }
    }

    fn on_event<E>(&mut self, event: SwarmEvent<E>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                for order in self.waiting.remove(&peer_id).into_iter().flatten() {
                    self.open(order);
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => self.fail(peer, &error),
            _ => {}
        }
    }
}
