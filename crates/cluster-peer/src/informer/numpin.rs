//! Informer `numpin`: how many pins the daemon holds, and its section `informer.numpin`.
//!
//! Peers of the reference have it in their code and not in their configuration.

use super::{TTL, metric};
use async_trait::async_trait;
use cluster_component::component::Informer;
use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_component::ports::Clock;
use cluster_component::rpc::{IPFSConnector, Rpc, Target};
use cluster_types::{GoDuration, IpfsPinStatus, Metric};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// For how long the number counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumPinConfig {
    /// Default `30s`. Missing is an error, as in the other informers.
    #[serde(default)]
    pub metric_ttl: GoDuration,
}

impl Default for NumPinConfig {
    fn default() -> Self {
        Self { metric_ttl: TTL }
    }
}

impl ComponentConfig for NumPinConfig {
    const SECTION: Section = Section::Informer;
    const KEY: &'static str = "numpin";

    fn validate(&self) -> Result<(), ConfigError> {
        if self.metric_ttl.0 <= 0 {
            return Err(ConfigError::new("numpin.metric_ttl", "numpin.metric_ttl is invalid"));
        }
        Ok(())
    }
}

/// The informer.
pub struct NumPinInformer {
    config: NumPinConfig,
    rpc: Rpc,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for NumPinInformer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NumPinInformer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl NumPinInformer {
    /// Asks this peer's daemon.
    #[must_use]
    pub fn new(config: NumPinConfig, rpc: Rpc, clock: Arc<dyn Clock>) -> Self {
        Self { config, rpc, clock }
    }
}

#[async_trait]
impl Informer for NumPinInformer {
    fn key(&self) -> &'static str {
        "numpin"
    }

    async fn metrics(&self) -> Vec<Metric> {
        let mut metric = metric("numpin", self.rpc.me(), &*self.clock, self.config.metric_ttl);
        let kinds = vec![IpfsPinStatus::Recursive, IpfsPinStatus::Direct];
        let mut pages = self.rpc.stream::<IPFSConnector::PinLs>(Target::Local, kinds);
        let mut count = 0;
        while let Some(page) = pages.next().await {
            match page {
                Ok(pins) => count += pins.len(),
                Err(error) => {
                    tracing::warn!(%error, "the number of the daemon's pins is not known");
                    metric.valid = false;
                    break;
                }
            }
        }
        metric.value = count.to_string();
        vec![metric]
    }
}
