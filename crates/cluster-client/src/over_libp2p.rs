//! HTTP over streams of libp2p, to peers whose name is known or stands in the DNS.

use cluster_transport::{CallError, Caller, CallerOptions, NameError, Names, split};
use cluster_types::{Multiaddr, PeerId};
use futures::{AsyncRead, AsyncWrite};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// The protocol of such streams, as the reference names it.
const PROTOCOL: &str = "/libp2p-http";

/// Opens streams. Clones share their connections.
#[derive(Clone, Default)]
pub(crate) struct OverLibp2p {
    secret: Option<[u8; 32]>,
    /// Made when it is needed first.
    caller: Arc<OnceCell<Caller>>,
}

/// A stream to a peer.
pub(crate) struct Opened {
    pub(crate) peer: PeerId,
    pub(crate) stream: Box<dyn Duplex>,
    /// Holds the connection for as long as it is kept.
    pub(crate) caller: Caller,
}

/// Bytes both ways.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

impl OverLibp2p {
    /// `secret`: what the peers of a private network share.
    pub(crate) fn new(secret: Option<[u8; 32]>) -> Self {
        Self { secret, caller: Arc::default() }
    }

    /// Opens a stream to the peer at this address. Without a name in it, the DNS says who that is; of several the first
    /// that can be reached is taken.
    pub(crate) async fn open(&self, peer: Option<PeerId>, address: &Multiaddr) -> Result<Opened, String> {
        let make = || async { Caller::start(&CallerOptions { secret: self.secret }) };
        let caller = self.caller.get_or_try_init(make).await.map_err(|error| error.to_string())?.clone();
        let peers = match peer {
            Some(peer) => vec![(peer, vec![address.clone()])],
            None => in_dns(address).await.map_err(|error| error.to_string())?,
        };
        let mut reason = String::new();
        for (peer, addresses) in peers {
            match caller.open(peer, addresses, PROTOCOL).await {
                Ok(stream) => return Ok(Opened { peer, stream: Box::new(stream), caller }),
                Err(error) => reason = explained(peer, &error),
            }
        }
        Err(reason)
    }
}

fn explained(peer: PeerId, error: &CallError) -> String {
    match error {
        CallError::Unsupported(_) => format!(
            "{error}: {peer} does not serve its API over libp2p: set id, private_key and libp2p_listen_multiaddress in its \
             section api.restapi"
        ),
        CallError::Unreachable(reason) => format!("failed to dial {peer}: {reason}"),
        CallError::OtherSecret(_) => format!("failed to dial {peer}: {error}"),
    }
}

/// The peers behind a name and their addresses, in the order of the records.
async fn in_dns(address: &Multiaddr) -> Result<Vec<(PeerId, Vec<Multiaddr>)>, NameError> {
    let mut peers: Vec<(PeerId, Vec<Multiaddr>)> = Vec::new();
    for found in Names::system()?.of_dnsaddr(address).await? {
        let (rest, Some(peer)) = split(&found) else { continue };
        match peers.iter_mut().find(|(known, _)| *known == peer) {
            Some((_, addresses)) => addresses.push(rest),
            None => peers.push((peer, vec![rest])),
        }
    }
    Ok(peers)
}
