//! Finding peers: dials, and searches for those whose addresses are not known.

use super::command::Reply;
use super::dials::Next;
use super::driver::Driver;
use super::lock;
use crate::addresses::{Kind, Lasting, kind};
use crate::dht::{self, Table};
use cluster_types::{Multiaddr, PeerId};
use libp2p::kad::{self, GetClosestPeersError, QueryResult};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, StreamProtocol};
use std::time::Instant;
use tokio::sync::oneshot;

impl Driver {
    /// Connects to a peer, here or wherever it is known to be, and tells whoever waits.
    pub(super) fn connect(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, reply: Reply<Result<(), String>>) {
        if self.swarm.is_connected(&peer) {
            let _caller_is_gone = reply.send(Ok(()));
            return;
        }
        self.dials.wait(peer, reply);
        self.dial(peer, addresses);
    }

    /// Connects to a peer for whom nobody waits.
    pub(super) fn connect_unasked(&mut self, peer: PeerId) {
        let (reply, _nobody_waits) = oneshot::channel();
        self.connect(peer, Vec::new(), reply);
    }

    fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        // With an address of its own a dial goes on beside others: they may know worse ones.
        let condition =
            if addresses.is_empty() { PeerCondition::DisconnectedAndNotDialing } else { PeerCondition::Disconnected };
        let mut tried = lock(&self.shared.book).addresses(&peer, Instant::now());
        tried.extend(addresses.iter().cloned());
        let options =
            DialOpts::peer_id(peer).addresses(addresses).extend_addresses_through_behaviour().condition(condition);
        let options = options.build();
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => self.dials.begin(peer, id, tried),
            Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.dial_failed(peer, id, &error),
        }
    }

    pub(super) fn dial_failed(&mut self, peer: PeerId, id: ConnectionId, error: &DialError) {
        let reason = cluster_transport::dial_reason(error);
        if cluster_transport::is_stranger(error) {
            let is_ours = lock(&self.shared.book).is_seen(&peer) || self.dials.is_awaited(&peer);
            self.tell_of_stranger(&peer.to_string(), &reason, is_ours);
        }
        if self.dials.failed(&peer, id, &reason) == Next::Search {
            self.search(peer);
        }
    }

    /// Asks other peers where a peer is.
    fn search(&mut self, peer: PeerId) {
        let behaviour = self.swarm.behaviour_mut();
        let mut searches = Vec::new();
        for table in [Table::Lan, Table::Wan] {
            let dht = table_of(behaviour, table);
            if dht.kbuckets().next().is_some() {
                searches.push((table, dht.get_closest_peers(peer)));
            }
        }
        let nobody_to_ask = searches.is_empty();
        self.dials.searching(&peer, searches);
        if nobody_to_ask {
            self.dials.tell_reason(&peer);
        }
    }

    pub(super) fn on_table(&mut self, table: Table, event: kad::Event) {
        let kad::Event::OutboundQueryProgressed { id, result: QueryResult::GetClosestPeers(result), step, .. } = event
        else {
            return self.dial_found();
        };
        let found = match result {
            Ok(found) => found.peers,
            Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
        };
        {
            let (mut book, now) = (lock(&self.shared.book), Instant::now());
            for peer in found {
                for address in table.addresses(&peer.addrs) {
                    book.add(peer.peer_id, address, Lasting::Rumour, now);
                }
            }
        }
        self.dial_found();
        if step.last
            && let Some(peer) = self.dials.search_ended((table, id))
        {
            self.dials.tell_reason(&peer);
        }
    }

    /// Dials those who are searched for and whose addresses have become known.
    fn dial_found(&mut self) {
        for peer in self.dials.searched() {
            let known = lock(&self.shared.book).addresses(&peer, Instant::now());
            let untried = self.dials.untried(&peer, known);
            if !untried.is_empty() {
                self.dial(peer, untried);
            }
        }
    }

    /// Notes a peer in the tables that it takes part in.
    pub(super) fn note_in_tables(&mut self, peer: PeerId, protocols: &[StreamProtocol], addresses: &[Multiaddr]) {
        // As go: the local table takes who is connected over an address of the local network.
        let near = self.standing.get(&peer).is_some_and(|standing| kind(&standing.address) != Kind::Public);
        for (table, fits) in [(Table::Lan, near), (Table::Wan, true)] {
            let dht = table_of(self.swarm.behaviour_mut(), table);
            if !protocols.contains(&table.protocol()) {
                dht.remove_peer(&peer);
                continue;
            }
            for address in table.addresses(addresses).into_iter().filter(|_| fits) {
                dht.add_address(&peer, address);
            }
        }
    }
}

fn table_of(behaviour: &mut crate::behaviour::Behaviour, table: Table) -> &mut dht::Behaviour {
    match table {
        Table::Lan => &mut behaviour.lan,
        Table::Wan => &mut behaviour.wan,
    }
}
