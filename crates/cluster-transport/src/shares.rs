//! How many streams are served at a time, of each peer and of all.

use libp2p::PeerId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_peer: BTreeMap<PeerId, usize>,
}

/// Counts what is open.
pub struct Shares {
    per_peer_max: usize,
    all_max: usize,
    open: Arc<Mutex<Open>>,
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").field("open", &lock(&self.open).all).finish_non_exhaustive()
    }
}

/// Counts one out when it is dropped, however that comes about.
#[derive(Debug)]
pub struct Share {
    open: Arc<Mutex<Open>>,
    peer: PeerId,
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.all -= 1;
        if let Some(count) = open.by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.by_peer.remove(&self.peer);
            }
        }
    }
}

impl Shares {
    /// So many of each peer, and so many of all.
    #[must_use]
    pub fn new(per_peer_max: usize, all_max: usize) -> Self {
        Self { per_peer_max, all_max, open: Arc::default() }
    }

    /// Counts one in, if there is room.
    #[must_use]
    pub fn enter(&self, peer: PeerId) -> Option<Share> {
        let mut open = lock(&self.open);
        let here = open.by_peer.get(&peer).copied().unwrap_or_default();
        if here >= self.per_peer_max || open.all >= self.all_max {
            return None;
        }
        open.all += 1;
        open.by_peer.insert(peer, here + 1);
        Some(Share { open: Arc::clone(&self.open), peer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_gets_no_more_than_its_share() {
        let (shares, peer) = (Shares::new(512, 513), PeerId::random());
        let mut held: Vec<_> = (0..512).map(|_| shares.enter(peer).expect("room")).collect();

        assert!(shares.enter(peer).is_none());
        let other = shares.enter(PeerId::random()).expect("room for others");
        assert!(shares.enter(PeerId::random()).is_none());
        held.pop();
        assert!(shares.enter(peer).is_some());
        drop((held, other));
        assert_eq!(lock(&shares.open).all, 0);
    }
}
