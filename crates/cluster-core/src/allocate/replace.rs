//! What becomes of the allocations of a pin when one of the peers that hold it goes.

use super::request::{Metrics, Outcome, Peers, Shortage, count};
use cluster_types::PeerId;

/// The factors of a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factors {
    /// At least so many peers.
    pub min: i32,
    /// At most so many.
    pub max: i32,
}

/// A pin's allocations without the peer that leaves: those that are left, and for each that is lost another one, as far
/// as there are any. What the pin does not need is not begun.
///
/// `peers` must not contain the one that leaves; `order` is the allocator's, of the other two parts of `peers`. Peers
/// that are left and do not answer keep their place while there is room.
///
/// # Errors
/// When fewer than the minimum would be left: then nothing should be changed by our own doing.
pub fn without(
    stored: &[PeerId],
    leaving: &PeerId,
    factors: Factors,
    peers: &Peers,
    order: &[PeerId],
) -> Result<Outcome, Shortage> {
    let left: Vec<PeerId> = stored.iter().filter(|peer| *peer != leaving).copied().collect();
    let (alive, silent): (Vec<PeerId>, Vec<PeerId>) = left.into_iter().partition(|peer| holds(&peers.current, peer));
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let needed = i64::from(factors.min) - number(alive.len());
    let wanted = i64::from(factors.max) - number(alive.len());
    if needed > number(order.len()) {
        return Err(Shortage { needed, wanted, available: count(&peers.priority) + count(&peers.candidates) });
    }
    // As many as there were, and no fewer than the minimum.
    let lost = number(stored.len()) - number(alive.len()) - number(silent.len());
    let taken = usize::try_from(needed.max(lost).min(wanted)).unwrap_or(0).min(order.len());
    let room = usize::try_from(factors.max).unwrap_or(0).saturating_sub(alive.len() + taken);
    Ok(alive.into_iter().chain(order.iter().take(taken).copied()).chain(silent.into_iter().take(room)).collect())
}

fn holds(part: &Metrics, peer: &PeerId) -> bool {
    part.values().next().is_some_and(|by_peer| by_peer.contains_key(peer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_types::{Metric, Timestamp};
    use std::collections::BTreeMap;

    fn part(peers: &[PeerId]) -> Metrics {
        let metric = |peer: &PeerId| Metric {
            name: "freespace".into(),
            peer: *peer,
            value: String::new(),
            expire: Timestamp::ZERO,
            valid: true,
            weight: 0,
            partitionable: false,
            received_at: Timestamp::ZERO,
        };
        BTreeMap::from([("freespace".into(), peers.iter().map(|peer| (*peer, metric(peer))).collect())])
    }

    fn four() -> [PeerId; 4] {
        std::array::from_fn(|_| PeerId::random())
    }

    fn decide(stored: &[PeerId], alive: &[PeerId], free: &[PeerId], min: i32, max: i32) -> Result<Outcome, Shortage> {
        let peers = Peers { current: part(alive), priority: Metrics::new(), candidates: part(free) };
        without(stored, &stored[0], Factors { min, max }, &peers, free)
    }

    #[test]
    fn another_peer_takes_the_place_of_the_one_that_leaves() {
        let [a, b, c, d] = four();
        assert_eq!(decide(&[a, b], &[b], &[c, d], 2, 3), Ok(vec![b, c]));
    }

    #[test]
    fn without_another_peer_the_pin_is_left_with_what_it_needs() {
        let [a, b, ..] = four();
        assert_eq!(decide(&[a, b], &[b], &[], 1, 2), Ok(vec![b]));
    }

    #[test]
    fn below_the_minimum_nothing_is_changed() {
        let [a, b, c, _] = four();
        assert_eq!(decide(&[a, b], &[b], &[], 2, 3), Err(Shortage { needed: 1, wanted: 2, available: 0 }));
        assert!(decide(&[a, b], &[], &[c], 2, 3).is_err(), "one that is silent does not count");
    }

    #[test]
    fn silent_peers_keep_their_place_while_there_is_room_and_never_more_than_the_maximum() {
        let [a, b, c, d] = four();
        assert_eq!(decide(&[a, b, c], &[b], &[d], 1, 3), Ok(vec![b, d, c]));
        assert_eq!(decide(&[a, b, c], &[b], &[d], 2, 2), Ok(vec![b, d]));
    }
}
