//! The parts of the swarm.

use super::config::{Dht, SwarmConfig};
use super::dht;
use bitswap::PROTOCOLS;
use cluster_transport::streams;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, StreamProtocol};
use libp2p::{identify, ping};
use libp2p_identity::Keypair;
use std::time::Duration;

/// Connections of one peer: one is enough, two come about when both dial.
const PER_PEER_MAX: u32 = 4;

/// Connections that are being made at a time, in either direction.
const PENDING_MAX: u32 = 64;

/// How often a peer is asked whether it is there, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_secs(15);

/// What others are told of the protocol's version, as Kubo.
const PROTOCOL_VERSION: &str = "ipfs/0.1.0";

/// The parts of the swarm. A new one is a field here, a line in [`new`](Self::new), and a line in the driver for its
/// events.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(super) streams: streams::Behaviour,
    pub(super) dht: Toggle<dht::Behaviour>,
}

impl Behaviour {
    pub(super) fn new(key: &Keypair, config: &SwarmConfig) -> Self {
        let protocols = PROTOCOLS.into_iter().map(StreamProtocol::new).collect();
        let identify = identify::Config::new_with_signed_peer_record(PROTOCOL_VERSION.into(), key)
            .with_agent_version(concat!("ipfs-cluster-embedded/", env!("CARGO_PKG_VERSION")).into());
        Self {
            limits: connection_limits::Behaviour::new(limits(config)),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_EVERY).with_timeout(PING_EVERY)),
            streams: streams::Behaviour::new(protocols),
            dht: (config.dht != Dht::Off).then(|| dht::behaviour(key.public().to_peer_id())).into(),
        }
    }
}

fn limits(config: &SwarmConfig) -> ConnectionLimits {
    // The driver ends the oldest of too many; this is for those who come faster than it can.
    let most = config.connections_max.saturating_add(config.connections_max / 4).saturating_add(1);
    ConnectionLimits::default()
        .with_max_established_per_peer(Some(PER_PEER_MAX))
        .with_max_pending_incoming(Some(PENDING_MAX))
        .with_max_pending_outgoing(Some(PENDING_MAX))
        .with_max_established(Some(most))
}
