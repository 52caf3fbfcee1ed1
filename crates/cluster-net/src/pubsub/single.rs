//! Lets gossipsub speak to a peer over one connection at a time, and listen on all.
//!
//! When two peers dial each other at the same moment there are two connections. The library lets both take messages
//! from the peer's queue, each over a stream of its own; the reference reads the newest stream and resets the other,
//! and what was on its way there, such as what we listen to, is lost for as long as the peers stay connected.

use super::turns::Turns;
use futures::FutureExt;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::handler::ConnectionEvent;
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// How often a connection whose turn it is looks for something to say while it has no stream: the library does not
/// wake it.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A behaviour whose handlers open streams on one connection of each peer.
pub(crate) struct Single<B> {
    inner: B,
    turns: Turns,
}

impl<B> Single<B> {
    pub(super) fn new(inner: B) -> Self {
        Self { inner, turns: Turns::default() }
    }
}

impl<B> Deref for Single<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<B> DerefMut for Single<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<B: NetworkBehaviour> Single<B> {
    fn handler(&self, peer: PeerId, id: ConnectionId, inner: THandler<B>) -> Handler<THandler<B>> {
        self.turns.enter(peer, id);
        Handler { inner, peer, id, turns: self.turns.clone(), held: None, is_open: false, look: None }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Single<B> {
    type ConnectionHandler = Handler<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_inbound_connection(id, peer, local, remote)?;
        Ok(self.handler(peer, id, inner))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_outbound_connection(id, peer, address, role, port_use)?;
        Ok(self.handler(peer, id, inner))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.turns.leave(*peer_id, *connection_id);
            }
            // Another part of the swarm may refuse a connection after this one made its handler.
            FromSwarm::DialFailure(failure) => {
                failure.peer_id.iter().for_each(|peer| self.turns.leave(*peer, failure.connection_id));
            }
            FromSwarm::ListenFailure(failure) => {
                failure.peer_id.iter().for_each(|peer| self.turns.leave(*peer, failure.connection_id));
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

/// A handler whose wish to open a stream is granted when its turn has come. Without a stream it takes no messages.
pub(crate) struct Handler<H: ConnectionHandler> {
    inner: H,
    peer: PeerId,
    id: ConnectionId,
    turns: Turns,
    /// The wish.
    held: Option<SubstreamProtocol<H::OutboundProtocol, H::OutboundOpenInfo>>,
    /// Whether there is a stream, or one is being opened.
    is_open: bool,
    look: Option<Pin<Box<Sleep>>>,
}

type HandlerEvent<H> = ConnectionHandlerEvent<
    <H as ConnectionHandler>::OutboundProtocol,
    <H as ConnectionHandler>::OutboundOpenInfo,
    <H as ConnectionHandler>::ToBehaviour,
>;

impl<H: ConnectionHandler> Handler<H> {
    fn open(&mut self, protocol: SubstreamProtocol<H::OutboundProtocol, H::OutboundOpenInfo>) -> Poll<HandlerEvent<H>> {
        self.is_open = true;
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    /// Comes back in a while when there may be something to say that nobody tells of.
    fn look_again(&mut self, cx: &mut Context<'_>) {
        if self.is_open {
            self.look = None;
            return;
        }
        let look = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK_EVERY)));
        while look.poll_unpin(cx).is_ready() {
            look.set(tokio::time::sleep(LOOK_EVERY));
        }
    }
}

impl<H: ConnectionHandler> ConnectionHandler for Handler<H> {
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = H::InboundProtocol;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        self.inner.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<HandlerEvent<H>> {
        let is_turn = self.turns.is_turn_of(&self.peer, self.id, cx.waker());
        if is_turn && let Some(protocol) = self.held.take() {
            return self.open(protocol);
        }
        let mut event = self.inner.poll(cx);
        if !is_turn && let Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol }) = event {
            self.held = Some(protocol);
            event = self.inner.poll(cx);
        }
        match event {
            Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol }) => self.open(protocol),
            Poll::Pending if is_turn => {
                self.look_again(cx);
                Poll::Pending
            }
            event => event,
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(cx)
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        if matches!(event, ConnectionEvent::DialUpgradeError(_)) {
            self.is_open = false;
        }
        self.inner.on_connection_event(event);
    }
}
