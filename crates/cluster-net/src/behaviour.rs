//! The parts of the swarm.

use crate::addresses::{self, SharedBook};
use crate::options::Options;
use crate::{pubsub, streams};
use libp2p::swarm::{NetworkBehaviour, StreamProtocol};
use libp2p::{gossipsub, identify, ping};

/// The parts of the swarm. A new one is a field here, a line in [`new`](Self::new), and a line in the driver for its
/// events.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) addresses: addresses::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) gossipsub: gossipsub::Behaviour,
    pub(crate) streams: streams::Behaviour,
}

impl Behaviour {
    pub(crate) fn new(options: &Options, book: SharedBook, protocols: Vec<StreamProtocol>) -> Result<Self, String> {
        Ok(Self {
            addresses: addresses::Behaviour::new(book),
            identify: identify(options),
            ping: ping::Behaviour::new(ping::Config::new()),
            gossipsub: pubsub::behaviour(&options.key, &options.pubsub)?,
            streams: streams::Behaviour::new(protocols),
        })
    }
}

fn identify(options: &Options) -> identify::Behaviour {
    // Nobody checks the version of the protocol, and the reference's is empty. Where we listen is told by way of
    // external addresses, which the operator's wishes have gone over.
    let config = identify::Config::new_with_signed_peer_record(String::new(), &options.key)
        .with_agent_version(options.agent.clone())
        .with_hide_listen_addrs(true)
        .with_cache_size(0);
    identify::Behaviour::new(config)
}
