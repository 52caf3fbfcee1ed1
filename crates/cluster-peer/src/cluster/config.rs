//! Section `cluster`.

use cluster_component::config::{ComponentConfig, ConfigError, Section, Strings};
use cluster_core::pinset::{DefaultFactors, check_factors};
use cluster_types::GoDuration;
use serde::{Deserialize, Deserializer, Serialize};

/// The main component: who this peer is to others, and its habits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterConfig {
    /// This peer's name. Default: that of the machine.
    pub peername: String,
    /// What peers of one cluster share: 64 hexadecimal digits; empty: anybody may connect.
    pub secret: Secret,
    /// Whether the peer leaves its cluster when it stops.
    #[serde(default)]
    pub leave_on_shutdown: bool,
    /// Where it listens for other peers.
    #[serde(default)]
    pub listen_multiaddress: Strings,
    /// Addresses that are told instead of those it listens on.
    #[serde(default)]
    pub announce_multiaddress: Strings,
    /// Addresses that are never told.
    #[serde(default)]
    pub no_announce_multiaddress: Strings,
    /// Whether it relays for others.
    #[serde(default)]
    pub enable_relay_hop: bool,
    /// How many connections it keeps.
    pub connection_manager: ConnectionManager,
    /// What the network may take.
    pub resource_manager: ResourceManager,
    /// How messages are spread.
    pub pubsub: Pubsub,
    /// How long a dial may take. Default `3s`.
    pub dial_peer_timeout: GoDuration,
    /// How often expired pins are looked for. Default `5m`.
    pub state_sync_interval: GoDuration,
    /// How often failed items are tried again. Default `12m`.
    pub pin_recover_interval: GoDuration,
    /// Fewest peers that hold a pin; −1: every peer. Default −1.
    #[serde(deserialize_with = "factor")]
    pub replication_factor_min: i32,
    /// Most peers that hold a pin; −1: every peer. Default −1.
    #[serde(deserialize_with = "factor")]
    pub replication_factor_max: i32,
    /// How often this peer says that it is there. Default `15s`.
    pub monitor_ping_interval: GoDuration,
    /// How often it looks whether it is a member. Default `5s`.
    pub peer_watch_interval: GoDuration,
    /// Whether peers are looked for on the local network: 0: no. Default `10s`.
    pub mdns_interval: GoDuration,
    /// Whether only trusted peers are chosen.
    #[serde(default)]
    pub pin_only_on_trusted_peers: bool,
    /// Whether only others are chosen.
    #[serde(default)]
    pub pin_only_on_untrusted_peers: bool,
    /// Whether pins of a dead peer stay where they are. Default in new files `true`; missing: `false`.
    #[serde(default)]
    pub disable_repinning: bool,
    /// Whether this peer only follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follower_mode: bool,
    /// File of known addresses, in the folder. Default `peerstore`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peerstore_file: String,
    /// Peers to connect to.
    #[serde(default)]
    pub peer_addresses: Vec<String>,
}

/// How many connections are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionManager {
    /// Above so many, connections are closed.
    #[serde(default)]
    pub high_water: i64,
    /// Down to so many.
    #[serde(default)]
    pub low_water: i64,
    /// But none younger than this.
    #[serde(default)]
    pub grace_period: GoDuration,
}

/// What the network may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceManager {
    /// Whether it is limited.
    pub enabled: bool,
    /// Bytes of memory; 0: a quarter of the machine's.
    pub memory_limit_bytes: u64,
    /// File descriptors; 0: half of what the process may have.
    pub file_descriptors_limit: u64,
}

/// How messages are spread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pubsub {
    /// For how long a message is remembered.
    #[serde(default = "seen_ttl")]
    pub seen_messages_ttl: GoDuration,
    /// How often meshes are tended.
    #[serde(default = "heartbeat")]
    pub heartbeat_interval: GoDuration,
    /// How wide meshes are.
    #[serde(default)]
    pub d_factor: i64,
    /// How far back gossip goes.
    #[serde(default)]
    pub history_gossip: i64,
    /// How many heartbeats messages are kept.
    #[serde(default)]
    pub history_length: i64,
    /// Whether own messages go to every peer.
    #[serde(default)]
    pub flood_publish: bool,
}

fn seen_ttl() -> GoDuration {
    GoDuration::from_secs(30 * 60)
}

fn heartbeat() -> GoDuration {
    GoDuration::from_secs(10)
}

impl Default for ConnectionManager {
    fn default() -> Self {
        Self { high_water: 400, low_water: 100, grace_period: GoDuration::from_secs(120) }
    }
}

impl Default for ResourceManager {
    fn default() -> Self {
        Self { enabled: true, memory_limit_bytes: 0, file_descriptors_limit: 0 }
    }
}

impl Default for Pubsub {
    fn default() -> Self {
        Self {
            seen_messages_ttl: seen_ttl(),
            heartbeat_interval: heartbeat(),
            d_factor: 4,
            history_gossip: 2,
            history_length: 6,
            flood_publish: false,
        }
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            peername: hostname(),
            secret: Secret::default(),
            leave_on_shutdown: false,
            listen_multiaddress: Strings(vec!["/ip4/0.0.0.0/tcp/9096".into(), "/ip4/0.0.0.0/udp/9096/quic".into()]),
            announce_multiaddress: Strings::default(),
            no_announce_multiaddress: Strings::default(),
            enable_relay_hop: true,
            connection_manager: ConnectionManager::default(),
            resource_manager: ResourceManager::default(),
            pubsub: Pubsub::default(),
            dial_peer_timeout: GoDuration::from_secs(3),
            state_sync_interval: GoDuration::from_secs(300),
            pin_recover_interval: GoDuration::from_secs(12 * 60),
            replication_factor_min: -1,
            replication_factor_max: -1,
            monitor_ping_interval: GoDuration::from_secs(15),
            peer_watch_interval: GoDuration::from_secs(5),
            mdns_interval: GoDuration::from_secs(10),
            pin_only_on_trusted_peers: false,
            pin_only_on_untrusted_peers: false,
            disable_repinning: true,
            follower_mode: false,
            peerstore_file: String::new(),
            peer_addresses: Vec::new(),
        }
    }
}

/// The machine's name, as its kernel has it.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "peer".to_owned() } else { name.to_owned() }
}

/// As the reference: 0 means the default.
fn factor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    Ok(match i32::deserialize(deserializer)? {
        0 => -1,
        value => value,
    })
}

impl ClusterConfig {
    /// The factors of pins that name none.
    #[must_use]
    pub fn default_factors(&self) -> DefaultFactors {
        DefaultFactors { min: self.replication_factor_min, max: self.replication_factor_max }
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        let lists = [
            ("listen_multiaddress", &self.listen_multiaddress.0),
            ("announce", &self.announce_multiaddress.0),
            ("no_announce", &self.no_announce_multiaddress.0),
            ("peer_addresses", &self.peer_addresses),
        ];
        for (name, list) in lists {
            for text in list {
                cluster_types::address::parse(text)
                    .map_err(|e| ConfigError::new(format!("cluster.{name}"), format!("error parsing {name}: {e}")))?;
            }
        }
        Ok(())
    }
}

impl ComponentConfig for ClusterConfig {
    const SECTION: Section = Section::Cluster;
    const KEY: &'static str = "cluster";
    const SECRETS: &'static [&'static str] = &["secret"];
    const HIDDEN: &'static [(&'static str, &'static str)] = &[("follower_mode", "false"), ("peerstore_file", "\"\"")];

    fn validate(&self) -> Result<(), ConfigError> {
        if self.listen_multiaddress.0.is_empty() {
            return Err(ConfigError::new("cluster.listen_multiaddress", "cluster.listen_multiaddress is undefined"));
        }
        self.check_addresses()?;
        let (manager, pubsub) = (&self.connection_manager, &self.pubsub);
        let wrong = [
            (manager.low_water <= 0, "connection_manager.low_water", "is invalid"),
            (manager.high_water <= 0, "connection_manager.high_water", "is invalid"),
            (manager.low_water > manager.high_water, "connection_manager.low_water", "is greater than high_water"),
            (manager.grace_period.0 == 0, "connection_manager.grace_period", "is invalid"),
            (pubsub.seen_messages_ttl.0 <= 0, "pubsub.seen_message_ttl", "is invalid"),
            (pubsub.heartbeat_interval.0 <= 0, "pubsub.heartbeat_interval", "is invalid"),
            (pubsub.d_factor < 1, "pubsub.d_factor", "is invalid"),
            (pubsub.history_gossip <= 0, "pubsub.history_gossip", "is invalid"),
            (pubsub.history_length <= 0, "pubsub.history_length", "is invalid"),
            (self.dial_peer_timeout.0 <= 0, "dial_peer_timeout", "is invalid"),
            (self.state_sync_interval.0 <= 0, "state_sync_interval", "is invalid"),
            (self.pin_recover_interval.0 <= 0, "pin_recover_interval", "is invalid"),
            (self.monitor_ping_interval.0 <= 0, "monitoring_interval", "is invalid"),
            (self.peer_watch_interval.0 <= 0, "peer_watch_interval", "is invalid"),
        ];
        if let Some((_, key, what)) = wrong.into_iter().find(|(wrong, ..)| *wrong) {
            return Err(ConfigError::new(format!("cluster.{key}"), format!("cluster.{key} {what}")));
        }
        if self.pin_only_on_trusted_peers && self.pin_only_on_untrusted_peers {
            let text = "cluster.pin_only_on_trusted_peers and pin_only_on_untrusted_peers cannot both be true";
            return Err(ConfigError::new("cluster.pin_only_on_trusted_peers", text));
        }
        check_factors(self.replication_factor_min, self.replication_factor_max)
            .map_err(|e| ConfigError::new("cluster.replication_factor_min", e.0))
    }
}

/// What peers of one cluster share: nothing, or 32 bytes, written as hexadecimal digits. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Option<[u8; 32]>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Secret(hidden)" } else { "Secret(none)" })
    }
}

impl Secret {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Some(bytes))
    }

    /// Reads the digits; empty: none.
    ///
    /// # Errors
    /// When it is neither nothing nor 32 bytes. Texts as the reference.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = |text: String| ConfigError::new("cluster.secret", text);
        let bytes = hex::decode(text).map_err(|error| match error {
            hex::FromHexError::InvalidHexCharacter { c, .. } => {
                wrong(format!("encoding/hex: invalid byte: U+{:04X} {c:?}", u32::from(c)))
            }
            other => wrong(format!("encoding/hex: {other}")),
        })?;
        match <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(bytes) => Ok(Self(Some(bytes))),
            Err(_) if bytes.is_empty() => Ok(Self(None)),
            Err(_) => Err(wrong(format!("input secret is {} bytes, cluster secret should be 32", bytes.len()))),
        }
    }

    /// The bytes, if there are any.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8; 32]> {
        self.0.as_ref()
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.map(hex::encode).unwrap_or_default().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let failed =
            |e: ConfigError| serde::de::Error::custom(format!("error loading cluster secret from config: {e}"));
        Self::parse(&text).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_nothing_or_thirty_two_bytes() {
        let text = |given: &str| Secret::parse(given).expect_err(given).message;
        assert_eq!(text("zz"), "encoding/hex: invalid byte: U+007A 'z'");
        assert_eq!(text("0011"), "input secret is 2 bytes, cluster secret should be 32");
        assert_eq!(Secret::parse(""), Ok(Secret::default()));
        assert!(!format!("{:?}", Secret::new([7; 32])).contains("07"));
    }

    #[test]
    fn the_first_mistake_is_told_in_the_words_of_the_reference() {
        let with = |change: fn(&mut ClusterConfig)| {
            let mut config = ClusterConfig::default();
            change(&mut config);
            config.validate().expect_err("refused").message
        };
        assert_eq!(with(|c| c.listen_multiaddress.0.clear()), "cluster.listen_multiaddress is undefined");
        assert_eq!(with(|c| c.monitor_ping_interval = GoDuration(0)), "cluster.monitoring_interval is invalid");
        assert_eq!(with(|c| c.replication_factor_min = 3), "cluster.replication_factor_min is larger than max");
        assert!(ClusterConfig::default().validate().is_ok());
    }
}
