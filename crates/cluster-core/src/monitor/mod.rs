//! What is known of peers by their metrics, and who has fallen silent.
//!
//! As the reference: `monitor/metrics`. A window of the last metrics of each name and peer; an alert when the latest
//! has expired, once until it is renewed.

use cluster_types::{Metric, MetricName, PeerId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Metrics kept of each name and peer.
const WINDOW: usize = 25;

/// Names that are kept; metrics of more are not taken in, since any peer of the network can send them.
const NAMES_MAX: usize = 1_000;

/// Peers that are kept for each name.
const PEERS_MAX: usize = 10_000;

/// The metrics of all peers.
#[derive(Debug, Default)]
pub struct Metrics {
    windows: BTreeMap<MetricName, BTreeMap<PeerId, VecDeque<Metric>>>,
    /// Those that were missed and told.
    missed: BTreeSet<(MetricName, PeerId)>,
}

impl Metrics {
    /// Takes in a metric. A valid one ends a silence.
    pub fn add(&mut self, metric: Metric) {
        let known = self.windows.contains_key(&metric.name);
        if !known && self.windows.len() >= NAMES_MAX {
            return;
        }
        let by_peer = self.windows.entry(metric.name.clone()).or_default();
        if !by_peer.contains_key(&metric.peer) && by_peer.len() >= PEERS_MAX {
            return;
        }
        if metric.valid {
            self.missed.remove(&(metric.name.clone(), metric.peer));
        }
        let window = by_peer.entry(metric.peer).or_default();
        if window.len() == WINDOW {
            window.pop_front();
        }
        window.push_back(metric);
    }

    /// The latest of each peer that counts.
    #[must_use]
    pub fn latest(&self, name: &str, now: Timestamp) -> BTreeMap<PeerId, Metric> {
        let windows = self.windows.get(name).into_iter().flatten();
        let latest = windows.filter_map(|(peer, window)| Some((*peer, window.back()?)));
        latest.filter(|(_, m)| !m.is_discardable(now)).map(|(peer, metric)| (peer, metric.clone())).collect()
    }

    /// The latest of one peer, whether it counts or not.
    #[must_use]
    pub fn latest_for(&self, name: &str, peer: &PeerId) -> Option<&Metric> {
        self.windows.get(name)?.get(peer)?.back()
    }

    /// All names seen.
    #[must_use]
    pub fn names(&self) -> BTreeSet<MetricName> {
        self.windows.keys().cloned().collect()
    }

    /// The metrics that have expired since the last look. Each is told once, until its peer renews it.
    pub fn expired(&mut self, now: Timestamp) -> Vec<Metric> {
        let mut expired = Vec::new();
        for (name, by_peer) in &self.windows {
            for (peer, window) in by_peer {
                let Some(metric) = window.back() else { continue };
                if metric.valid && metric.is_expired(now) && self.missed.insert((name.clone(), *peer)) {
                    expired.push(metric.clone());
                }
            }
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(peer: PeerId, expire: i64) -> Metric {
        Metric {
            name: "ping".into(),
            peer,
            value: String::new(),
            expire: Timestamp::from_unix(expire, 0),
            valid: true,
            weight: 0,
            partitionable: false,
            received_at: Timestamp::ZERO,
        }
    }

    #[test]
    fn a_silent_peer_is_told_once_and_again_after_it_came_back() {
        let (peer, at) = (PeerId::random(), |secs| Timestamp::from_unix(secs, 0));
        let mut metrics = Metrics::default();
        metrics.add(metric(peer, 10));

        assert_eq!(metrics.latest("ping", at(9)).len(), 1);
        assert_eq!(metrics.expired(at(9)).len(), 0);
        assert_eq!(metrics.expired(at(11)).len(), 1);
        assert_eq!(metrics.expired(at(12)).len(), 0);
        assert_eq!(metrics.latest("ping", at(12)).len(), 0);

        metrics.add(metric(peer, 20));
        assert_eq!(metrics.expired(at(21)).len(), 1);
        assert!(metrics.latest_for("ping", &peer).is_some());
    }

    #[test]
    fn windows_and_names_are_bounded() {
        let (peer, mut metrics) = (PeerId::random(), Metrics::default());
        for number in 0..3_000 {
            metrics.add(metric(peer, number));
            metrics.add(Metric { name: format!("name {number}"), ..metric(peer, number) });
        }
        assert_eq!(metrics.names().len(), NAMES_MAX);
        assert_eq!(metrics.windows["ping"][&peer].len(), WINDOW);
    }
}
