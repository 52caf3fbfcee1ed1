//! Section `ipfs_connector.embedded`.

use crate::swarm::SwarmConfig;
use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_types::{GoDuration, Multiaddr};
use serde::{Deserialize, Serialize};

/// How the embedded node serves, and how much it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EmbeddedConfig {
    /// Where content is served over HTTP; empty: nowhere. Default `/ip4/127.0.0.1/tcp/8080`.
    pub gateway_multiaddress: String,
    /// Most bytes of blocks: a size such as `10GB` or `500GiB`, or a part of the file system such as `90%`. Default
    /// `90%`.
    pub storage_max: String,
    /// How long a pin may wait for a block that is not here. Default `2m`.
    pub pin_timeout: GoDuration,
    /// How long other requests may wait for a block that is not here. Default `5m`.
    pub ipfs_request_timeout: GoDuration,
    /// Whether unpinning is forbidden.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unpin_disable: bool,
    /// Whether and how the node takes part in the IPFS network. Default: it does not.
    pub swarm: SwarmConfig,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            gateway_multiaddress: "/ip4/127.0.0.1/tcp/8080".into(),
            storage_max: "90%".into(),
            pin_timeout: GoDuration::from_secs(120),
            ipfs_request_timeout: GoDuration::from_secs(300),
            unpin_disable: false,
            swarm: SwarmConfig::default(),
        }
    }
}

impl EmbeddedConfig {
    /// Where content is served, if anywhere.
    #[must_use]
    pub fn gateway(&self) -> Option<Multiaddr> {
        self.gateway_multiaddress.parse().ok().filter(|_| !self.gateway_multiaddress.is_empty())
    }
}

impl ComponentConfig for EmbeddedConfig {
    const SECTION: Section = Section::IpfsConnector;
    const KEY: &'static str = "embedded";
    const HIDDEN: &'static [(&'static str, &'static str)] = &[("unpin_disable", "false")];

    fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, text: String| Err(ConfigError::new(format!("embedded.{key}"), text));
        if !self.gateway_multiaddress.is_empty() && self.gateway().is_none() {
            let text = format!(
                "embedded.gateway_multiaddress is no address: {:?} (such as /ip4/127.0.0.1/tcp/8080)",
                self.gateway_multiaddress
            );
            return wrong("gateway_multiaddress", text);
        }
        if Size::parse(&self.storage_max).is_none() {
            let text = format!("embedded.storage_max is no size: {:?} (such as 10GB, 500GiB or 90%)", self.storage_max);
            return wrong("storage_max", text);
        }
        for (key, span) in [("pin_timeout", &self.pin_timeout), ("ipfs_request_timeout", &self.ipfs_request_timeout)] {
            if span.0 <= 0 {
                return wrong(key, format!("embedded.{key} must be more than nothing"));
            }
        }
        self.swarm.validate()
    }
}

/// A size as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Bytes(u64),
    Percent(u64),
}

impl Size {
    /// `10GB`, `1.5 GiB`, `4096`, `90%`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0)?;
        let unit = unit.trim().to_ascii_lowercase();
        if unit == "%" {
            return (number <= 100.0).then_some(Self::Percent(number as u64));
        }
        let power = |prefix: char| "kmgtp".find(prefix).map_or(0, |at| at as i32 + 1);
        let factor = match unit.trim_end_matches('b') {
            "" => 1.0,
            prefix if prefix.len() == 1 && "kmgtp".contains(prefix) => {
                1000_f64.powi(prefix.chars().next().map_or(0, power))
            }
            prefix if prefix.len() == 2 && prefix.ends_with('i') && "kmgtp".contains(&prefix[..1]) => {
                1024_f64.powi(prefix.chars().next().map_or(0, power))
            }
            _ => return None,
        };
        Some(Self::Bytes((number * factor) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let cases = [
            ("10GB", Some(Size::Bytes(10_000_000_000))),
            ("1.5 GiB", Some(Size::Bytes(1_610_612_736))),
            ("64k", Some(Size::Bytes(64_000))),
            ("4096", Some(Size::Bytes(4096))),
            ("90%", Some(Size::Percent(90))),
            ("101%", None),
            ("0", None),
            ("much", None),
            ("10XB", None),
            ("", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(Size::parse(text), wanted, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_key() {
        assert_eq!(EmbeddedConfig::default().validate(), Ok(()));
        let wrong = |change: fn(&mut EmbeddedConfig)| {
            let mut config = EmbeddedConfig::default();
            change(&mut config);
            config.validate().expect_err("a mistake").to_string()
        };
        assert!(wrong(|c| c.storage_max = "much".into()).contains("embedded.storage_max"));
        assert!(wrong(|c| c.gateway_multiaddress = "8080".into()).contains("embedded.gateway_multiaddress"));
        assert!(wrong(|c| c.pin_timeout = GoDuration::from_secs(0)).contains("embedded.pin_timeout"));
    }
}
