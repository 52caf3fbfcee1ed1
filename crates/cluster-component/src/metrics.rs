//! Figures that components count as they work, for whoever watches a peer. Plain numbers: how they are shown is not here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// One more for as long as it is kept.
#[derive(Debug)]
pub struct Held(Arc<Gauge>);

impl Held {
    /// Counts one in.
    #[must_use]
    pub fn one(gauge: &Arc<Gauge>) -> Self {
        gauge.add(1);
        Self(Arc::clone(gauge))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Upper ends of the buckets of times, in microseconds: those of the reference for HTTP, 1 ms to 100 s.
pub const TIMES: [u64; 34] = [
    1_000,
    2_000,
    3_000,
    4_000,
    5_000,
    6_000,
    8_000,
    10_000,
    13_000,
    16_000,
    20_000,
    25_000,
    30_000,
    40_000,
    50_000,
    65_000,
    80_000,
    100_000,
    130_000,
    160_000,
    200_000,
    250_000,
    300_000,
    400_000,
    500_000,
    650_000,
    800_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
];

/// The same for calls between peers and for the store, which may be quicker: from 10 µs on, as the reference for calls.
pub const SHORT_TIMES: [u64; 40] = short_times();

const fn short_times() -> [u64; 40] {
    let mut ends = [
        10, 50, 100, 300, 600, 800, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0,
    ];
    let mut at = 0;
    while at < TIMES.len() {
        ends[6 + at] = TIMES[at];
        at += 1;
    }
    ends
}

/// Upper ends of the buckets of sizes, in bytes: the reference's, 1 KiB to 4 GiB.
pub const SIZES: [u64; 13] = [
    1 << 10,
    1 << 11,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
    1 << 24,
    1 << 26,
    1 << 28,
    1 << 30,
    1 << 32,
];

/// How long something took (in microseconds) or how large it was (in bytes), by buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Upper ends of the buckets.
    pub ends: &'static [u64],
    /// How many are at most as large as each bucket's end and larger than the one before; last: larger than all.
    pub buckets: Vec<u64>,
    /// How many.
    pub count: u64,
    /// All together.
    pub sum: u64,
}

impl Distribution {
    /// Nothing yet, in these buckets.
    #[must_use]
    pub fn of(ends: &'static [u64]) -> Self {
        Self { ends, buckets: vec![0; ends.len() + 1], count: 0, sum: 0 }
    }

    fn observe(&mut self, value: u64) {
        self.buckets[self.ends.partition_point(|end| *end < value)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Takes in what another of the same buckets has seen.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(ours, theirs)| *ours += theirs);
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// A distribution that several tasks add to.
#[derive(Debug)]
pub struct Observed(Mutex<Distribution>);

impl Observed {
    fn of(ends: &'static [u64]) -> Self {
        Self(Mutex::new(Distribution::of(ends)))
    }

    /// Notes down how long something took.
    pub fn took(&self, time: Duration) {
        self.saw(micros(time));
    }

    /// Notes down how large something was.
    pub fn saw(&self, size: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).observe(size);
    }

    /// What was seen so far.
    #[must_use]
    pub fn get(&self) -> Distribution {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Bytes of calls that this peer answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallBytes {
    /// Received with each call.
    pub received: Distribution,
    /// Sent with each call.
    pub sent: Distribution,
}

/// What a request to the IPFS daemon came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DaemonCall {
    /// The status of the answer; 500 if there was none, as the reference has it.
    pub status: u16,
    /// How long it took to the end of the answer, or until that was given up.
    pub took: Duration,
    /// Bytes of the request's body.
    pub sent: u64,
    /// Bytes of the answer's body.
    pub received: u64,
}

/// Requests to the IPFS daemon whose answers had one status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonCalls {
    /// How long they took.
    pub times: Distribution,
    /// Bytes sent with each.
    pub sent: Distribution,
    /// Bytes received with each.
    pub received: Distribution,
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
#[derive(Debug)]
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
    /// Bytes of the bodies of requests to APIs, proxy and gateway.
    pub request_bytes: Observed,
    /// Bytes of the bodies of their answers.
    pub response_bytes: Observed,
    /// Requests that are being answered, to the end of their answers.
    pub requests_in_flight: Arc<Gauge>,
    /// Calls of other peers that are being answered.
    pub calls_answering: Arc<Gauge>,
    /// Calls to other peers that wait for their answers.
    pub calls_asking: Arc<Gauge>,
    /// Changes and events that wait for the writer of the pinset.
    pub writer_queue: Gauge,
    /// How long writes to the datastore took.
    pub store_writes: Observed,
    /// How long it took to make writes durable.
    pub store_syncs: Observed,
    /// How long it took from hearing of a new head to having all that is below it.
    pub convergence: Observed,
    /// Since when the oldest head is being followed, if one is.
    following_since: Mutex<Option<Instant>>,
    requests: Mutex<BTreeMap<RequestKind, Distribution>>,
    /// By status, of which there are less than a thousand.
    daemon: Mutex<BTreeMap<u16, DaemonCalls>>,
    calls: Mutex<BTreeMap<CallKind, Distribution>>,
    bytes: Mutex<BTreeMap<&'static str, CallBytes>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            pin_adds: Counter::default(),
            pin_add_errors: Counter::default(),
            block_puts: Counter::default(),
            block_put_errors: Counter::default(),
            blocks_added: Counter::default(),
            blocks_added_bytes: Counter::default(),
            ipfs_pins: Gauge::default(),
            request_bytes: Observed::of(&SIZES),
            response_bytes: Observed::of(&SIZES),
            requests_in_flight: Arc::default(),
            calls_answering: Arc::default(),
            calls_asking: Arc::default(),
            writer_queue: Gauge::default(),
            store_writes: Observed::of(&SHORT_TIMES),
            store_syncs: Observed::of(&SHORT_TIMES),
            convergence: Observed::of(&TIMES),
            following_since: Mutex::default(),
            requests: Mutex::default(),
            daemon: Mutex::default(),
            calls: Mutex::default(),
            bytes: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Notes down a request that was answered.
    pub fn request(&self, kind: RequestKind, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() < KINDS_MAX || requests.contains_key(&kind) {
            requests.entry(kind).or_insert_with(|| Distribution::of(&TIMES)).observe(micros(took));
        }
    }

    /// Notes down a request to the IPFS daemon.
    pub fn daemon_call(&self, call: DaemonCall) {
        let none = || DaemonCalls {
            times: Distribution::of(&TIMES),
            sent: Distribution::of(&SIZES),
            received: Distribution::of(&SIZES),
        };
        let mut calls = self.daemon.lock().unwrap_or_else(PoisonError::into_inner);
        let of_status = calls.entry(call.status).or_insert_with(none);
        of_status.times.observe(micros(call.took));
        of_status.sent.observe(call.sent);
        of_status.received.observe(call.received);
    }

    /// All requests to the IPFS daemon so far, by the status of their answers.
    #[must_use]
    pub fn daemon_calls(&self) -> BTreeMap<u16, DaemonCalls> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes down a call between this peer and another.
    pub fn call(&self, kind: CallKind, took: Duration) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.entry(kind).or_insert_with(|| Distribution::of(&SHORT_TIMES)).observe(micros(took));
    }

    /// Notes down the bytes of a call that was answered. The method is a row of the table.
    pub fn call_bytes(&self, method: &'static str, received: u64, sent: u64) {
        let none = || CallBytes { received: Distribution::of(&SIZES), sent: Distribution::of(&SIZES) };
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let of_method = bytes.entry(method).or_insert_with(none);
        of_method.received.observe(received);
        of_method.sent.observe(sent);
    }

    /// Says since when the oldest head is being followed; `None`: everything that was heard of is here.
    pub fn follows_since(&self, since: Option<Instant>) {
        *self.following_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// For how long the oldest head has been followed that is not here as a whole.
    #[must_use]
    pub fn lag(&self) -> Duration {
        let since = *self.following_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Bytes of answered calls so far, by method.
    #[must_use]
    pub fn bytes(&self) -> BTreeMap<&'static str, CallBytes> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All calls so far.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<CallKind, Distribution> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<RequestKind, Distribution> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_bucket_that_they_do_not_exceed() {
        let mut seen = Distribution::of(&TIMES);
        [1_000, 1_001, 200_000_000].into_iter().for_each(|micros| seen.observe(micros));

        assert_eq!((seen.buckets[0], seen.buckets[1], seen.buckets[TIMES.len()]), (1, 1, 1));
        assert_eq!((seen.count, seen.sum), (3, 200_002_001));
    }

    #[test]
    fn buckets_rise() {
        for ends in [&TIMES[..], &SHORT_TIMES, &SIZES] {
            assert!(ends.windows(2).all(|pair| pair[0] < pair[1]), "{ends:?}");
        }
    }

    #[test]
    fn what_is_held_is_counted_until_it_is_let_go() {
        let gauge = Arc::<Gauge>::default();
        let held = [Held::one(&gauge), Held::one(&gauge)];
        assert_eq!(gauge.get(), 2);
        drop(held);
        assert_eq!(gauge.get(), 0);
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
