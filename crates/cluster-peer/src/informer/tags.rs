//! Informer `tags`: words that the operator gave this peer, and its section `informer.tags`.

use super::{TTL, metric};
use async_trait::async_trait;
use cluster_component::component::Informer;
use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_component::ports::Clock;
use cluster_types::{GoDuration, Metric, PeerId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagsConfig {
    /// Default `30s`.
    #[serde(default = "ttl")]
    pub metric_ttl: GoDuration,
    /// Default in new files `group: default`; missing: none.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

fn ttl() -> GoDuration {
    TTL
}

impl Default for TagsConfig {
    fn default() -> Self {
        Self { metric_ttl: TTL, tags: BTreeMap::from([("group".into(), "default".into())]) }
    }
}

impl ComponentConfig for TagsConfig {
    const SECTION: Section = Section::Informer;
    const KEY: &'static str = "tags";

    fn validate(&self) -> Result<(), ConfigError> {
        if self.metric_ttl.0 <= 0 {
            return Err(ConfigError::new("tags.metric_ttl", "tags.metric_ttl is invalid"));
        }
        Ok(())
    }
}

/// The informer.
pub struct TagsInformer {
    config: TagsConfig,
    me: PeerId,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for TagsInformer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagsInformer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl TagsInformer {
    /// Tells these words of this peer.
    #[must_use]
    pub fn new(config: TagsConfig, me: PeerId, clock: Arc<dyn Clock>) -> Self {
        Self { config, me, clock }
    }
}

#[async_trait]
impl Informer for TagsInformer {
    fn key(&self) -> &'static str {
        "tags"
    }

    async fn metrics(&self) -> Vec<Metric> {
        let tag = |(key, value): (&String, &String)| Metric {
            value: value.clone(),
            partitionable: true,
            ..metric(&format!("tag:{key}"), self.me, &*self.clock, self.config.metric_ttl)
        };
        if self.config.tags.is_empty() {
            // As the reference: one that is invalid, and so never told.
            return vec![Metric { valid: false, ..metric("tag:none", self.me, &*self.clock, self.config.metric_ttl) }];
        }
        self.config.tags.iter().map(tag).collect()
    }
}
