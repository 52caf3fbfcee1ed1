//! What others are told of where we are, and what they tell us of themselves.

use super::driver::Driver;
use super::lock;
use crate::addresses::{Lasting, is_relayed};
use cluster_types::{Multiaddr, PeerId};
use libp2p::identify;
use std::time::Instant;

/// Addresses where others have seen us that are kept: with a port of our own there are few.
const OBSERVED_MAX: usize = 8;

impl Driver {
    /// Tells others what they shall be told.
    pub(super) fn tell_addresses(&mut self) {
        let own: Vec<Multiaddr> = self.swarm.listeners().chain(&self.observed).cloned().collect();
        let wanted = self.announce.choose(own);
        let told: Vec<Multiaddr> = self.swarm.external_addresses().cloned().collect();
        for address in told.iter().filter(|address| !wanted.contains(address)) {
            self.swarm.remove_external_address(address);
        }
        let new: Vec<&Multiaddr> = wanted.iter().filter(|address| !told.contains(address)).collect();
        for address in &new {
            self.swarm.add_external_address((*address).clone());
        }
        if !new.is_empty() {
            let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
            self.swarm.behaviour_mut().identify.push(peers);
        }
        lock(&self.shared.announced).clone_from(&wanted);
        self.mdns.announce(&wanted);
    }

    /// As the reference, which is told to believe the first peer who says where it sees us.
    pub(super) fn on_observed(&mut self, address: Multiaddr) {
        if !is_relayed(&address) && !self.observed.contains(&address) && self.observed.len() < OBSERVED_MAX {
            self.observed.push(address);
            self.tell_addresses();
        }
    }

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let (identify::Event::Received { peer_id, info, .. } | identify::Event::Pushed { peer_id, info, .. }) = event
        else {
            return;
        };
        tracing::debug!(peer = %peer_id, agent = info.agent_version, "identified");
        {
            let (mut book, now) = (lock(&self.shared.book), Instant::now());
            for address in &info.listen_addrs {
                book.add(peer_id, address.clone(), Lasting::Seen, now);
            }
        }
        self.note_in_tables(peer_id, &info.protocols, &info.listen_addrs);
        self.note_standing(peer_id, &info.protocols);
        self.reserve_at(peer_id);
    }
}
