//! Of several connections to a peer, which one carries what we say.

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// A connection, and what wakes its task.
type Waiting = (ConnectionId, Option<Waker>);

/// The connections to each peer, the oldest first: that one's turn it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<BTreeMap<PeerId, Vec<Waiting>>>>);

impl Turns {
    fn peers(&self) -> MutexGuard<'_, BTreeMap<PeerId, Vec<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection comes to be.
    pub(super) fn enter(&self, peer: PeerId, id: ConnectionId) {
        self.peers().entry(peer).or_default().push((id, None));
    }

    /// A connection ended; when its turn it was, the next one is woken.
    pub(super) fn leave(&self, peer: PeerId, id: ConnectionId) {
        let mut peers = self.peers();
        let Some(connections) = peers.get_mut(&peer) else { return };
        connections.retain(|(other, _)| *other != id);
        match connections.first_mut() {
            Some((_, waker)) => waker.take().into_iter().for_each(Waker::wake),
            None => drop(peers.remove(&peer)),
        }
    }

    /// Whether a connection's turn it is. If not, its task is woken when it is.
    pub(super) fn is_turn_of(&self, peer: &PeerId, id: ConnectionId, waker: &Waker) -> bool {
        let mut peers = self.peers();
        let Some(connections) = peers.get_mut(peer) else { return false };
        let Some(at) = connections.iter().position(|(other, _)| *other == id) else { return false };
        if at > 0 {
            connections[at].1 = Some(waker.clone());
        }
        at == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Rung(AtomicBool);

    impl Wake for Rung {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_oldest_connection_speaks_and_the_next_one_is_woken_when_it_ends() {
        let (turns, peer, rung) = (Turns::default(), PeerId::random(), Arc::new(Rung::default()));
        let [one, two] = [1, 2].map(ConnectionId::new_unchecked);
        turns.enter(peer, one);
        turns.enter(peer, two);
        assert!(turns.is_turn_of(&peer, one, &noop_waker()));
        assert!(!turns.is_turn_of(&peer, two, &Waker::from(Arc::clone(&rung))));

        turns.leave(peer, one);
        assert!(rung.0.load(Ordering::SeqCst));
        assert!(turns.is_turn_of(&peer, two, &noop_waker()));
        turns.leave(peer, two);
        assert!(turns.peers().is_empty());
    }
}
