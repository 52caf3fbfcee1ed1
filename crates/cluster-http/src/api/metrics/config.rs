//! Section `observations.metrics`.

use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_types::{GoDuration, Multiaddr};
use serde::{Deserialize, Serialize};

/// Whether figures are served, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricsConfig {
    /// Whether they are served. Default `false`.
    #[serde(default)]
    pub enable_stats: bool,
    /// Where. Default `/ip4/127.0.0.1/tcp/8888`; it must be given in a file that has the section.
    #[serde(default)]
    pub prometheus_endpoint: String,
    /// Kept for compatibility: figures are read when they are asked for. Default `30s`.
    pub reporting_interval: GoDuration,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            enable_stats: false,
            prometheus_endpoint: "/ip4/127.0.0.1/tcp/8888".into(),
            reporting_interval: GoDuration::from_secs(30),
        }
    }
}

impl MetricsConfig {
    /// Where figures are served.
    ///
    /// # Errors
    /// When it is no multiaddr.
    pub fn endpoint(&self) -> Result<Multiaddr, ConfigError> {
        let wrong = |e| {
            let text = format!("loadMetricsOptions: PrometheusEndpoint multiaddr: {e}");
            ConfigError::new("metrics.prometheus_endpoint", text)
        };
        cluster_types::address::parse(&self.prometheus_endpoint).map_err(wrong)
    }
}

impl ComponentConfig for MetricsConfig {
    const SECTION: Section = Section::Observations;
    const KEY: &'static str = "metrics";

    fn validate(&self) -> Result<(), ConfigError> {
        self.endpoint()?;
        if self.enable_stats && self.reporting_interval.0 < 0 {
            let text = "metrics.reporting_interval is invalid";
            return Err(ConfigError::new("metrics.reporting_interval", text));
        }
        Ok(())
    }
}
