//! Informer `disk`: room in the daemon's repository, and its section `informer.disk`.

use super::{TTL, metric};
use async_trait::async_trait;
use cluster_component::component::Informer;
use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_component::ports::Clock;
use cluster_component::rpc::{IPFSConnector, Rpc, Target};
use cluster_types::{GoDuration, Metric};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// What is told, and for how long it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskConfig {
    /// Default `30s`. Missing is an error, as the reference.
    #[serde(default)]
    pub metric_ttl: GoDuration,
    /// `freespace` or `reposize`. Missing is an error, as the reference.
    #[serde(default)]
    pub metric_type: String,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self { metric_ttl: TTL, metric_type: "freespace".into() }
    }
}

impl ComponentConfig for DiskConfig {
    const SECTION: Section = Section::Informer;
    const KEY: &'static str = "disk";

    fn validate(&self) -> Result<(), ConfigError> {
        if !matches!(self.metric_type.as_str(), "freespace" | "reposize") {
            return Err(ConfigError::new("disk.metric_type", "disk.metric_type is invalid"));
        }
        if self.metric_ttl.0 <= 0 {
            return Err(ConfigError::new("disk.metric_ttl", "disk.metric_ttl is invalid"));
        }
        Ok(())
    }
}

/// The informer.
pub struct DiskInformer {
    config: DiskConfig,
    rpc: Rpc,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for DiskInformer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskInformer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl DiskInformer {
    /// Asks this peer's daemon.
    #[must_use]
    pub fn new(config: DiskConfig, rpc: Rpc, clock: Arc<dyn Clock>) -> Self {
        Self { config, rpc, clock }
    }
}

#[async_trait]
impl Informer for DiskInformer {
    fn key(&self) -> &'static str {
        "disk"
    }

    async fn metrics(&self) -> Vec<Metric> {
        let mut metric = metric(&self.config.metric_type, self.rpc.me(), &*self.clock, self.config.metric_ttl);
        let bytes = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        match self.rpc.call::<IPFSConnector::RepoStat>(Target::Local, ()).await {
            Ok(stat) if self.config.metric_type == "reposize" => {
                metric.value = stat.repo_size.to_string();
                metric.weight = -bytes(stat.repo_size);
            }
            Ok(stat) => match stat.storage_max.checked_sub(stat.repo_size).filter(|free| *free > 0) {
                Some(free) => {
                    metric.value = free.to_string();
                    metric.weight = bytes(free);
                }
                None => {
                    tracing::warn!(used = stat.repo_size, max = stat.storage_max, "the IPFS repository is full");
                    metric.value = "0".into();
                    metric.valid = false;
                }
            },
            Err(error) => {
                tracing::warn!(%error, "the size of the IPFS repository is not known");
                metric.valid = false;
            }
        }
        vec![metric]
    }
}
