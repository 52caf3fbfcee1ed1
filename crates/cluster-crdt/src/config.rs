//! Section `consensus.crdt`.

use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_types::{GoDuration, PeerId, peer_id};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const DEFAULT_QUEUE: i64 = 50_000;

/// How this peer shares the pinset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CrdtConfig {
    /// Peers of one cluster have the same. Default `ipfs-cluster`.
    pub cluster_name: String,
    /// Peers whose changes count; `*`: everybody. Default in new files `["*"]`; missing: nobody else.
    #[serde(default)]
    pub trusted_peers: Vec<String>,
    /// How changes are grouped.
    pub batching: Batching,
    /// How often missing blocks are looked for; 0: never. Default `1h`.
    pub repair_interval: GoDuration,
    /// How often heads are announced again. Default `1m`.
    #[serde(skip_serializing_if = "is_default_rebroadcast")]
    pub rebroadcast_interval: GoDuration,
    /// The metric by which a peer counts as a member. Default `ping`.
    #[serde(skip_serializing_if = "is_ping")]
    pub peerset_metric: String,
    /// Where the reference keeps its data in the datastore. Ours has tables of its own; kept for compatibility.
    #[serde(skip_serializing_if = "is_default_namespace")]
    pub datastore_namespace: String,
}

/// How changes are grouped. Changes that wait for the same sync are grouped in any case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Batching {
    /// A group is closed with so many changes; 0: groups are not waited for.
    pub max_batch_size: i64,
    /// A group is closed after so long; 0: groups are not waited for.
    pub max_batch_age: GoDuration,
    /// Most changes that wait. Default 50000.
    #[serde(skip_serializing_if = "is_default_queue")]
    pub max_queue_size: i64,
}

impl Default for Batching {
    fn default() -> Self {
        Self { max_batch_size: 0, max_batch_age: GoDuration(0), max_queue_size: DEFAULT_QUEUE }
    }
}

impl Default for CrdtConfig {
    fn default() -> Self {
        Self {
            cluster_name: "ipfs-cluster".into(),
            trusted_peers: vec!["*".into()],
            batching: Batching::default(),
            repair_interval: GoDuration::from_secs(3600),
            rebroadcast_interval: default_rebroadcast(),
            peerset_metric: "ping".into(),
            datastore_namespace: "/c".into(),
        }
    }
}

fn default_rebroadcast() -> GoDuration {
    GoDuration::from_secs(60)
}

fn is_default_rebroadcast(value: &GoDuration) -> bool {
    *value == default_rebroadcast()
}

fn is_ping(value: &str) -> bool {
    value == "ping"
}

fn is_default_namespace(value: &str) -> bool {
    value == "/c"
}

fn is_default_queue(value: &i64) -> bool {
    *value == DEFAULT_QUEUE
}

/// Whose changes count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Everybody's.
    All,
    /// Those of these peers, and our own.
    These(BTreeSet<PeerId>),
}

impl CrdtConfig {
    /// Whose changes count.
    ///
    /// # Errors
    /// When a name is none.
    pub fn trust(&self) -> Result<Trust, ConfigError> {
        if self.trusted_peers.iter().any(|name| name == "*") {
            return Ok(Trust::All);
        }
        let parse = |name: &String| {
            let text = |e| ConfigError::new("crdt.trusted_peers", format!("error parsing trusted peers: {e}"));
            peer_id::parse(name).map_err(text)
        };
        self.trusted_peers.iter().map(parse).collect::<Result<_, _>>().map(Trust::These)
    }
}

impl ComponentConfig for CrdtConfig {
    const SECTION: Section = Section::Consensus;
    const KEY: &'static str = "crdt";
    const HIDDEN: &'static [(&'static str, &'static str)] = &[
        ("batching.max_queue_size", "50000"),
        ("rebroadcast_interval", "\"1m0s\""),
        ("peerset_metric", "\"ping\""),
        ("datastore_namespace", "\"/c\""),
    ];

    fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, text: &str| Err(ConfigError::new(key, text));
        self.trust()?;
        if self.cluster_name.is_empty() {
            return wrong("crdt.cluster_name", "crdt.cluster_name cannot be empty");
        }
        if self.batching.max_queue_size < 0 {
            return wrong("crdt.batching.max_queue_size", "crdt.batching.max_queue_size is invalid");
        }
        if self.repair_interval.0 < 0 {
            return wrong("crdt.repair_interval", "crdt.repair_interval is invalid");
        }
        if self.rebroadcast_interval.0 <= 0 {
            return wrong("crdt.rebroadcast_interval", "crdt.rebroadcast_interval is invalid");
        }
        Ok(())
    }
}
