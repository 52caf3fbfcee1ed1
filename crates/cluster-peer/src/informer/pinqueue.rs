//! Informer `pinqueue`: how many pins wait here, and its section `informer.pinqueue`.

use super::{TTL, metric};
use async_trait::async_trait;
use cluster_component::component::Informer;
use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_component::ports::Clock;
use cluster_component::rpc::{PinTracker, Rpc, Target};
use cluster_types::{GoDuration, Metric};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// How queues are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinQueueConfig {
    /// Default `30s`. Missing is an error, as the reference.
    #[serde(default)]
    pub metric_ttl: GoDuration,
    /// Queues that differ by less count as equal; 0: every pin counts. Default in new files 100000.
    #[serde(default)]
    pub weight_bucket_size: i64,
}

impl Default for PinQueueConfig {
    fn default() -> Self {
        Self { metric_ttl: TTL, weight_bucket_size: 100_000 }
    }
}

impl ComponentConfig for PinQueueConfig {
    const SECTION: Section = Section::Informer;
    const KEY: &'static str = "pinqueue";

    fn validate(&self) -> Result<(), ConfigError> {
        if self.metric_ttl.0 <= 0 {
            return Err(ConfigError::new("pinqueue.metric_ttl", "pinqueue.metric_ttl is invalid"));
        }
        if self.weight_bucket_size < 0 {
            return Err(ConfigError::new("pinqueue.weight_bucket_size", "pinqueue.WeightBucketSize is invalid"));
        }
        Ok(())
    }
}

/// The informer.
pub struct PinQueueInformer {
    config: PinQueueConfig,
    rpc: Rpc,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for PinQueueInformer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinQueueInformer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl PinQueueInformer {
    /// Asks this peer's tracker.
    #[must_use]
    pub fn new(config: PinQueueConfig, rpc: Rpc, clock: Arc<dyn Clock>) -> Self {
        Self { config, rpc, clock }
    }
}

#[async_trait]
impl Informer for PinQueueInformer {
    fn key(&self) -> &'static str {
        "pinqueue"
    }

    async fn metrics(&self) -> Vec<Metric> {
        let mut metric = metric("pinqueue", self.rpc.me(), &*self.clock, self.config.metric_ttl);
        match self.rpc.call::<PinTracker::PinQueueSize>(Target::Local, ()).await {
            Ok(length) => {
                let bucket = self.config.weight_bucket_size.max(1);
                metric.value = length.to_string();
                metric.weight = -(i64::try_from(length).unwrap_or(i64::MAX) / bucket);
            }
            Err(_) => metric.valid = false,
        }
        vec![metric]
    }
}
