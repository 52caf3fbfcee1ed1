//! What the driver does with the table of who has what.

use super::dht;
use super::driver::Driver;
use cluster_types::{Cid, Multiaddr, PeerId};
use libp2p::kad::{self, GetClosestPeersError, GetProvidersOk, QueryId, QueryResult, RecordKey};
use libp2p::swarm::DialError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use tokio::sync::oneshot;

/// What the table knows a block by: as Kubo, whatever codec its name says.
fn key(cid: &Cid) -> RecordKey {
    RecordKey::new(&cid.hash().to_bytes())
}

impl Driver {
    fn table(&mut self) -> Option<&mut dht::Behaviour> {
        self.swarm.behaviour_mut().dht.as_mut()
    }

    /// Whether anybody can be asked.
    pub(super) fn is_in_table(&mut self) -> bool {
        self.table().is_some_and(|table| table.kbuckets().next().is_some())
    }

    /// Notes a peer that answers at these addresses, or that it does not.
    pub(super) fn note_in_table(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        let was_in_table = self.is_in_table();
        let Some(table) = self.table() else { return };
        if addresses.is_empty() {
            table.remove_peer(&peer);
        }
        for address in addresses {
            table.add_address(&peer, address.clone());
        }
        let is_in_table = self.is_in_table();
        if is_in_table && !was_in_table {
            let _somebody_is_known = self.table().map(kad::Behaviour::bootstrap);
        }
        self.shared.known.send_if_modified(|known| std::mem::replace(known, is_in_table) != is_in_table);
    }

    /// Looks for others who have a block; they are connected to as they are found.
    pub(super) fn find(&mut self, cid: Cid) {
        let key = key(&cid);
        if !self.questions.may_find(&key) || !self.is_in_table() {
            return;
        }
        if let Some(table) = self.table() {
            let id = table.get_providers(key.clone());
            self.questions.find(id, key);
        }
    }

    /// Tells others that a block is here.
    pub(super) fn provide(&mut self, cid: Cid, reply: oneshot::Sender<Result<(), String>>) {
        let begun = if self.is_in_table() {
            let begun = self.table().map(|table| table.start_providing(key(&cid)).map_err(|error| error.to_string()));
            begun.unwrap_or_else(|| Err("the node has no part in the DHT".into()))
        } else {
            Err("nobody is known who could be told".into())
        };
        match begun {
            Ok(id) => drop(self.questions.provides.insert(id, reply)),
            Err(error) => {
                let _caller_is_gone = reply.send(Err(error));
            }
        }
    }

    pub(super) fn on_table(&mut self, event: kad::Event) {
        let kad::Event::OutboundQueryProgressed { id, result, step, .. } = event else { return };
        match result {
            QueryResult::GetProviders(result) => {
                if let Ok(GetProvidersOk::FoundProviders { providers, .. }) = result {
                    self.found(id, providers);
                }
                if step.last {
                    self.questions.find_ended(id);
                }
            }
            QueryResult::GetClosestPeers(result) => {
                let Some(peer) = self.questions.routes.remove(&id) else { return };
                let peers = match result {
                    Ok(found) => found.peers,
                    Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                if let Some(found) = peers.into_iter().find(|found| found.peer_id == peer) {
                    let _not_there = self.dial(peer, found.addrs);
                }
            }
            QueryResult::StartProviding(result) => {
                let (key, outcome) = match result {
                    Ok(told) => (told.key, Ok(())),
                    Err(error) => (error.key().clone(), Err(error.to_string())),
                };
                // What is here is told of by our own rounds, and is no record of ours meanwhile.
                if let Some(table) = self.table() {
                    table.stop_providing(&key);
                }
                if let Some(reply) = self.questions.provides.remove(&id) {
                    let _caller_is_gone = reply.send(outcome);
                }
            }
            _ => {}
        }
    }

    /// Some were found who say that they have a block: they are connected to, and asked for it then.
    fn found(&mut self, id: QueryId, holders: impl IntoIterator<Item = PeerId>) {
        let me = *self.swarm.local_peer_id();
        let (new, enough) = self.questions.found(id, holders.into_iter().filter(|holder| *holder != me));
        for holder in new {
            // The question still knows where they are.
            if let Err(DialError::NoAddresses) = self.dial(holder, Vec::new())
                && self.questions.may_route(&holder)
                && let Some(table) = self.table()
            {
                let id = table.get_closest_peers(holder);
                self.questions.routes.insert(id, holder);
            }
        }
        if enough && let Some(mut question) = self.table().and_then(|table| table.query_mut(&id)) {
            question.finish();
        }
    }

    fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), DialError> {
        let options = DialOpts::peer_id(peer)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .condition(PeerCondition::DisconnectedAndNotDialing);
        self.swarm.dial(options.build())
    }
}
