//! Keeping a cluster together: known peers are dialed while there are few, and connections ended when there are many.

use super::driver::Driver;
use super::lock;
use crate::addresses::is_relayed;
use crate::options::{Connections, RPC_PROTOCOL};
use cluster_types::{Multiaddr, PeerId};
use libp2p::relay::HOP_PROTOCOL_NAME;
use libp2p::swarm::StreamProtocol;
use libp2p::swarm::dial_opts::DialOpts;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How often known peers are dialed, as the reference.
pub(super) const DIAL_EVERY: Duration = Duration::from_secs(30);

/// Peers that are dialed at a time.
const DIALED_AT_A_TIME: usize = 16;

/// What is known of a connected peer.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// When it was connected.
    pub(super) since: Instant,
    /// Over which address.
    pub(super) address: Multiaddr,
    /// Whether it speaks our protocol.
    pub(super) member: bool,
    /// Whether it relays.
    pub(super) relays: bool,
}

impl Standing {
    pub(super) fn new(address: Multiaddr, now: Instant) -> Self {
        Self { since: now, address, member: false, relays: false }
    }
}

impl Driver {
    /// Dials known peers while fewer than the low mark are connected, those that an operator wrote down first.
    pub(super) fn gather(&mut self) {
        let known = lock(&self.shared.book).by_priority(Instant::now());
        let room = self.connections.low_water.saturating_sub(self.standing.len()).min(DIALED_AT_A_TIME);
        let missing: Vec<PeerId> =
            known.into_iter().map(|(peer, _)| peer).filter(|peer| !self.standing.contains_key(peer)).collect();
        if self.standing.is_empty() {
            // Whoever answers there brings the others.
            for address in self.unnamed.clone() {
                let options = DialOpts::unknown_peer_id().address(address.clone()).build();
                if let Err(error) = self.swarm.dial(options) {
                    tracing::debug!(%address, %error, "not dialed");
                }
            }
        }
        // The next ones each time, so that none is left out when many are away.
        let begin = if missing.is_empty() { 0 } else { self.gathered % missing.len() };
        self.gathered = self.gathered.wrapping_add(room);
        for at in 0..room.min(missing.len()) {
            self.connect_unasked(missing[(begin + at) % missing.len()]);
        }
    }

    /// Ends connections when there are too many.
    pub(super) fn trim(&mut self) {
        let leaving = {
            let protected = lock(&self.shared.protected);
            let peers = self.standing.iter().map(|(peer, standing)| (*peer, standing.clone())).collect();
            chosen(peers, &protected, self.connections, Instant::now())
        };
        for peer in leaving {
            tracing::debug!(%peer, "its connections are ended: there are too many");
            let _ended_by_itself = self.swarm.disconnect_peer_id(peer);
        }
    }

    pub(super) fn note_standing(&mut self, peer: PeerId, protocols: &[StreamProtocol]) {
        if let Some(standing) = self.standing.get_mut(&peer) {
            standing.member = protocols.contains(&StreamProtocol::new(RPC_PROTOCOL));
            standing.relays = protocols.contains(&HOP_PROTOCOL_NAME);
        }
    }
}

/// Whose connections are ended: down to the low mark once the high one is passed, none that is young or protected;
/// first relayed ones, then those of peers that are no members, then the youngest.
fn chosen(
    mut peers: Vec<(PeerId, Standing)>,
    protected: &BTreeSet<PeerId>,
    marks: Connections,
    now: Instant,
) -> Vec<PeerId> {
    if peers.len() <= marks.high_water {
        return Vec::new();
    }
    let surplus = peers.len() - marks.low_water;
    let old = |standing: &Standing| now.saturating_duration_since(standing.since) > marks.grace;
    peers.retain(|(peer, standing)| old(standing) && !protected.contains(peer));
    let worth = |standing: &Standing| (!is_relayed(&standing.address), standing.member);
    peers.sort_by(|(_, one), (_, other)| worth(one).cmp(&worth(other)).then(other.since.cmp(&one.since)));
    peers.into_iter().take(surplus).map(|(peer, _)| peer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Connections = Connections { high_water: 4, low_water: 2, grace: Duration::from_secs(60) };

    fn peer(now: Instant, age: u64, address: &str, member: bool) -> (PeerId, Standing) {
        let since = now.checked_sub(Duration::from_secs(age)).expect("the machine has run for a while");
        let address = address.parse().expect("address");
        (PeerId::random(), Standing { since, address, member, relays: false })
    }

    #[test]
    fn the_least_useful_go_first_and_none_that_is_young_or_protected() {
        let now = Instant::now() + Duration::from_secs(3600);
        let direct = "/ip4/1.2.3.4/tcp/1";
        let relayed = format!("/ip4/1.2.3.4/tcp/1/p2p/{}/p2p-circuit", PeerId::random());
        let (young, guarded) = (peer(now, 10, direct, false), peer(now, 100, &relayed, false));
        let (old, older) = (peer(now, 200, direct, true), peer(now, 300, direct, true));
        let (stranger, through) = (peer(now, 900, direct, false), peer(now, 900, &relayed, true));
        let all = vec![old.clone(), young, through.clone(), guarded.clone(), older, stranger.clone()];

        let leaving = chosen(all, &BTreeSet::from([guarded.0]), MARKS, now);

        assert_eq!(leaving, [through.0, stranger.0, old.0, leaving[3]]);
    }

    #[test]
    fn nobody_leaves_below_the_high_mark() {
        let now = Instant::now() + Duration::from_secs(3600);
        let all: Vec<_> = (0..4).map(|_| peer(now, 100, "/ip4/1.2.3.4/tcp/1", true)).collect();
        assert_eq!(chosen(all, &BTreeSet::new(), MARKS, now), []);
    }
}
