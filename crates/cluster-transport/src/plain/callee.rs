//! Takes streams of one protocol from whoever opens them.

use super::{Behaviour, BehaviourEvent, swarm};
use crate::shares::{Share, Shares};
use crate::streams::Inbound;
use crate::{Options, listen};
use futures::StreamExt;
use libp2p::swarm::{Stream, StreamProtocol, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use libp2p_identity::Keypair;
use std::fmt;

/// Streams of one peer that are open at a time. A peer that opens more has them reset.
const PER_PEER_MAX: usize = 128;

/// Streams of all peers that are open at a time.
const ALL_MAX: usize = 1_024;

/// What a [`Callee`] is made with.
pub struct CalleeOptions {
    /// Who it is.
    pub key: Keypair,
    /// What those share who may connect; `None`: anybody may.
    pub secret: Option<[u8; 32]>,
    /// Where it listens.
    pub listen: Vec<Multiaddr>,
    /// The protocol of the streams that it takes.
    pub protocol: &'static str,
    /// Into which key the operator wrote the addresses.
    pub setting: String,
}

impl fmt::Debug for CalleeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CalleeOptions").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// A host that others open streams to. It works while [`next`](Self::next) is awaited.
pub struct Callee {
    swarm: Swarm<Behaviour>,
    shares: Shares,
}

impl fmt::Debug for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callee").field("id", self.swarm.local_peer_id()).finish_non_exhaustive()
    }
}

impl Callee {
    /// Listens.
    ///
    /// # Errors
    /// When it can listen nowhere, or the key cannot be used.
    pub async fn bind(options: CalleeOptions) -> Result<Self, String> {
        let with = Options { secret: options.secret, ..Options::default() };
        let protocols = vec![StreamProtocol::new(options.protocol)];
        let mut swarm = swarm(&options.key, &with, protocols).map_err(|error| error.to_string())?;
        listen(&mut swarm, &options.listen, &options.setting).await?;
        Ok(Self { swarm, shares: Shares::new(PER_PEER_MAX, ALL_MAX) })
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    /// Where it listens, with the ports that were chosen, without its name.
    #[must_use]
    pub fn addresses(&self) -> Vec<Multiaddr> {
        self.swarm.listeners().cloned().collect()
    }

    /// The next stream, and who opened it. The share is held for as long as the stream is used. *Cancel safety:* no
    /// stream is lost.
    pub async fn next(&mut self) -> (PeerId, Stream, Share) {
        loop {
            match self.swarm.select_next_some().await {
                SwarmEvent::Behaviour(BehaviourEvent::Streams(Inbound { peer, stream, .. })) => {
                    match self.shares.enter(peer) {
                        Some(share) => return (peer, stream, share),
                        None => tracing::debug!(%peer, "too many streams are open: one more was reset"),
                    }
                }
                SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                    let error = crate::root_cause(&error);
                    tracing::debug!(address = %send_back_addr, error, "a connection came to nothing");
                }
                SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                    tracing::error!(?addresses, %error, "no longer listened on");
                }
                _ => {}
            }
        }
    }
}
