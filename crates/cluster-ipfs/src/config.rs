//! Section `ipfs_connector.ipfshttp`.

use crate::daemon::check_syntax;
use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_types::GoDuration;
use serde::{Deserialize, Serialize};

/// Where the daemon is, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpfsHttpConfig {
    /// Its API: `/ip4/…/tcp/…`, `/dns…/…/tcp/…` or `/unix/<path>`. Default `/ip4/127.0.0.1/tcp/5001`; missing is an
    /// error, as the reference.
    #[serde(default)]
    pub node_multiaddress: String,
    /// How long after the start the daemon is told of the others' daemons; 0: never. Default `30s`.
    pub connect_swarms_delay: GoDuration,
    /// How long a request may take. Default `5m`.
    pub ipfs_request_timeout: GoDuration,
    /// How long a pin may go without progress. Default `2m`.
    pub pin_timeout: GoDuration,
    /// How long an unpin may take. Default `3h`.
    pub unpin_timeout: GoDuration,
    /// How long a garbage collection may take. Default `24h`.
    pub repogc_timeout: GoDuration,
    /// After so many pins metrics are found out at once; 0: never.
    #[serde(default)]
    pub informer_trigger_interval: i64,
    /// Whether unpinning is forbidden.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpin_disable: bool,
}

impl Default for IpfsHttpConfig {
    fn default() -> Self {
        Self {
            node_multiaddress: "/ip4/127.0.0.1/tcp/5001".into(),
            connect_swarms_delay: GoDuration::from_secs(30),
            ipfs_request_timeout: GoDuration::from_secs(300),
            pin_timeout: GoDuration::from_secs(120),
            unpin_timeout: GoDuration::from_secs(3 * 3600),
            repogc_timeout: GoDuration::from_secs(24 * 3600),
            informer_trigger_interval: 0,
            unpin_disable: false,
        }
    }
}

impl ComponentConfig for IpfsHttpConfig {
    const SECTION: Section = Section::IpfsConnector;
    const KEY: &'static str = "ipfshttp";
    const HIDDEN: &'static [(&'static str, &'static str)] = &[("unpin_disable", "false")];

    fn validate(&self) -> Result<(), ConfigError> {
        check_syntax(&self.node_multiaddress).map_err(|e| {
            ConfigError::new("ipfshttp.node_multiaddress", format!("error parsing ipfs_node_multiaddress: {e}"))
        })?;
        // As the reference, the last mistake is the one that is told.
        let checks = [
            (self.informer_trigger_interval < 0, "informer_trigger_interval", "ipfshttp.informer_trigger_interval"),
            (self.repogc_timeout.0 < 0, "repogc_timeout", "ipfshttp.repogc_timeout invalid"),
            (self.unpin_timeout.0 < 0, "unpin_timeout", "ipfshttp.unpin_timeout invalid"),
            (self.pin_timeout.0 < 0, "pin_timeout", "ipfshttp.pin_timeout invalid"),
            (self.ipfs_request_timeout.0 < 0, "ipfs_request_timeout", "ipfshttp.ipfs_request_timeout invalid"),
            (self.connect_swarms_delay.0 < 0, "connect_swarms_delay", "ipfshttp.connect_swarms_delay is invalid"),
        ];
        match checks.into_iter().find(|(wrong, ..)| *wrong) {
            Some((_, key, text)) => Err(ConfigError::new(format!("ipfshttp.{key}"), text)),
            None => Ok(()),
        }
    }
}
