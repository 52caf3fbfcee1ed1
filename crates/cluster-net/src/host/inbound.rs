//! Streams that peers opened: handed out while there are not too many.

use crate::options::Protocols;
use crate::streams::Inbound;
use cluster_component::tasks::TaskScope;
use cluster_types::PeerId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Streams of one peer that are served at a time. A peer that opens more has them reset; the reference allows about as
/// many.
const PER_PEER_MAX: usize = 512;

/// Streams of all peers that are served at a time.
const ALL_MAX: usize = 4_096;

#[derive(Default)]
struct Open {
    all: usize,
    by_peer: BTreeMap<PeerId, usize>,
}

/// Hands out streams.
pub(super) struct Served {
    protocols: Protocols,
    open: Arc<Mutex<Open>>,
}

/// Counts a stream out when it has been served, however that came about.
struct CountOut {
    open: Arc<Mutex<Open>>,
    peer: PeerId,
}

impl Drop for CountOut {
    fn drop(&mut self) {
        let mut open = super::lock(&self.open);
        open.all -= 1;
        if let Some(count) = open.by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.by_peer.remove(&self.peer);
            }
        }
    }
}

impl Served {
    pub(super) fn new(protocols: Protocols) -> Self {
        Self { protocols, open: Arc::default() }
    }

    /// Counts a stream in, if there is room.
    fn enter(&self, peer: PeerId) -> Option<CountOut> {
        let mut open = super::lock(&self.open);
        let here = open.by_peer.get(&peer).copied().unwrap_or_default();
        if here >= PER_PEER_MAX || open.all >= ALL_MAX {
            return None;
        }
        open.all += 1;
        open.by_peer.insert(peer, here + 1);
        Some(CountOut { open: Arc::clone(&self.open), peer })
    }

    /// Serves a stream. Without room it is dropped, which resets it.
    pub(super) fn serve(&self, tasks: &TaskScope, Inbound { peer, protocol, stream }: Inbound) {
        let Some(serve) = self.protocols.get(protocol.as_ref()) else { return };
        let Some(out) = self.enter(peer) else {
            tracing::debug!(%peer, %protocol, "too many streams are open: one more was reset");
            return;
        };
        let served = serve(peer, Box::new(stream));
        tasks.spawn_until_stopped("stream", async move {
            let _out = out;
            served.await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_gets_no_more_streams_than_its_share() {
        let (served, peer) = (Served::new(Protocols::new()), PeerId::random());
        let mut held: Vec<_> = (0..PER_PEER_MAX).map(|_| served.enter(peer).expect("room")).collect();

        assert!(served.enter(peer).is_none());
        assert!(served.enter(PeerId::random()).is_some());
        held.pop();
        assert!(served.enter(peer).is_some());
        drop(held);
        assert_eq!(super::super::lock(&served.open).all, 0);
    }
}
