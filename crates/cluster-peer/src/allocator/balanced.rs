//! PinAllocator `balanced`, and its section `allocator.balanced`.

use cluster_component::component::{AllocationRequest, PinAllocator};
use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_component::errors::AllocationError;
use cluster_core::allocate::balanced::order;
use cluster_types::{MetricName, PeerId};
use serde::{Deserialize, Serialize};

/// By what peers are divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BalancedConfig {
    /// Metrics, the first divides first. Default `tag:group`, then `freespace`.
    pub allocate_by: Vec<MetricName>,
}

impl Default for BalancedConfig {
    fn default() -> Self {
        Self { allocate_by: vec!["tag:group".into(), "freespace".into()] }
    }
}

impl ComponentConfig for BalancedConfig {
    const SECTION: Section = Section::Allocator;
    const KEY: &'static str = "balanced";

    fn validate(&self) -> Result<(), ConfigError> {
        if self.allocate_by.is_empty() {
            return Err(ConfigError::new("balanced.allocate_by", "metricalloc.allocate_by is invalid"));
        }
        Ok(())
    }
}

/// The allocator.
#[derive(Debug)]
pub struct BalancedAllocator(BalancedConfig);

impl BalancedAllocator {
    /// An allocator that goes by these metrics.
    #[must_use]
    pub fn new(config: BalancedConfig) -> Self {
        Self(config)
    }
}

impl PinAllocator for BalancedAllocator {
    fn key(&self) -> &'static str {
        "balanced"
    }

    fn needs(&self) -> &[MetricName] {
        &self.0.allocate_by
    }

    fn allocate(&self, request: &AllocationRequest<'_>) -> Result<Vec<PeerId>, AllocationError> {
        let by = &self.0.allocate_by;
        let mut peers = order(by, request.priority);
        peers.extend(order(by, request.candidates));
        Ok(peers)
    }
}
