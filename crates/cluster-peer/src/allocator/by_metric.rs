//! What the allocators that go by one metric share.

use cluster_component::component::AllocationRequest;
use cluster_component::config::ConfigError;
use cluster_core::allocate::by_metric::{Direction, order};
use cluster_types::{MetricName, PeerId};

/// Goes by one metric.
#[derive(Debug)]
pub(super) struct ByMetric {
    by: [MetricName; 1],
    direction: Direction,
}

impl ByMetric {
    pub(super) fn new(by: MetricName, direction: Direction) -> Self {
        Self { by: [by], direction }
    }

    pub(super) fn needs(&self) -> &[MetricName] {
        &self.by
    }

    /// Priority peers first, as every allocator.
    pub(super) fn allocate(&self, request: &AllocationRequest<'_>) -> Vec<PeerId> {
        let mut peers = order(&self.by[0], request.priority, self.direction);
        peers.extend(order(&self.by[0], request.candidates, self.direction));
        peers
    }
}

/// Refuses a section that names no metric.
pub(super) fn check(key: &'static str, allocate_by: &str) -> Result<(), ConfigError> {
    if allocate_by.is_empty() {
        let text = format!("{key}.allocate_by is empty: name one metric, such as freespace");
        return Err(ConfigError::new(format!("{key}.allocate_by"), text));
    }
    Ok(())
}
