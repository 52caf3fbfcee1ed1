//! Streams of bytes for protocols that live outside of the swarm: opened on request, handed out when others open them.
//!
//! `libp2p-stream` does the same with one negotiation at a time for each connection and drops streams that come in
//! while its only slot is taken; calls between peers come in bursts.

use futures::future::{Ready, ready};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long both sides may take to agree on a protocol.
const NEGOTIATION_MAX: Duration = Duration::from_secs(10);

/// Why a stream was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is no connection to the peer.
    #[error("there is no connection")]
    NotConnected,
    /// The peer speaks none of the protocols, which are named.
    #[error("the peer does not speak {0}")]
    Unsupported(String),
    /// The connection failed, for this reason.
    #[error("{0}")]
    Io(String),
}

/// Who waits for a stream.
pub type Opened = oneshot::Sender<Result<(Stream, StreamProtocol), OpenError>>;

/// A stream that is to be opened.
pub struct Request {
    /// Any of these, the best first.
    protocols: Vec<StreamProtocol>,
    opened: Opened,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("protocols", &self.protocols).finish_non_exhaustive()
    }
}

/// A stream that somebody opened.
pub struct Inbound {
    /// By whom.
    pub peer: PeerId,
    /// Of which protocol.
    pub protocol: StreamProtocol,
    /// The stream.
    pub stream: Stream,
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").field("peer", &self.peer).field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// The part of the swarm.
#[allow(missing_debug_implementations)] // A part of a swarm is not shown.
pub struct Behaviour {
    protocols: Vec<StreamProtocol>,
    /// Connections of each peer, and whether they are relayed, in which case they are the last choice.
    connections: BTreeMap<PeerId, Vec<(ConnectionId, bool)>>,
    events: VecDeque<ToSwarm<Inbound, Request>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Takes streams of these protocols.
    #[must_use]
    pub fn new(protocols: Vec<StreamProtocol>) -> Self {
        Self { protocols, connections: BTreeMap::new(), events: VecDeque::new(), waker: None }
    }

    /// Opens a stream on a connection that is there.
    pub fn open(&mut self, peer: PeerId, protocols: Vec<StreamProtocol>, opened: Opened) {
        let connections = self.connections.get(&peer).map_or(&[][..], Vec::as_slice);
        let Some((connection, _)) = connections.iter().min_by_key(|(_, relayed)| *relayed) else {
            let _caller_is_gone = opened.send(Err(OpenError::NotConnected));
            return;
        };
        let event = Request { protocols, opened };
        let handler = NotifyHandler::One(*connection);
        self.events.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn handler(&mut self, id: ConnectionId, peer: PeerId, address: &Multiaddr) -> Handler {
        let connections = self.connections.entry(peer).or_default();
        connections.push((id, crate::address::is_relayed(address)));
        Handler { protocols: self.protocols.clone(), requests: VecDeque::new(), inbound: VecDeque::new() }
    }

    fn forget(&mut self, peer: PeerId, id: ConnectionId) {
        if let Some(connections) = self.connections.get_mut(&peer) {
            connections.retain(|(connection, _)| *connection != id);
            if connections.is_empty() {
                self.connections.remove(&peer);
            }
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Inbound;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(id, peer, local))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(id, peer, address))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.forget(peer_id, connection_id);
            }
            // Another part of the swarm may refuse a connection after this one made its handler.
            FromSwarm::DialFailure(failure) => {
                if let Some(peer) = failure.peer_id {
                    self.forget(peer, failure.connection_id);
                }
            }
            FromSwarm::ListenFailure(failure) => {
                if let Some(peer) = failure.peer_id {
                    self.forget(peer, failure.connection_id);
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        _connection: ConnectionId,
        (stream, protocol): THandlerOutEvent<Self>,
    ) {
        self.events.push_back(ToSwarm::GenerateEvent(Inbound { peer, protocol, stream }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Inbound, THandlerInEvent<Self>>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The part of a connection.
#[allow(missing_debug_implementations)] // As above.
pub struct Handler {
    protocols: Vec<StreamProtocol>,
    requests: VecDeque<Request>,
    inbound: VecDeque<(Stream, StreamProtocol)>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Request;
    type ToBehaviour = (Stream, StreamProtocol);
    type InboundProtocol = Negotiate;
    type OutboundProtocol = Negotiate;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = (String, Opened);

    fn listen_protocol(&self) -> SubstreamProtocol<Negotiate> {
        SubstreamProtocol::new(Negotiate(self.protocols.clone()), ()).with_timeout(NEGOTIATION_MAX)
    }

    fn poll(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Negotiate, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if let Some(stream) = self.inbound.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(stream));
        }
        while let Some(Request { protocols, opened }) = self.requests.pop_front() {
            if opened.is_closed() {
                continue;
            }
            let names = protocols.iter().map(StreamProtocol::as_ref).collect::<Vec<_>>().join(", ");
            let info = (names, opened);
            let protocol = SubstreamProtocol::new(Negotiate(protocols), info).with_timeout(NEGOTIATION_MAX);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Negotiate, Negotiate, (), Self::OutboundOpenInfo>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                self.inbound.push_back(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: (_, opened),
            }) => {
                // A stream that nobody waits for any more is dropped, which resets it.
                drop(opened.send(Ok(stream)));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: (protocol, opened), error }) => {
                let _caller_is_gone = opened.send(Err(failed(protocol, error)));
            }
            _ => {}
        }
    }
}

fn failed(protocol: String, error: StreamUpgradeError<Infallible>) -> OpenError {
    match error {
        StreamUpgradeError::NegotiationFailed => OpenError::Unsupported(protocol),
        StreamUpgradeError::Timeout => OpenError::Io(format!("timed out while agreeing on {protocol}")),
        StreamUpgradeError::Io(error) => OpenError::Io(error.to_string()),
        StreamUpgradeError::Apply(never) => match never {},
    }
}

/// Agrees on one of these protocols and leaves the stream as it is.
#[derive(Debug)]
pub struct Negotiate(Vec<StreamProtocol>);

impl UpgradeInfo for Negotiate {
    type Info = StreamProtocol;
    type InfoIter = Vec<StreamProtocol>;

    fn protocol_info(&self) -> Vec<StreamProtocol> {
        self.0.clone()
    }
}

impl InboundUpgrade<Stream> for Negotiate {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Negotiate {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
