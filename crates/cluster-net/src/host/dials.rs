//! Dials under way, and who waits for them.

use super::command::Reply;
use crate::dht::Table;
use cluster_types::{Multiaddr, PeerId};
use libp2p::kad::QueryId;
use libp2p::swarm::ConnectionId;
use std::collections::{BTreeMap, BTreeSet};

/// A search for a peer.
pub(super) type Search = (Table, QueryId);

/// Dials under way, by peer.
#[derive(Default)]
pub(super) struct Dials(BTreeMap<PeerId, Dial>);

#[derive(Default)]
struct Dial {
    waiting: Vec<Reply<Result<(), String>>>,
    under_way: BTreeSet<ConnectionId>,
    tried: BTreeSet<Multiaddr>,
    /// Searches for addresses; `None`: there was none yet.
    searches: Option<Vec<Search>>,
    /// Why the last one failed.
    reason: String,
}

/// What is to be done when a dial failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another is under way, or everybody was told.
    Nothing,
    /// Other peers may know where it is.
    Search,
}

impl Dials {
    /// Somebody waits for a peer.
    pub(super) fn wait(&mut self, peer: PeerId, reply: Reply<Result<(), String>>) {
        let dial = self.0.entry(peer).or_default();
        // Those who gave up make room for others.
        dial.waiting.retain(|waiting| !waiting.is_closed());
        dial.waiting.push(reply);
    }

    /// Whether somebody still waits for a peer.
    pub(super) fn is_awaited(&self, peer: &PeerId) -> bool {
        self.0.get(peer).is_some_and(|dial| dial.waiting.iter().any(|waiting| !waiting.is_closed()))
    }

    /// A dial to these addresses begins.
    pub(super) fn begin(&mut self, peer: PeerId, id: ConnectionId, tried: Vec<Multiaddr>) {
        let dial = self.0.entry(peer).or_default();
        dial.under_way.insert(id);
        dial.tried.extend(tried);
    }

    /// The peer is there: everybody is told.
    pub(super) fn connected(&mut self, peer: &PeerId) {
        self.tell(peer, Ok(()));
    }

    /// A dial failed. When it was the last one, and other peers have been asked, everybody is told.
    pub(super) fn failed(&mut self, peer: &PeerId, id: ConnectionId, reason: &str) -> Next {
        let Some(dial) = self.0.get_mut(peer) else { return Next::Nothing };
        dial.under_way.remove(&id);
        reason.clone_into(&mut dial.reason);
        match &dial.searches {
            _ if !dial.under_way.is_empty() => Next::Nothing,
            None => Next::Search,
            Some(searches) => {
                if searches.is_empty() {
                    self.tell_reason(peer);
                }
                Next::Nothing
            }
        }
    }

    /// Other peers are being asked.
    pub(super) fn searching(&mut self, peer: &PeerId, searches: Vec<Search>) {
        if let Some(dial) = self.0.get_mut(peer) {
            dial.searches = Some(searches);
        }
    }

    /// Who is searched for.
    pub(super) fn searched(&self) -> Vec<PeerId> {
        let searching = |dial: &Dial| dial.searches.as_ref().is_some_and(|searches| !searches.is_empty());
        self.0.iter().filter(|(_, dial)| searching(dial)).map(|(peer, _)| *peer).collect()
    }

    /// Of these addresses, those that were not tried before.
    pub(super) fn untried(&self, peer: &PeerId, known: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let tried = self.0.get(peer).map(|dial| &dial.tried);
        known.into_iter().filter(|address| tried.is_none_or(|tried| !tried.contains(address))).collect()
    }

    /// A search ended; returns for whom, when it was the last one and no dial is under way.
    pub(super) fn search_ended(&mut self, search: Search) -> Option<PeerId> {
        let (peer, dial) = self.0.iter_mut().find(|(_, dial)| dial.searches.iter().flatten().any(|s| *s == search))?;
        let searches = dial.searches.as_mut()?;
        searches.retain(|other| *other != search);
        (searches.is_empty() && dial.under_way.is_empty()).then_some(*peer)
    }

    /// Nobody knows where it is, or it is not there: everybody is told.
    pub(super) fn tell_reason(&mut self, peer: &PeerId) {
        let reason = self.0.get(peer).map(|dial| dial.reason.clone()).unwrap_or_default();
        self.tell(peer, Err(reason));
    }

    fn tell(&mut self, peer: &PeerId, outcome: Result<(), String>) {
        for waiting in self.0.remove(peer).into_iter().flat_map(|dial| dial.waiting) {
            let _caller_is_gone = waiting.send(outcome.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::sync::oneshot;

    #[test]
    fn everybody_is_told_when_the_last_dial_failed_and_nobody_knows_more() {
        let (mut dials, peer) = (Dials::default(), PeerId::random());
        let ids = [ConnectionId::new_unchecked(0), ConnectionId::new_unchecked(1)];
        let answers: Vec<_> = ids
            .iter()
            .map(|id| {
                let (reply, answer) = oneshot::channel();
                dials.wait(peer, reply);
                dials.begin(peer, *id, Vec::new());
                answer
            })
            .collect();

        assert_eq!(dials.failed(&peer, ids[0], "one"), Next::Nothing);
        assert_eq!(dials.failed(&peer, ids[1], "two"), Next::Search);
        dials.searching(&peer, Vec::new());
        assert_eq!(dials.failed(&peer, ids[1], "three"), Next::Nothing);

        for answer in answers {
            assert_eq!(answer.now_or_never(), Some(Ok(Err("three".to_owned()))));
        }
    }
}
