//! Keys below `swarm`: whether and how the node takes part in the IPFS network.

use cluster_component::config::ConfigError;
use cluster_types::{GoDuration, Multiaddr, PeerId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What part the node has in the table of who has what (the DHT).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dht {
    /// It asks; it answers too if an address that it listens on or announces can be reached from everywhere.
    #[default]
    Auto,
    /// It asks and does not answer.
    Client,
    /// It asks and answers.
    Server,
    /// None: only who is connected is asked for blocks, and nobody is told what is here.
    Off,
}

/// How the node takes part in the IPFS network. It does not unless that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SwarmConfig {
    /// Whether it takes part: connects to others, fetches from them, and serves what is stored to everybody. Default
    /// `false`.
    pub enabled: bool,
    /// Where it listens. Default `/ip4/0.0.0.0/tcp/4001`.
    pub listen_multiaddresses: Vec<String>,
    /// Where others can reach it, besides where it listens: behind a router that forwards a port. Default none.
    pub announce_multiaddresses: Vec<String>,
    /// Peers that it stays connected to, each with `/p2p/<id>` at its end. Default none.
    pub peers: Vec<String>,
    /// Peers by which it comes into the DHT, each with `/p2p/<id>` at its end. Default none, without which nobody but
    /// those who are connected is found.
    pub bootstrap: Vec<String>,
    /// What part it has in the DHT: `auto`, `client`, `server` or `off`. Default `auto`.
    pub dht: Dht,
    /// How often others are told again which roots are pinned here; nothing: they are never told. Default `22h`, since
    /// they forget after 48 h.
    pub reprovide_interval: GoDuration,
    /// Connections above which the oldest are ended, those to `peers` excepted. Default 200.
    pub connections_max: u32,
}

impl Default for SwarmConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            listen_multiaddresses: vec!["/ip4/0.0.0.0/tcp/4001".into()],
            announce_multiaddresses: Vec::new(),
            peers: Vec::new(),
            bootstrap: Vec::new(),
            dht: Dht::Auto,
            reprovide_interval: GoDuration::from_secs(22 * 3_600),
            connections_max: 200,
        }
    }
}

impl SwarmConfig {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, text: String| {
            let key = format!("embedded.swarm.{key}");
            Err(ConfigError::new(key.clone(), format!("{key} {text}")))
        };
        let lists = [
            ("listen_multiaddresses", &self.listen_multiaddresses),
            ("announce_multiaddresses", &self.announce_multiaddresses),
        ];
        for (key, list) in lists {
            if let Some(text) = list.iter().find(|text| text.parse::<Multiaddr>().is_err()) {
                return wrong(key, format!("holds no address: {text:?} (such as /ip4/0.0.0.0/tcp/4001)"));
            }
        }
        for (key, list) in [("peers", &self.peers), ("bootstrap", &self.bootstrap)] {
            if let Some(text) = list.iter().find(|text| named(text).is_none()) {
                let form = "/ip4/192.0.2.1/tcp/4001/p2p/<id>, over TCP or WebSocket";
                return wrong(key, format!("holds no address of a peer: {text:?} (such as {form})"));
            }
        }
        if self.reprovide_interval.0 < 0 {
            return wrong("reprovide_interval", "must not be less than nothing".into());
        }
        if self.connections_max == 0 {
            return wrong("connections_max", "must be more than nothing".into());
        }
        Ok(())
    }
}

/// The peers of a list and where they are; it was checked before.
pub(crate) fn named_peers(list: &[String]) -> BTreeMap<PeerId, Vec<Multiaddr>> {
    let mut peers = BTreeMap::<PeerId, Vec<Multiaddr>>::new();
    for (peer, address) in list.iter().filter_map(|text| named(text)) {
        peers.entry(peer).or_default().push(address);
    }
    peers
}

/// A peer and where it is.
fn named(text: &str) -> Option<(PeerId, Multiaddr)> {
    let (rest, peer) = cluster_transport::split(&text.parse().ok()?);
    Some((peer?, rest)).filter(|(_, rest)| cluster_transport::is_supported(rest))
}

/// The addresses of a list; it was checked before.
pub(crate) fn addresses(list: &[String]) -> Vec<Multiaddr> {
    list.iter().filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_with_their_key() {
        assert_eq!(SwarmConfig::default().validate(), Ok(()));
        let wrong = |change: fn(&mut SwarmConfig)| {
            let mut config = SwarmConfig::default();
            change(&mut config);
            config.validate().expect_err("a mistake").to_string()
        };
        assert!(wrong(|c| c.listen_multiaddresses = vec!["4001".into()]).contains("swarm.listen_multiaddresses"));
        assert!(wrong(|c| c.peers = vec!["/ip4/192.0.2.1/tcp/4001".into()]).contains("swarm.peers"));
        assert!(wrong(|c| c.bootstrap = vec!["/dnsaddr/example.org".into()]).contains("swarm.bootstrap"));
        assert!(wrong(|c| c.reprovide_interval = GoDuration(-1)).contains("swarm.reprovide_interval"));
        assert!(wrong(|c| c.connections_max = 0).contains("swarm.connections_max"));
    }
}
