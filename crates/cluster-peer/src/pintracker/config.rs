//! Sections `pin_tracker.stateless` and `pin_tracker.maptracker`: the same keys.

use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_core::tracker::Config;
use cluster_types::GoDuration;
use serde::{Deserialize, Deserializer, Serialize};

const QUEUE: i64 = 1_000_000;
const CONCURRENT: i64 = 10;
const RETRIES: i64 = 5;

/// How pins are worked off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatelessConfig {
    /// Most items that wait. The queue is on disk, so that this bounds nothing; kept for compatibility.
    #[serde(skip_serializing_if = "is_default_queue", deserialize_with = "or_queue")]
    pub max_pin_queue_size: i64,
    /// Pins in flight at a time. Default 10.
    #[serde(deserialize_with = "or_concurrent")]
    pub concurrent_pins: i64,
    /// For so long a new pin goes before older ones. Default `24h`.
    pub priority_pin_max_age: GoDuration,
    /// So often it may fail and still go before older ones. Default 5.
    #[serde(deserialize_with = "or_retries")]
    pub priority_pin_max_retries: i64,
}

impl Default for StatelessConfig {
    fn default() -> Self {
        Self {
            max_pin_queue_size: QUEUE,
            concurrent_pins: CONCURRENT,
            priority_pin_max_age: GoDuration::from_secs(24 * 3600),
            priority_pin_max_retries: RETRIES,
        }
    }
}

fn is_default_queue(value: &i64) -> bool {
    *value == QUEUE
}

/// As the reference: 0 means the default.
fn or<'de, D: Deserializer<'de>>(deserializer: D, default: i64) -> Result<i64, D::Error> {
    Ok(match i64::deserialize(deserializer)? {
        0 => default,
        value => value,
    })
}

fn or_queue<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    or(deserializer, QUEUE)
}

fn or_concurrent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    or(deserializer, CONCURRENT)
}

fn or_retries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    or(deserializer, RETRIES)
}

impl StatelessConfig {
    /// The machine's rules.
    #[must_use]
    pub fn rules(&self) -> Config {
        Config {
            concurrent_pins: usize::try_from(self.concurrent_pins).unwrap_or(1).max(1),
            concurrent_unpins: 1,
            priority_max_age: self.priority_pin_max_age.get(),
            priority_max_retries: u32::try_from(self.priority_pin_max_retries).unwrap_or(0),
        }
    }
}

impl ComponentConfig for StatelessConfig {
    const SECTION: Section = Section::PinTracker;
    const KEY: &'static str = "stateless";
    const HIDDEN: &'static [(&'static str, &'static str)] = &[("max_pin_queue_size", "1000000")];

    fn validate(&self) -> Result<(), ConfigError> {
        self.check(Self::KEY, "statelesstracker")
    }
}

impl StatelessConfig {
    /// The first mistake, in the words of the reference for the tracker of this name.
    fn check(&self, key: &str, tracker: &str) -> Result<(), ConfigError> {
        let checks = [
            (self.max_pin_queue_size <= 0, "max_pin_queue_size", "too low"),
            (self.concurrent_pins <= 0, "concurrent_pins", "is too low"),
            (self.priority_pin_max_age.0 <= 0, "priority_pin_max_age", "is too low"),
            (self.priority_pin_max_retries <= 0, "priority_pin_max_retries", "is too low"),
        ];
        match checks.into_iter().find(|(wrong, ..)| *wrong) {
            Some((_, name, text)) => Err(ConfigError::new(format!("{key}.{name}"), format!("{tracker}.{name} {text}"))),
            None => Ok(()),
        }
    }
}

/// How pins are worked off by the tracker that keeps every status in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MapTrackerConfig(pub StatelessConfig);

impl ComponentConfig for MapTrackerConfig {
    const SECTION: Section = Section::PinTracker;
    const KEY: &'static str = "maptracker";
    const HIDDEN: &'static [(&'static str, &'static str)] = StatelessConfig::HIDDEN;

    fn validate(&self) -> Result<(), ConfigError> {
        self.0.check(Self::KEY, Self::KEY)
    }
}
