//! The book of addresses: plain data with a bound.

use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Peers that are known at most; the reference keeps all. When there are more, those that would be forgotten first are.
const PEERS_MAX: usize = 4_096;

/// Addresses of one peer that are known at most.
const ADDRESSES_MAX: usize = 32;

/// How long an address is known after it was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// For ever: an operator wrote it down.
    Always,
    /// Long: the peer was there. Longer than the reference's 15 minutes, so that a cluster comes together again after
    /// an interruption.
    Seen,
    /// Briefly: somebody said so.
    Rumour,
}

impl Lasting {
    fn until(self, now: Instant) -> Option<Instant> {
        match self {
            Self::Always => None,
            Self::Seen => Some(now + Duration::from_secs(24 * 3600)),
            Self::Rumour => Some(now + Duration::from_secs(15 * 60)),
        }
    }
}

#[derive(Debug, Default)]
struct Entry {
    /// Address and end; no end: for ever.
    addresses: Vec<(Multiaddr, Option<Instant>)>,
    /// Lower is dialed first when a cluster is to be found.
    priority: Option<u32>,
    /// More than a rumour: it was there, or an operator wrote it down.
    seen: bool,
}

/// Addresses of peers, without their names.
#[derive(Debug, Default)]
pub(crate) struct Book {
    peers: BTreeMap<PeerId, Entry>,
    connected: BTreeSet<PeerId>,
}

impl Book {
    /// Notes an address, or that it lasts longer.
    pub(crate) fn add(&mut self, peer: PeerId, address: Multiaddr, lasting: Lasting, now: Instant) {
        let (address, _) = super::split(&address);
        if address.is_empty() || !super::is_supported(&address) {
            return;
        }
        if !self.peers.contains_key(&peer) && self.peers.len() >= PEERS_MAX && !self.make_room(now) {
            return;
        }
        let entry = self.peers.entry(peer).or_default();
        entry.seen |= lasting != Lasting::Rumour;
        let until = lasting.until(now);
        if let Some((_, known)) = entry.addresses.iter_mut().find(|(known, _)| *known == address) {
            *known = known.and_then(|known| until.map(|until| known.max(until)));
            return;
        }
        if entry.addresses.len() >= ADDRESSES_MAX {
            let first = entry.addresses.iter().enumerate().filter(|(_, (_, until))| until.is_some());
            match first.min_by_key(|(_, (_, until))| *until).map(|(at, _)| at) {
                Some(at) => drop(entry.addresses.remove(at)),
                None => return,
            }
        }
        entry.addresses.push((address, until));
    }

    /// Whether there is room for another peer, perhaps because somebody was forgotten.
    fn make_room(&mut self, now: Instant) -> bool {
        self.forget_old(now);
        if self.peers.len() < PEERS_MAX {
            return true;
        }
        let last = |entry: &Entry| entry.addresses.iter().map(|(_, until)| *until).collect::<Option<Vec<_>>>();
        let leaves = |(peer, entry): (&PeerId, &Entry)| Some((last(entry)?.into_iter().max(), *peer));
        let candidates = self.peers.iter().filter(|(peer, _)| !self.connected.contains(peer));
        let first = candidates.filter_map(leaves).min();
        first.is_some_and(|(_, peer)| self.peers.remove(&peer).is_some())
    }

    fn forget_old(&mut self, now: Instant) {
        let connected = &self.connected;
        self.peers.retain(|peer, entry| {
            if !connected.contains(peer) {
                entry.addresses.retain(|(_, until)| until.is_none_or(|until| until > now));
            }
            connected.contains(peer) || !entry.addresses.is_empty()
        });
    }

    /// A peer is connected, so that what is known of it lasts, or no longer is.
    pub(crate) fn set_connected(&mut self, peer: PeerId, connected: bool, now: Instant) {
        if connected {
            self.connected.insert(peer);
            self.peers.entry(peer).or_default().seen = true;
        } else if self.connected.remove(&peer) {
            let until = Lasting::Seen.until(now);
            for (_, known) in self.peers.get_mut(&peer).into_iter().flat_map(|entry| &mut entry.addresses) {
                *known = known.and(until);
            }
        }
    }

    /// Who is connected.
    pub(crate) fn connected(&self) -> &BTreeSet<PeerId> {
        &self.connected
    }

    /// What is known of where a peer is.
    pub(crate) fn addresses(&self, peer: &PeerId, now: Instant) -> Vec<Multiaddr> {
        let connected = self.connected.contains(peer);
        let holds = |until: &Option<Instant>| connected || until.is_none_or(|until| until > now);
        let entry = self.peers.get(peer).into_iter().flat_map(|entry| &entry.addresses);
        entry.filter(|(_, until)| holds(until)).map(|(address, _)| address.clone()).collect()
    }

    /// Forgets a peer, unless an operator wrote its address down.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.addresses.retain(|(_, until)| until.is_none());
            if entry.addresses.is_empty() {
                self.peers.remove(peer);
            }
        }
    }

    /// Says how early a peer is dialed when a cluster is to be found.
    pub(crate) fn set_priority(&mut self, peer: PeerId, priority: u32) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.priority = Some(entry.priority.map_or(priority, |known| known.min(priority)));
        }
    }

    /// Whether a peer is more than a rumour.
    pub(crate) fn is_seen(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|entry| entry.seen)
    }

    /// Peers that are worth remembering, with their addresses, in the order of [`by_priority`](Self::by_priority).
    pub(crate) fn worth_remembering(&self, now: Instant) -> Vec<(PeerId, Vec<Multiaddr>)> {
        self.by_priority(now).into_iter().filter(|(peer, _)| self.is_seen(peer)).collect()
    }

    /// Peers with their addresses, in the order in which they should be dialed: by priority, those without one last.
    pub(crate) fn by_priority(&self, now: Instant) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut peers: Vec<_> =
            self.peers.iter().map(|(peer, entry)| (entry.priority.unwrap_or(u32::MAX), *peer)).collect();
        peers.sort();
        let with_addresses = peers.into_iter().map(|(_, peer)| (peer, self.addresses(&peer, now)));
        with_addresses.filter(|(_, addresses)| !addresses.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: usize) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{n}").parse().expect("address")
    }

    #[test]
    fn rumours_are_forgotten_and_what_was_written_down_is_not() {
        let (mut book, now, peer) = (Book::default(), Instant::now(), PeerId::random());
        book.add(peer, address(1), Lasting::Always, now);
        book.add(peer, address(2), Lasting::Rumour, now);

        assert_eq!(book.addresses(&peer, now), [address(1), address(2)]);
        let later = now + Duration::from_secs(3600);
        assert_eq!(book.addresses(&peer, later), [address(1)]);
        book.forget(&peer);
        assert_eq!(book.addresses(&peer, now), [address(1)]);
    }

    #[test]
    fn what_is_known_of_a_connected_peer_lasts_a_day_longer() {
        let (mut book, now, peer) = (Book::default(), Instant::now(), PeerId::random());
        book.add(peer, address(1), Lasting::Rumour, now);
        assert_eq!(book.worth_remembering(now), []);
        book.set_connected(peer, true, now);

        assert_eq!(book.worth_remembering(now), [(peer, vec![address(1)])]);
        let later = now + Duration::from_secs(48 * 3600);
        assert_eq!(book.addresses(&peer, later), [address(1)]);
        book.set_connected(peer, false, later);
        assert_eq!(book.addresses(&peer, later + Duration::from_secs(23 * 3600)), [address(1)]);
        assert!(book.addresses(&peer, later + Duration::from_secs(25 * 3600)).is_empty());
    }

    #[test]
    fn a_flood_of_names_pushes_out_rumours_only() {
        let (mut book, now, known) = (Book::default(), Instant::now(), PeerId::random());
        book.add(known, address(1), Lasting::Always, now);
        for n in 0..PEERS_MAX + 10 {
            book.add(PeerId::random(), address(n), Lasting::Rumour, now);
        }
        for n in 0..ADDRESSES_MAX + 10 {
            book.add(known, address(n + 1), Lasting::Rumour, now);
        }

        assert_eq!(book.peers.len(), PEERS_MAX);
        let addresses = book.addresses(&known, now);
        assert_eq!((addresses.len(), &addresses[0]), (ADDRESSES_MAX, &address(1)));
    }

    #[test]
    fn peers_are_dialed_by_priority() {
        let (mut book, now) = (Book::default(), Instant::now());
        let [one, two, three] = [PeerId::random(), PeerId::random(), PeerId::random()];
        for peer in [one, two, three] {
            book.add(peer, address(1), Lasting::Always, now);
        }
        book.set_priority(two, 0);
        book.set_priority(one, 1);

        let order: Vec<PeerId> = book.by_priority(now).into_iter().map(|(peer, _)| peer).collect();
        assert_eq!(order, [two, one, three]);
    }
}
