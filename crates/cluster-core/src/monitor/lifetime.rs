//! For how long a metric counts, by the clock of the peer that received it.
//!
//! A metric says until when it counts in the time of its sender, whose clock may be wrong by minutes: believed blindly,
//! a peer whose clock is behind is never a member, and one whose clock is ahead stays one long after its end. But
//! peers renew a metric at half the time that it counts, so the distance between two expiries, both of the sender's
//! clock, tells that time whatever the clock shows.

use cluster_types::Timestamp;
use std::time::Duration;

/// How long a metric counts before more is known: the default of every metric of the reference.
const UNTIL_KNOWN: Duration = Duration::from_secs(30);

/// The longest time that is believed before more is known.
const BELIEVED_MAX: Duration = Duration::from_secs(600);

/// Renewals that are looked at.
const RENEWALS: usize = 5;

/// Renewals that must have been seen before they say anything.
const RENEWALS_MIN: usize = 2;

/// By whose clock a metric says until when it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockOf {
    /// Ours: it was made here.
    Ours,
    /// That of the peer that sent it.
    Sender,
}

/// What a metric said when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Until when it says that it counts.
    pub expire: Timestamp,
    /// What our clock showed.
    pub wall: Timestamp,
    /// Whose clock the first is of.
    pub clock: ClockOf,
}

impl Arrival {
    /// For how many nanoseconds it counts, if both clocks show the same.
    fn remaining(&self) -> i64 {
        nanos_between(self.wall, self.expire)
    }
}

/// For how long a metric counts, and what that says of its sender's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// From its arrival on.
    pub lifetime: Duration,
    /// Whether that is something else than what the metric says.
    pub differs: bool,
    /// By how many nanoseconds the sender's clock is ahead of ours, if that is known.
    pub ahead_nanos: Option<i64>,
}

/// Reads a metric by those that came before it, the oldest first.
#[must_use]
pub fn of(earlier: &[Arrival], arrival: Arrival) -> Reading {
    let remaining = arrival.remaining();
    let said = Duration::from_nanos(u64::try_from(remaining).unwrap_or(0));
    if arrival.clock == ClockOf::Ours {
        return Reading { lifetime: said, differs: false, ahead_nanos: None };
    }
    let Some(renewal) = renewal(earlier, arrival) else {
        let believed = remaining > 0 && said <= BELIEVED_MAX;
        let lifetime = if believed { said.max(UNTIL_KNOWN) } else { UNTIL_KNOWN };
        return Reading { lifetime, differs: lifetime != said, ahead_nanos: None };
    };
    let expected = renewal.saturating_mul(2);
    let ahead_nanos = Some(remaining.saturating_sub(expected));
    // Half a renewal either way does no harm: the metric is renewed in time, and its end is noticed soon enough.
    let plausible = (remaining - expected).abs() <= renewal / 2;
    let lifetime = if plausible { said } else { Duration::from_nanos(expected.unsigned_abs()) };
    Reading { lifetime, differs: !plausible, ahead_nanos }
}

/// The usual distance of two renewals in nanoseconds: the median, so that one that was sent early, or lost, does
/// not count.
fn renewal(earlier: &[Arrival], arrival: Arrival) -> Option<i64> {
    let sent = earlier.iter().filter(|earlier| earlier.clock == ClockOf::Sender);
    let expiries: Vec<Timestamp> = sent.map(|earlier| earlier.expire).chain([arrival.expire]).collect();
    let distances = expiries.windows(2).map(|pair| nanos_between(pair[0], pair[1])).filter(|distance| *distance > 0);
    let mut distances: Vec<i64> = distances.collect();
    let skip = distances.len().saturating_sub(RENEWALS);
    distances.drain(..skip);
    distances.sort_unstable();
    (distances.len() >= RENEWALS_MIN).then(|| distances[distances.len() / 2])
}

fn nanos_between(from: Timestamp, to: Timestamp) -> i64 {
    to.unix_nanos().saturating_sub(from.unix_nanos())
}
