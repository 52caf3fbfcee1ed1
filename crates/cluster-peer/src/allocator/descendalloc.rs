//! PinAllocator `descendalloc`: the peers with the largest value of one metric first; and its section `allocator.descendalloc`.

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
pub struct DescendConfig {
    /// One metric whose values are numbers. Default `freespace`: the most room first.
    pub allocate_by: MetricName,
}

impl Default for DescendConfig {
    fn default() -> Self {
        Self { allocate_by: "freespace".into() }
    }
}

impl ComponentConfig for DescendConfig {
    const SECTION: Section = Section::Allocator;
    const KEY: &'static str = "descendalloc";

    fn validate(&self) -> Result<(), ConfigError> {
        check(Self::KEY, &self.allocate_by)
    }
}

/// The allocator.
#[derive(Debug)]
pub struct DescendAllocator(ByMetric);

impl DescendAllocator {
    /// An allocator that goes by this metric.
    #[must_use]
    pub fn new(config: DescendConfig) -> Self {
        Self(ByMetric::new(config.allocate_by, Direction::Descending))
    }
}

impl PinAllocator for DescendAllocator {
    fn key(&self) -> &'static str {
        DescendConfig::KEY
    }

    fn needs(&self) -> &[MetricName] {
        self.0.needs()
    }

    fn allocate(&self, request: &AllocationRequest<'_>) -> Result<Vec<PeerId>, AllocationError> {
        Ok(self.0.allocate(request))
    }
}
