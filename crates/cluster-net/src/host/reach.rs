//! From where we can be reached, and what follows: who can be reached from everywhere answers searches and relays for
//! others; who cannot asks others to relay for it.

use super::driver::Driver;
use crate::addresses::is_relayed;
use crate::options::Reachability;
use cluster_types::PeerId;
use libp2p::autonat::v1::{Event, NatStatus};
use libp2p::kad::Mode;
use libp2p::multiaddr::Protocol;
use libp2p::{dcutr, relay};

/// Peers that relay for us at a time, as the reference.
const RELAYS_MAX: usize = 2;

impl Driver {
    pub(super) fn on_autonat(&mut self, event: Event) {
        let Event::StatusChanged { new, .. } = event else { return };
        let reachability = match new {
            NatStatus::Public(_) => Reachability::Public,
            NatStatus::Private => Reachability::Private,
            NatStatus::Unknown => return,
        };
        tracing::info!(?reachability, "others say from where this peer can be reached");
        // What an operator of the library forced stays.
        if !self.reachability_is_forced {
            self.set_reachability(reachability);
        }
    }

    pub(super) fn set_reachability(&mut self, reachability: Reachability) {
        self.reachability = Some(reachability);
        let public = reachability == Reachability::Public;
        let behaviour = self.swarm.behaviour_mut();
        behaviour.wan.set_mode(Some(if public { Mode::Server } else { Mode::Client }));
        if let Some(relay) = behaviour.relay.as_mut() {
            relay.set_status(Some(if public { relay::Status::Enable } else { relay::Status::Disable }));
        }
        if public {
            for listener in std::mem::take(&mut self.relays).into_keys() {
                self.swarm.remove_listener(listener);
            }
        }
        let peers: Vec<PeerId> = self.standing.keys().copied().collect();
        for peer in peers {
            self.reserve_at(peer);
        }
    }

    /// Asks a peer to relay for us, if it does that and we need it.
    pub(super) fn reserve_at(&mut self, peer: PeerId) {
        let Some(standing) = self.standing.get(&peer).filter(|standing| standing.relays) else { return };
        let needed = self.reachability == Some(Reachability::Private) && self.relays.len() < RELAYS_MAX;
        if !needed || is_relayed(&standing.address) || self.relays.values().any(|relay| *relay == peer) {
            return;
        }
        let relay = crate::addresses::split(&standing.address).0.with(Protocol::P2p(peer));
        match self.swarm.listen_on(relay.with(Protocol::P2pCircuit)) {
            Ok(listener) => drop(self.relays.insert(listener, peer)),
            Err(error) => tracing::debug!(%peer, %error, "it does not relay for this peer"),
        }
    }

    pub(super) fn on_relay(&self, event: &relay::client::Event) {
        match event {
            relay::client::Event::ReservationReqAccepted { relay_peer_id, renewal: false, .. } => {
                tracing::info!(peer = %relay_peer_id, "it relays for this peer");
            }
            event => tracing::debug!(?event, "relayed"),
        }
    }

    pub(super) fn on_hole_punch(&self, dcutr::Event { remote_peer_id, result }: &dcutr::Event) {
        match result {
            Ok(_) => tracing::debug!(peer = %remote_peer_id, "now connected without a relay"),
            Err(error) => tracing::debug!(peer = %remote_peer_id, %error, "still connected through a relay"),
        }
    }
}
