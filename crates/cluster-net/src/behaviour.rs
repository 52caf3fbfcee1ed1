//! The parts of the swarm.

use crate::addresses::{self, SharedBook};
use crate::dht;
use crate::options::{Options, Resources};
use crate::pubsub;
use cluster_transport::streams;
use libp2p::autonat::v1 as autonat;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, StreamProtocol};
use libp2p::{dcutr, gossipsub, identify, ping, relay};
use std::time::Duration;

/// Connections of one peer: one is enough, two come about when both dial, and a third while a hole is punched.
const PER_PEER_MAX: u32 = 8;

/// Connections that are being made at a time, in either direction.
const PENDING_MAX: u32 = 256;

/// How often a peer is asked whether it is there, and how long it may take to answer. A connection whose other end is
/// gone without a word is ended after three silences: nothing below notices for a quarter of an hour.
const PING_EVERY: Duration = Duration::from_secs(10);

/// Bytes of memory that stand for an inbound connection, as the reference.
const BYTES_PER_INBOUND: u64 = 1 << 20;

/// The parts of the swarm. A new one is a field here, a line in [`new`](Self::new), and a line in the driver for its
/// events.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) addresses: addresses::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) gossipsub: pubsub::Single<gossipsub::Behaviour>,
    pub(crate) streams: streams::Behaviour,
    pub(crate) lan: dht::Behaviour,
    pub(crate) wan: dht::Behaviour,
    pub(crate) autonat: autonat::Behaviour,
    pub(crate) relay_client: relay::client::Behaviour,
    pub(crate) relay: Toggle<relay::Behaviour>,
    pub(crate) dcutr: dcutr::Behaviour,
}

impl Behaviour {
    pub(crate) fn new(
        options: &Options,
        book: SharedBook,
        protocols: Vec<StreamProtocol>,
        relay_client: relay::client::Behaviour,
    ) -> Result<Self, String> {
        let me = options.key.public().to_peer_id();
        let hop = || {
            let mut relay = relay::Behaviour::new(me, relay::Config::default());
            // Only who can be reached from everywhere is of use: the driver says so.
            relay.set_status(Some(relay::Status::Disable));
            relay
        };
        Ok(Self {
            limits: connection_limits::Behaviour::new(limits(options.resources)),
            addresses: addresses::Behaviour::new(book),
            identify: identify(options),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_EVERY).with_timeout(PING_EVERY)),
            gossipsub: pubsub::behaviour(&options.key, &options.pubsub)?,
            streams: streams::Behaviour::new(protocols),
            lan: dht::behaviour(me, dht::Table::Lan),
            wan: dht::behaviour(me, dht::Table::Wan),
            autonat: autonat::Behaviour::new(me, autonat::Config::default()),
            relay_client,
            relay: options.relay_hop.then(hop).into(),
            dcutr: dcutr::Behaviour::new(me),
        })
    }
}

fn limits(resources: Option<Resources>) -> ConnectionLimits {
    let limits = ConnectionLimits::default()
        .with_max_established_per_peer(Some(PER_PEER_MAX))
        .with_max_pending_incoming(Some(PENDING_MAX))
        .with_max_pending_outgoing(Some(PENDING_MAX));
    let Some(resources) = resources else { return limits };
    let count = |number: u64| Some(u32::try_from(number).unwrap_or(u32::MAX).max(1));
    limits
        .with_max_established_incoming(count(resources.memory_bytes / BYTES_PER_INBOUND))
        .with_max_established(count(resources.descriptors))
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
