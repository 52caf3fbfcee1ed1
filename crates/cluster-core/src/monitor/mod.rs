//! What is known of peers by their metrics, who has fallen silent, and whose clock is wrong.
//!
//! As the reference: `monitor/metrics`. A window of the last metrics of each name and peer; an alert when the latest
//! has run out, once until it is renewed. Unlike the reference, a metric counts by the clock of the peer that received
//! it: its sender's clock may be wrong (see [`lifetime`]), and our own may be set while we run.

pub mod lifetime;

use cluster_types::{Metric, MetricName, PeerId, Time};
use lifetime::Arrival;
pub use lifetime::ClockOf;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Metrics kept of each name and peer.
const WINDOW: usize = 25;

/// Names that are kept; metrics of more are not taken in, since any peer of the network can send them.
const NAMES_MAX: usize = 1_000;

/// Peers that are kept for each name.
const PEERS_MAX: usize = 10_000;

/// What a peer said is forgotten after it was silent for so long.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The metric that clocks are read from: it is sent in the same interval whatever else its peer does. Others wait for the
/// daemon, and what is renewed late looks as if it were dated back.
const CLOCK_METRIC: &str = "ping";

/// A clock that differs by less is not told: messages take their time, and so do clocks.
const SKEW_TOLD_FROM: i64 = 2_000_000_000;

/// A metric and when it came.
#[derive(Debug, Clone)]
struct Entry {
    metric: Metric,
    arrival: Arrival,
    /// Until when it counts, by our monotonic clock.
    until: Duration,
}

impl Entry {
    fn counts(&self, now: Time) -> bool {
        self.metric.valid && now.mono <= self.until
    }
}

/// A clock that differs from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// By how many nanoseconds it is ahead; negative: behind.
    pub ahead_nanos: i64,
    /// Until when that counts, by our monotonic clock.
    until: Duration,
}

impl Skew {
    /// For how long that counts.
    #[must_use]
    pub fn counts_for(&self, now: Time) -> Duration {
        self.until.saturating_sub(now.mono)
    }
}

/// The metrics of all peers.
#[derive(Debug, Default)]
pub struct Metrics {
    windows: BTreeMap<MetricName, BTreeMap<PeerId, VecDeque<Entry>>>,
    /// Those that were missed and told.
    missed: BTreeSet<(MetricName, PeerId)>,
    /// Peers whose clock differs from ours.
    skews: BTreeMap<PeerId, Skew>,
}

impl Metrics {
    /// Takes in a metric. A valid one ends a silence. What came before, and comes again or late, changes nothing.
    ///
    /// Returns the skew of the peer's clock when that is news.
    pub fn add(&mut self, metric: Metric, clock: ClockOf, now: Time) -> Option<Skew> {
        if !self.has_room_for(&metric) {
            return None;
        }
        let (name, peer) = (metric.name.clone(), metric.peer);
        let tells_clock = name == CLOCK_METRIC;
        let window = self.windows.entry(name.clone()).or_default().entry(peer).or_default();
        let arrival = Arrival { expire: metric.expire, wall: now.wall, clock };
        if is_late(window, &arrival, now) {
            return None;
        }
        let earlier: Vec<Arrival> = window.iter().map(|entry| entry.arrival).collect();
        let reading = lifetime::of(&earlier, arrival);
        if metric.valid {
            self.missed.remove(&(name, peer));
        }
        if window.len() == WINDOW {
            window.pop_front();
        }
        // From here on it says until when it counts in the terms of our clock.
        let expire = if reading.differs { now.wall.saturating_add(reading.lifetime) } else { metric.expire };
        let until = now.mono.saturating_add(reading.lifetime);
        window.push_back(Entry { metric: Metric { expire, received_at: now.wall, ..metric }, arrival, until });
        if tells_clock { self.note_skew(peer, reading.ahead_nanos?, until) } else { None }
    }

    fn note_skew(&mut self, peer: PeerId, ahead_nanos: i64, until: Duration) -> Option<Skew> {
        if ahead_nanos.abs() < SKEW_TOLD_FROM {
            self.skews.remove(&peer);
            return None;
        }
        let skew = Skew { ahead_nanos, until };
        self.skews.insert(peer, skew).is_none().then_some(skew)
    }

    fn has_room_for(&self, metric: &Metric) -> bool {
        match self.windows.get(&metric.name) {
            None => self.windows.len() < NAMES_MAX,
            Some(by_peer) => by_peer.contains_key(&metric.peer) || by_peer.len() < PEERS_MAX,
        }
    }

    /// The latest of each peer that counts.
    #[must_use]
    pub fn latest(&self, name: &str, now: Time) -> BTreeMap<PeerId, Metric> {
        let windows = self.windows.get(name).into_iter().flatten();
        let latest = windows.filter_map(|(peer, window)| Some((*peer, window.back()?)));
        latest.filter(|(_, entry)| entry.counts(now)).map(|(peer, entry)| (peer, entry.metric.clone())).collect()
    }

    /// The latest of one peer, whether it counts or not.
    #[must_use]
    pub fn latest_for(&self, name: &str, peer: &PeerId) -> Option<&Metric> {
        self.windows.get(name)?.get(peer)?.back().map(|entry| &entry.metric)
    }

    /// All names seen.
    #[must_use]
    pub fn names(&self) -> BTreeSet<MetricName> {
        self.windows.keys().cloned().collect()
    }

    /// Peers whose clock differs from ours, as far as that still counts.
    #[must_use]
    pub fn skews(&self, now: Time) -> BTreeMap<PeerId, Skew> {
        self.skews.iter().filter(|(_, skew)| now.mono <= skew.until).map(|(peer, skew)| (*peer, *skew)).collect()
    }

    /// The metrics that have run out since the last look. Each is told once, until its peer renews it.
    pub fn expired(&mut self, now: Time) -> Vec<Metric> {
        let mut expired = Vec::new();
        for (name, by_peer) in &mut self.windows {
            by_peer.retain(|peer, window| {
                let Some(entry) = window.back() else { return false };
                let silent = now.mono.saturating_sub(entry.until);
                if entry.metric.valid && !entry.counts(now) && self.missed.insert((name.clone(), *peer)) {
                    expired.push(entry.metric.clone());
                }
                silent <= FORGET_AFTER
            });
        }
        self.windows.retain(|_, by_peer| !by_peer.is_empty());
        let windows = &self.windows;
        self.missed.retain(|(name, peer)| windows.get(name).is_some_and(|by_peer| by_peer.contains_key(peer)));
        self.skews.retain(|_, skew| now.mono.saturating_sub(skew.until) <= FORGET_AFTER);
        expired
    }

    /// Forgets everything of a peer.
    pub fn forget(&mut self, peer: &PeerId) {
        for by_peer in self.windows.values_mut() {
            by_peer.remove(peer);
        }
        self.missed.retain(|(_, missed)| missed != peer);
        self.skews.remove(peer);
    }
}

/// Whether a metric was here before, or a later one of its sender is and still counts. One that is earlier than what
/// has run out is taken: then its sender's clock was set back.
fn is_late(window: &VecDeque<Entry>, arrival: &Arrival, now: Time) -> bool {
    if arrival.clock == ClockOf::Ours {
        return false;
    }
    let again = window.iter().any(|entry| entry.arrival.expire == arrival.expire);
    again || window.back().is_some_and(|last| arrival.expire < last.arrival.expire && last.counts(now))
}

#[cfg(test)]
mod tests;
