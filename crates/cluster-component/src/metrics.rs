//! Figures that components count as they work, for whoever watches a peer. Plain numbers: how they are shown is not here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counts up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Moves by `n`.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Is `n` from now on.
    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// What it is.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper ends of the buckets of a [`Latencies`], in milliseconds: the reference's.
pub const LATENCY_MILLIS: [u64; 34] = [
    1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 65, 80, 100, 130, 160, 200, 250, 300, 400, 500, 650, 800,
    1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000,
];

/// How long something took, by buckets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latencies {
    /// How many took at most as long as each bucket's end and longer than the one before; last: longer than all.
    pub buckets: Vec<u64>,
    /// How many.
    pub count: u64,
    /// How long together, in microseconds.
    pub sum_micros: u64,
}

impl Latencies {
    fn observe(&mut self, took: Duration) {
        self.buckets.resize(LATENCY_MILLIS.len() + 1, 0);
        let millis = took.as_micros().div_ceil(1_000);
        let at = LATENCY_MILLIS.partition_point(|end| u128::from(*end) < millis);
        self.buckets[at] += 1;
        self.count += 1;
        self.sum_micros = self.sum_micros.saturating_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Takes in what another has seen.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.resize(LATENCY_MILLIS.len() + 1, 0);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(ours, theirs)| *ours += theirs);
        self.count += other.count;
        self.sum_micros = self.sum_micros.saturating_add(other.sum_micros);
    }
}

/// What a request was: its route (a name of a closed set), method and status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestKind {
    /// The route's name.
    pub route: &'static str,
    /// The method.
    pub method: String,
    /// The status.
    pub status: u16,
}

/// What a call between peers was. There are no more kinds than rows of the table, four times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallKind {
    /// The row's name.
    pub method: &'static str,
    /// Who called.
    pub side: CallSide,
    /// Whether it came to its end; of those that were asked, with an answer that is no error.
    pub done: bool,
}

/// Who called whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallSide {
    /// This peer asked another.
    Asked,
    /// This peer answered another.
    Answered,
}

/// Most kinds of requests that are told apart; methods can be made up.
const KINDS_MAX: usize = 1_000;

/// All figures of a peer.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Pins that the daemon was asked for.
    pub pin_adds: Counter,
    /// Those that failed.
    pub pin_add_errors: Counter,
    /// Streams of blocks that the daemon was given.
    pub block_puts: Counter,
    /// Those that failed.
    pub block_put_errors: Counter,
    /// Blocks in them.
    pub blocks_added: Counter,
    /// Bytes of these blocks.
    pub blocks_added_bytes: Counter,
    /// What the daemon has pinned, as far as this peer saw.
    pub ipfs_pins: Gauge,
    requests: Mutex<BTreeMap<RequestKind, Latencies>>,
    calls: Mutex<BTreeMap<CallKind, Latencies>>,
}

impl Metrics {
    /// Notes down a request that was answered.
    pub fn request(&self, kind: RequestKind, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() < KINDS_MAX || requests.contains_key(&kind) {
            requests.entry(kind).or_default().observe(took);
        }
    }

    /// Notes down a call between this peer and another.
    pub fn call(&self, kind: CallKind, took: Duration) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default().observe(took);
    }

    /// All calls so far.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<CallKind, Latencies> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<RequestKind, Latencies> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_the_bucket_that_they_do_not_exceed() {
        let mut seen = Latencies::default();
        [1_000, 1_001, 200_000_000].into_iter().for_each(|micros| seen.observe(Duration::from_micros(micros)));

        assert_eq!((seen.buckets[0], seen.buckets[1], seen.buckets[LATENCY_MILLIS.len()]), (1, 1, 1));
        assert_eq!((seen.count, seen.sum_micros), (3, 200_002_001));
    }

    #[test]
    fn kinds_of_requests_are_bounded() {
        let metrics = Metrics::default();
        for n in 0..2 * KINDS_MAX {
            let kind = RequestKind { route: "x", method: n.to_string(), status: 405 };
            metrics.request(kind, Duration::ZERO);
        }
        assert_eq!(metrics.requests().len(), KINDS_MAX);
    }
}
