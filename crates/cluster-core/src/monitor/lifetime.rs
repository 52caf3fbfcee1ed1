//! For how long a metric counts, by the clock of the peer that received it.
//!
//! A metric says until when it counts in the time of its sender, whose clock may be wrong by minutes: believed blindly,
//! a peer whose clock is behind is never a member, and one whose clock is ahead stays one long after its end. But
//! peers renew a metric at half the time that it counts, so the distance between two expiries, both of the sender's
//! clock, tells that time whatever the clock shows.

use cluster_types::Timestamp;
use std::time::Duration;

/// How long a metric counts before more is known, and at least where its sender's clock is wrong: the default of every
/// metric of the reference.
const UNTIL_KNOWN: Duration = Duration::from_secs(30);

/// The longest time that is believed before more is known.
const BELIEVED_MAX: Duration = Duration::from_secs(600);

/// Renewals that must have been seen before a clock is said to be wrong. Peers that start send some in a row.
const RENEWALS_MIN: usize = 4;

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
    let renewals = renewals(earlier, arrival);
    let regular = regular(&renewals);
    let ahead_nanos = regular.map(|regular| remaining.saturating_sub(regular.saturating_mul(2)));
    if renewals.iter().any(|renewal| fits(*renewal, remaining)) {
        // Where another one fits, the regular distance is that of some that were sent early.
        let ahead_nanos = ahead_nanos.filter(|_| regular.is_some_and(|regular| fits(regular, remaining)));
        return Reading { lifetime: said, differs: false, ahead_nanos };
    }
    match regular.filter(|_| renewals.len() >= RENEWALS_MIN) {
        Some(regular) => {
            let lifetime = Duration::from_nanos(regular.saturating_mul(2).unsigned_abs()).max(UNTIL_KNOWN);
            Reading { lifetime, differs: true, ahead_nanos }
        }
        None => {
            let believed = remaining > 0 && said <= BELIEVED_MAX;
            let lifetime = if believed { said.max(UNTIL_KNOWN) } else { UNTIL_KNOWN };
            Reading { lifetime, differs: lifetime != said, ahead_nanos: None }
        }
    }
}

/// Whether a metric that counts for so long is renewed like that: at about half its time, and in any case before its end.
fn fits(renewal: i64, remaining: i64) -> bool {
    renewal >= remaining / 5 * 2 && renewal <= remaining / 4 * 3
}

/// The distances of renewals in nanoseconds, by the clock of the sender.
fn renewals(earlier: &[Arrival], arrival: Arrival) -> Vec<i64> {
    let sent = earlier.iter().filter(|earlier| earlier.clock == ClockOf::Sender);
    let expiries: Vec<Timestamp> = sent.map(|earlier| earlier.expire).chain([arrival.expire]).collect();
    let distances = expiries.windows(2).map(|pair| nanos_between(pair[0], pair[1]));
    distances.filter(|distance| *distance > 0).collect()
}

/// The longest distance that there was twice. Those that were sent early do not count, since there is always a longer
/// one; and what two lost messages make of it does little harm.
fn regular(renewals: &[i64]) -> Option<i64> {
    let mut sorted = renewals.to_vec();
    sorted.sort_unstable();
    let twice = |pair: &&[i64]| pair[1] - pair[0] <= pair[1] / 5;
    sorted.windows(2).rev().find(twice).map(|pair| pair[0])
}

fn nanos_between(from: Timestamp, to: Timestamp) -> i64 {
    to.unix_nanos().saturating_sub(from.unix_nanos())
}
