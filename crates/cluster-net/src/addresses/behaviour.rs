//! The part of the swarm that knows where peers are, so that any other part can dial them by name.

use super::{Lasting, SharedBook};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NewExternalAddrOfPeer, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::convert::Infallible;
use std::sync::{MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

/// Fills the book from what the swarm sees, and answers dials from it.
pub(crate) struct Behaviour(SharedBook);

impl Behaviour {
    pub(crate) fn new(book: SharedBook) -> Self {
        Self(book)
    }

    fn book(&self) -> MutexGuard<'_, super::Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_outbound_connection(
        &mut self,
        _id: ConnectionId,
        peer: Option<PeerId>,
        _addresses: &[Multiaddr],
        _role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        Ok(peer.map(|peer| self.book().addresses(&peer, Instant::now())).unwrap_or_default())
    }

    fn handle_established_inbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let now = Instant::now();
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                let mut book = self.book();
                book.set_connected(established.peer_id, true, now);
                if established.endpoint.is_dialer() {
                    let address = established.endpoint.get_remote_address().clone();
                    book.add(established.peer_id, address, Lasting::Seen, now);
                }
            }
            FromSwarm::ConnectionClosed(closed) if closed.remaining_established == 0 => {
                self.book().set_connected(closed.peer_id, false, now);
            }
            FromSwarm::NewExternalAddrOfPeer(NewExternalAddrOfPeer { peer_id, addr }) => {
                self.book().add(peer_id, addr.clone(), Lasting::Rumour, now);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
