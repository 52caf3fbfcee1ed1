//! Section `consensus.raft`: the reference's keys.

use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_types::{GoDuration, PeerId, peer_id};
use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;

/// How a peer takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RaftConfig {
    /// The reference's folder of log and snapshots. Ours are in the datastore; backups go beside it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub data_folder: String,
    /// The members of a new cluster, beside this peer. Not read once there is a log.
    pub init_peerset: Vec<String>,
    /// So long is waited for a leader. Default `15s`.
    #[serde(deserialize_with = "or_leader")]
    pub wait_for_leader_timeout: GoDuration,
    /// So long may an answer of another peer take. Default `10s`.
    #[serde(deserialize_with = "or_network")]
    pub network_timeout: GoDuration,
    /// So often a change that failed is tried again. Default 1; missing: 0, as the reference.
    #[serde(default)]
    pub commit_retries: i64,
    /// The wait before that. Default `200ms`.
    #[serde(deserialize_with = "or_retry")]
    pub commit_retry_delay: GoDuration,
    /// Backups of earlier pinsets that are kept. Default 6.
    #[serde(deserialize_with = "or_backups")]
    pub backups_rotate: i64,
    /// A leader that is silent for so long is replaced. Default `1s`.
    #[serde(deserialize_with = "or_second")]
    pub heartbeat_timeout: GoDuration,
    /// An election that takes longer is held again. Default `1s`.
    #[serde(deserialize_with = "or_second")]
    pub election_timeout: GoDuration,
    /// Read and checked for compatibility: followers learn of commits with the next message.
    #[serde(deserialize_with = "or_commit")]
    pub commit_timeout: GoDuration,
    /// Entries of one message at the most. Default 64.
    #[serde(deserialize_with = "or_entries")]
    pub max_append_entries: i64,
    /// Entries that are kept behind a snapshot, for peers that are a little behind. Default 10240.
    #[serde(deserialize_with = "or_trailing")]
    pub trailing_logs: u64,
    /// Read and checked for compatibility: snapshots are made by count.
    #[serde(deserialize_with = "or_snapshot_interval")]
    pub snapshot_interval: GoDuration,
    /// Entries after which a snapshot is made. Default 8192.
    #[serde(deserialize_with = "or_threshold")]
    pub snapshot_threshold: u64,
    /// Read and checked for compatibility: a leader that no majority hears acknowledges nothing.
    #[serde(deserialize_with = "or_lease")]
    pub leader_lease_timeout: GoDuration,
}

const fn millis(millis: u64) -> GoDuration {
    GoDuration(millis as i64 * 1_000_000)
}

impl Default for RaftConfig {
    fn default() -> Self {
        Self {
            data_folder: String::new(),
            init_peerset: Vec::new(),
            wait_for_leader_timeout: GoDuration::from_secs(15),
            network_timeout: GoDuration::from_secs(10),
            commit_retries: 1,
            commit_retry_delay: millis(200),
            backups_rotate: 6,
            heartbeat_timeout: GoDuration::from_secs(1),
            election_timeout: GoDuration::from_secs(1),
            commit_timeout: millis(50),
            max_append_entries: 64,
            trailing_logs: 10_240,
            snapshot_interval: GoDuration::from_secs(120),
            snapshot_threshold: 8_192,
            leader_lease_timeout: millis(500),
        }
    }
}

macro_rules! zero_means_default {
    ($($name:ident: $type:ty = $field:ident),* $(,)?) => { $(
        /// As the reference: 0 means the default.
        fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
            let value = <$type>::deserialize(deserializer)?;
            Ok(if value == <$type>::default() { RaftConfig::default().$field } else { value })
        }
    )* };
}
zero_means_default! {
    or_leader: GoDuration = wait_for_leader_timeout,
    or_network: GoDuration = network_timeout,
    or_retry: GoDuration = commit_retry_delay,
    or_backups: i64 = backups_rotate,
    or_second: GoDuration = heartbeat_timeout,
    or_commit: GoDuration = commit_timeout,
    or_entries: i64 = max_append_entries,
    or_trailing: u64 = trailing_logs,
    or_snapshot_interval: GoDuration = snapshot_interval,
    or_threshold: u64 = snapshot_threshold,
    or_lease: GoDuration = leader_lease_timeout,
}

impl RaftConfig {
    /// The members that it names. As the reference: what names no peer is left out.
    #[must_use]
    pub fn init_peers(&self) -> Vec<PeerId> {
        self.init_peerset.iter().filter_map(|text| peer_id::parse(text).ok()).collect()
    }

    /// The engine's settings. A leader that dies is replaced within about twice the election timeout: its lease runs
    /// out, and after a wait of between half of it and all of it somebody stands for election.
    pub(crate) fn engine(&self) -> openraft::Config {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        let (heartbeat, election) = (millis(self.heartbeat_timeout.get()), millis(self.election_timeout.get()));
        openraft::Config {
            heartbeat_interval: (heartbeat / 4).max(1),
            election_timeout_min: (heartbeat / 2).max(2),
            election_timeout_max: election.max(heartbeat / 2 + 2),
            install_snapshot_timeout: millis(self.network_timeout.get()),
            max_payload_entries: u64::try_from(self.max_append_entries).unwrap_or(1).max(1),
            replication_lag_threshold: self.trailing_logs.max(1),
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.snapshot_threshold.max(1)),
            max_in_snapshot_log_to_keep: self.trailing_logs,
            purge_batch_size: 64,
            ..openraft::Config::default()
        }
    }
}

impl ComponentConfig for RaftConfig {
    const SECTION: Section = Section::Consensus;
    const KEY: &'static str = "raft";
    const HIDDEN: &'static [(&'static str, &'static str)] = &[("data_folder", "\"\"")];

    fn validate(&self) -> Result<(), ConfigError> {
        const MILLI: i64 = 1_000_000;
        let (heartbeat, election) = (self.heartbeat_timeout, self.election_timeout);
        let lease = self.leader_lease_timeout;
        let checks = [
            (self.wait_for_leader_timeout.0 <= 0, "wait_for_leader_timeout", "wait_for_leader_timeout <= 0".to_owned()),
            (self.network_timeout.0 <= 0, "network_timeout", "network_timeout <= 0".into()),
            (self.commit_retries < 0, "commit_retries", "commit_retries is invalid".into()),
            (self.commit_retry_delay.0 <= 0, "commit_retry_delay", "commit_retry_delay is invalid".into()),
            (self.backups_rotate <= 0, "backups_rotate", "backups_rotate should be larger than 0".into()),
            (heartbeat.0 < 5 * MILLI, "heartbeat_timeout", "HeartbeatTimeout is too low".into()),
            (election.0 < 5 * MILLI, "election_timeout", "ElectionTimeout is too low".into()),
            (self.commit_timeout.0 < MILLI, "commit_timeout", "CommitTimeout is too low".into()),
            (self.max_append_entries <= 0, "max_append_entries", "MaxAppendEntries must be positive".into()),
            (self.max_append_entries > 1_024, "max_append_entries", "MaxAppendEntries is too large".into()),
            (self.snapshot_interval.0 < 5 * MILLI, "snapshot_interval", "SnapshotInterval is too low".into()),
            (lease.0 < 5 * MILLI, "leader_lease_timeout", "LeaderLeaseTimeout is too low".into()),
            (
                lease > heartbeat,
                "leader_lease_timeout",
                format!("LeaderLeaseTimeout ({lease}) cannot be larger than heartbeat timeout ({heartbeat})"),
            ),
            (
                election < heartbeat,
                "election_timeout",
                format!("ElectionTimeout ({election}) must be equal or greater than Heartbeat Timeout ({heartbeat})"),
            ),
        ];
        match checks.into_iter().find(|(wrong, ..)| *wrong) {
            Some((_, key, text)) => Err(ConfigError::new(format!("raft.{key}"), text)),
            None => Ok(()),
        }
    }
}
