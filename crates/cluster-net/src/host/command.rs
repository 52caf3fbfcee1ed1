//! Orders of the handle to the driver.

use bytes::Bytes;
use cluster_transport::streams::Opened;
use cluster_types::{Multiaddr, PeerId};
use libp2p::swarm::StreamProtocol;
use tokio::sync::oneshot;

/// Answers an order.
pub(super) type Reply<T> = oneshot::Sender<T>;

/// An order.
pub(super) enum Command {
    /// Connect to a peer, here or wherever it is known to be. An error is why not.
    Connect { peer: PeerId, addresses: Vec<Multiaddr>, reply: Reply<Result<(), String>> },
    /// Open a stream of any of these protocols on a connection that is there.
    Open { peer: PeerId, protocols: Vec<StreamProtocol>, reply: Opened },
    /// Send to everybody who listens.
    Publish { topic: String, data: Bytes, reply: Reply<Result<(), String>> },
    /// Forget where a peer is and end its connections.
    Forget { peer: PeerId, reply: Reply<()> },
}
