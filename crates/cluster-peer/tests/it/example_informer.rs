//! An informer as anybody can write one, from the first line to the last: docs/components.md explains it.
//!
//! It tells how busy the machine is, so that `ascendalloc` gives pins to those that are least so.

use async_trait::async_trait;
use cluster_component::component::Informer;
use cluster_component::config::{ComponentConfig, ConfigError, Document, Environment, Section};
use cluster_component::ports::Clock;
use cluster_testkit::{ManualClock, contract};
use cluster_types::{GoDuration, Metric, PeerId, Timestamp};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// Section `informer.busy`: its fields are its keys, and their values here the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct BusyConfig {
    /// For how long a figure counts. Default `30s`.
    metric_ttl: GoDuration,
    /// Where the load is read. Default `/proc/loadavg`.
    file: PathBuf,
}

impl Default for BusyConfig {
    fn default() -> Self {
        Self { metric_ttl: GoDuration::from_secs(30), file: "/proc/loadavg".into() }
    }
}

impl ComponentConfig for BusyConfig {
    const SECTION: Section = Section::Informer;
    const KEY: &'static str = "busy";

    fn validate(&self) -> Result<(), ConfigError> {
        if self.metric_ttl.0 <= 0 {
            return Err(ConfigError::new("busy.metric_ttl", "busy.metric_ttl is invalid: give a time such as 30s"));
        }
        Ok(())
    }
}

/// The informer.
struct BusyInformer {
    config: BusyConfig,
    me: PeerId,
    clock: Arc<dyn Clock>,
}

impl BusyInformer {
    /// Hundredths of the load of the last minute.
    fn load(&self) -> Option<u64> {
        let text = std::fs::read_to_string(&self.config.file).ok()?;
        let load: f64 = text.split_whitespace().next()?.parse().ok()?;
        (load >= 0.0).then_some((load * 100.0) as u64)
    }
}

#[async_trait]
impl Informer for BusyInformer {
    fn key(&self) -> &'static str {
        BusyConfig::KEY
    }

    async fn metrics(&self) -> Vec<Metric> {
        let load = self.load();
        vec![Metric {
            name: "busy".into(),
            peer: self.me,
            value: load.unwrap_or_default().to_string(),
            expire: self.clock.now().wall.saturating_add(self.config.metric_ttl.get()),
            // What could not be found out is told all the same, and nobody goes by it.
            valid: load.is_some(),
            weight: load.map_or(0, |load| -i64::try_from(load).unwrap_or(i64::MAX)),
            partitionable: false,
            received_at: Timestamp::ZERO,
        }]
    }
}

#[tokio::test]
async fn it_keeps_the_contract_of_every_informer() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("loadavg");
    std::fs::write(&file, "0.52 0.58 0.59 2/1031 12345\n").expect("written");
    let (me, clock) = (PeerId::random(), Arc::new(ManualClock::default()));
    let config = BusyConfig { file: file.clone(), ..BusyConfig::default() };
    let informer = BusyInformer { config, me, clock: Arc::clone(&clock) as Arc<dyn Clock> };
    assert_eq!(informer.metrics().await[0].value, "52");

    contract::informer::run(&informer, me, &*clock, || std::fs::remove_file(file).expect("removed")).await;
    assert!(!informer.metrics().await[0].valid);
}

#[test]
fn its_section_is_read_checked_and_set_by_variables() {
    let file = Document::parse(r#"{"informer": {"busy": {"metric_ttl": "10s"}}}"#).expect("JSON");
    let loaded = file.load::<BusyConfig>(&Environment::default()).expect("right");
    assert!(loaded.present && loaded.config.metric_ttl == GoDuration::from_secs(10));

    let variables = Environment([("CLUSTER_BUSY_METRICTTL".to_owned(), "5s".to_owned())].into());
    let loaded = file.load::<BusyConfig>(&variables).expect("right");
    assert_eq!(loaded.config.metric_ttl, GoDuration::from_secs(5));

    let wrong = Document::parse(r#"{"informer": {"busy": {"metric_ttl": "-1s"}}}"#).expect("JSON");
    assert!(wrong.load::<BusyConfig>(&Environment::default()).is_err());
}

#[test]
fn an_allocator_can_go_by_it() {
    use cluster_peer::allocator::ascendalloc::{AscendAllocator, AscendConfig};
    use cluster_testkit::contract::allocator::{order, peer};
    let allocator = AscendAllocator::new(AscendConfig { allocate_by: "busy".into() });
    assert_eq!(order(&allocator, &[], &[(1, 300), (2, 20), (3, 150)]), [2, 3, 1].map(peer));
}
