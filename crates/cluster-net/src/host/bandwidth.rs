//! How much passes, and how fast.

use cluster_component::ports::{Bandwidth, BandwidthByProtocol};
use cluster_transport::{Meter, Totals};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the driver looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What rates are averages over, as the reference's.
const WINDOW: Duration = Duration::from_secs(60);

/// Rates below this many bytes a second are silence.
const SILENCE: f64 = 0.01;

/// Bytes and rates of each protocol: rates are averages that fade.
pub(super) struct Rates {
    meter: Meter,
    state: Mutex<State>,
}

struct State {
    looked: Instant,
    protocols: BTreeMap<String, (Totals, f64, f64)>,
}

impl Rates {
    pub(super) fn new(meter: Meter, now: Instant) -> Self {
        Self { meter, state: Mutex::new(State { looked: now, protocols: BTreeMap::new() }) }
    }

    /// Follows the meter.
    pub(super) fn look(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(state.looked).as_secs_f64();
        if passed <= 0.0 {
            return;
        }
        state.looked = now;
        let weight = 1.0 - (-passed / WINDOW.as_secs_f64()).exp();
        for (protocol, totals) in self.meter.totals() {
            let (before, received, sent) = state.protocols.entry(protocol).or_default();
            let follow = |rate: &mut f64, bytes: u64| {
                #[allow(clippy::cast_precision_loss)] // Bytes of a few seconds.
                let current = bytes as f64 / passed;
                *rate += weight * (current - *rate);
                if *rate < SILENCE {
                    *rate = 0.0;
                }
            };
            follow(received, totals.received.saturating_sub(before.received));
            follow(sent, totals.sent.saturating_sub(before.sent));
            *before = totals;
        }
    }

    /// What has passed until now, with the rates of the last look.
    pub(super) fn now(&self) -> BandwidthByProtocol {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = self.meter.totals().into_iter();
        let bandwidth = |(protocol, totals): (String, Totals)| {
            let (rate_in, rate_out) = state.protocols.get(&protocol).map_or((0.0, 0.0), |(_, rin, rout)| (*rin, *rout));
            let bandwidth = Bandwidth { bytes_in: totals.received, bytes_out: totals.sent, rate_in, rate_out };
            (protocol, bandwidth)
        };
        totals.map(bandwidth).collect()
    }
}
