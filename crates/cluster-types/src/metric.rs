//! Figures that peers tell each other, and what follows when they stop.

use crate::{Multiaddr, PeerId, Timestamp};
use serde::{Deserialize, Serialize};

/// The name of a kind of metric, such as `ping`, `freespace` or `tag:group`.
pub type MetricName = String;

/// A figure of one peer, valid for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// Which figure.
    pub name: MetricName,
    /// Whose.
    pub peer: PeerId,
    /// As text.
    pub value: String,
    /// Until when it counts.
    #[serde(with = "nanos")]
    pub expire: Timestamp,
    /// Whether it could be found out at all.
    pub valid: bool,
    /// What it weighs when peers are chosen; more is better.
    pub weight: i64,
    /// Whether peers of equal value belong together when peers are chosen.
    pub partitionable: bool,
    /// When this peer received it.
    #[serde(with = "nanos")]
    pub received_at: Timestamp,
}

/// Moments as nanoseconds since 1970, as metrics carry them.
mod nanos {
    use crate::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        // No time at all is 0 and not the year 1, which nanoseconds do not reach.
        if moment.is_zero() { 0_i64 } else { moment.unix_nanos() }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Ok(match i64::deserialize(deserializer)? {
            0 => Timestamp::ZERO,
            nanos => Timestamp::from_unix_nanos(nanos),
        })
    }
}

impl Metric {
    /// Whether it no longer counts at `now`: invalid or expired.
    #[must_use]
    pub fn is_discardable(&self, now: Timestamp) -> bool {
        !self.valid || self.is_expired(now)
    }

    /// Whether its time is over at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now > self.expire
    }
}

/// A metric that a peer no longer renews.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The last one seen.
    #[serde(flatten)]
    pub metric: Metric,
    /// When it was missed.
    pub triggered_at: Timestamp,
}

/// What the value of the metric `ping` holds, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PingValue {
    /// The peer's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub peer_name: String,
    /// Its IPFS daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipfs_id: Option<PeerId>,
    /// Where that daemon can be reached from elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipfs_addresses: Vec<Multiaddr>,
}
