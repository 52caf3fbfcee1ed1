//! From section `cluster` to the libp2p host.

use crate::identity::Identity;
use cluster_net::{Options, PubSubOptions};
use cluster_peer::cluster::ClusterConfig;
use cluster_peer::cluster::config::Pubsub;
use cluster_types::Multiaddr;

/// What this peer says that it is. The reference names its module here; nobody decides anything by it.
const AGENT: &str = concat!("ipfs-cluster-rust/", env!("CARGO_PKG_VERSION"));

/// What the host is made with.
pub(crate) fn options(config: &ClusterConfig, identity: &Identity) -> Options {
    Options {
        agent: AGENT.to_owned(),
        secret: config.secret.bytes().copied(),
        listen: addresses(&config.listen_multiaddress.0),
        announce: addresses(&config.announce_multiaddress.0),
        no_announce: addresses(&config.no_announce_multiaddress.0),
        peers: addresses(&config.peer_addresses),
        dial_timeout: config.dial_peer_timeout.get(),
        pubsub: pubsub(&config.pubsub),
        ..Options::new(identity.key().clone())
    }
}

/// The addresses that these texts say: the check of the section has refused everything else.
fn addresses(texts: &[String]) -> Vec<Multiaddr> {
    texts.iter().filter_map(|text| cluster_types::address::parse(text).ok()).collect()
}

fn pubsub(config: &Pubsub) -> PubSubOptions {
    let count = |number: i64| usize::try_from(number).unwrap_or(1);
    PubSubOptions {
        heartbeat: config.heartbeat_interval.get(),
        seen_ttl: config.seen_messages_ttl.get(),
        d_factor: count(config.d_factor),
        history_length: count(config.history_length),
        history_gossip: count(config.history_gossip),
        flood_publish: config.flood_publish,
    }
}
