//! PinAllocator `ascendalloc`: the peers with the smallest value of one metric first; and its section `allocator.ascendalloc`.

use super::by_metric::{ByMetric, check};
use cluster_component::component::{AllocationRequest, PinAllocator};
use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_component::errors::AllocationError;
use cluster_core::allocate::by_metric::Direction;
use cluster_types::{MetricName, PeerId};
use serde::{Deserialize, Serialize};

/// By what peers are ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AscendConfig {
    /// One metric whose values are numbers. Default `pinqueue`: the shortest queue first.
    pub allocate_by: MetricName,
}

impl Default for AscendConfig {
    fn default() -> Self {
        Self { allocate_by: "pinqueue".into() }
    }
}

impl ComponentConfig for AscendConfig {
    const SECTION: Section = Section::Allocator;
    const KEY: &'static str = "ascendalloc";

    fn validate(&self) -> Result<(), ConfigError> {
        check(Self::KEY, &self.allocate_by)
    }
}

/// The allocator.
#[derive(Debug)]
pub struct AscendAllocator(ByMetric);

impl AscendAllocator {
    /// An allocator that goes by this metric.
    #[must_use]
    pub fn new(config: AscendConfig) -> Self {
        Self(ByMetric::new(config.allocate_by, Direction::Ascending))
    }
}

impl PinAllocator for AscendAllocator {
    fn key(&self) -> &'static str {
        AscendConfig::KEY
    }

    fn needs(&self) -> &[MetricName] {
        self.0.needs()
    }

    fn allocate(&self, request: &AllocationRequest<'_>) -> Result<Vec<PeerId>, AllocationError> {
        Ok(self.0.allocate(request))
    }
}
