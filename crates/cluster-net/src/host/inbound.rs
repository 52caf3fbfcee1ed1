//! Streams that peers opened: handed out while there are not too many.

use crate::options::Protocols;
use cluster_component::tasks::TaskScope;
use cluster_transport::Shares;
use cluster_transport::streams::Inbound;

/// Streams of one peer that are served at a time. A peer that opens more has them reset; the reference allows about as
/// many.
const PER_PEER_MAX: usize = 512;

/// Streams of all peers that are served at a time.
const ALL_MAX: usize = 4_096;

/// Hands out streams.
pub(super) struct Served {
    protocols: Protocols,
    shares: Shares,
}

impl Served {
    pub(super) fn new(protocols: Protocols) -> Self {
        Self { protocols, shares: Shares::new(PER_PEER_MAX, ALL_MAX) }
    }

    /// Serves a stream. Without room it is dropped, which resets it.
    pub(super) fn serve(&self, tasks: &TaskScope, Inbound { peer, protocol, stream }: Inbound) {
        let Some(serve) = self.protocols.get(protocol.as_ref()) else { return };
        let Some(out) = self.shares.enter(peer) else {
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
