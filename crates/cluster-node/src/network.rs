//! From section `cluster` to the libp2p host.

use crate::identity::Identity;
use cluster_net::{Connections, Options, PubSubOptions, Resources};
use cluster_peer::cluster::ClusterConfig;
use cluster_peer::cluster::config::{ConnectionManager, Pubsub, ResourceManager};
use cluster_types::Multiaddr;
use std::path::Path;

/// What this peer says that it is. The reference names its module here; nobody decides anything by it.
const AGENT: &str = concat!("ipfs-cluster-rust/", env!("CARGO_PKG_VERSION"));

/// The file of known addresses, unless the configuration names another.
const PEERSTORE: &str = "peerstore";

/// The least memory that connections may take, as the reference.
const MEMORY_MIN_BYTES: u64 = 1 << 30;

/// File descriptors that a process may have when the system does not say.
const DESCRIPTORS_USUAL: u64 = 1_024;

/// What the host is made with.
pub(crate) fn options(config: &ClusterConfig, identity: &Identity, folder: &Path) -> Options {
    let peerstore = if config.peerstore_file.is_empty() { PEERSTORE } else { &config.peerstore_file };
    Options {
        agent: AGENT.to_owned(),
        secret: config.secret.bytes().copied(),
        listen: addresses(&config.listen_multiaddress.0),
        announce: addresses(&config.announce_multiaddress.0),
        no_announce: addresses(&config.no_announce_multiaddress.0),
        peers: addresses(&config.peer_addresses),
        peerstore: Some(folder.join(peerstore)),
        mdns: config.mdns_interval.0 > 0,
        connections: connections(&config.connection_manager),
        resources: resources(&config.resource_manager),
        relay_hop: config.enable_relay_hop,
        dial_timeout: config.dial_peer_timeout.get(),
        pubsub: pubsub(&config.pubsub),
        ..Options::new(identity.key().clone())
    }
}

/// The addresses that these texts say: the check of the section has refused everything else.
fn addresses(texts: &[String]) -> Vec<Multiaddr> {
    texts.iter().filter_map(|text| cluster_types::address::parse(text).ok()).collect()
}

fn connections(config: &ConnectionManager) -> Connections {
    let count = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    Connections {
        high_water: count(config.high_water),
        low_water: count(config.low_water),
        grace: config.grace_period.get(),
    }
}

/// As the reference: by default a quarter of the memory, and half of the file descriptors.
fn resources(config: &ResourceManager) -> Option<Resources> {
    let or = |number: u64, default: fn() -> u64| if number == 0 { default() } else { number };
    config.enabled.then(|| Resources {
        memory_bytes: or(config.memory_limit_bytes, || (memory_bytes().unwrap_or(0) / 4).max(MEMORY_MIN_BYTES)),
        descriptors: or(config.file_descriptors_limit, || descriptors().unwrap_or(DESCRIPTORS_USUAL) / 2),
    })
}

/// The memory of this machine, as Linux says.
fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// How many file descriptors this process may have, as Linux says.
fn descriptors() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/limits").ok()?;
    text.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_follows_the_machine() {
        let config = ResourceManager { enabled: true, memory_limit_bytes: 0, file_descriptors_limit: 0 };
        let limits = resources(&config).expect("enabled");
        assert!(limits.memory_bytes >= MEMORY_MIN_BYTES && limits.descriptors >= 16, "{limits:?}");

        let given = ResourceManager { enabled: true, memory_limit_bytes: 5, file_descriptors_limit: 6 };
        assert_eq!(resources(&given), Some(Resources { memory_bytes: 5, descriptors: 6 }));
        assert_eq!(resources(&ResourceManager { enabled: false, ..given }), None);
    }
}
