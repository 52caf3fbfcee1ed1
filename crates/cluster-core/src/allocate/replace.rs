//! What becomes of the allocations of a pin when peers that hold it go.

use super::request::{Outcome, Shortage};
use cluster_types::PeerId;
use std::collections::BTreeSet;

/// A pin that loses peers.
#[derive(Debug, Clone, Copy)]
pub struct Loss<'a> {
    /// The peers that hold it, as it is stored.
    pub stored: &'a [PeerId],
    /// At least so many peers shall hold it.
    pub min: i32,
    /// At most so many.
    pub max: i32,
    /// The peers that go.
    pub gone: &'a BTreeSet<PeerId>,
    /// The members. A peer that stays and is none keeps its place while there is room.
    pub members: &'a BTreeSet<PeerId>,
}

impl Loss<'_> {
    /// How many of the peers that stay are members.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.stored.iter().filter(|peer| !self.gone.contains(peer) && self.members.contains(peer)).count()
    }

    /// Whether fewer than the minimum are left.
    #[must_use]
    pub fn is_too_few(&self) -> bool {
        number(self.holders()) < i64::from(self.min)
    }

    /// The allocations without those that go: for each another one of `order`, as far as there are any. What the pin
    /// does not need is not begun.
    ///
    /// # Errors
    /// When fewer than the minimum would be left.
    pub fn replaced(&self, order: &[PeerId]) -> Result<Outcome, Shortage> {
        let needed = i64::from(self.min) - number(self.holders());
        let wanted = i64::from(self.max) - number(self.holders());
        if needed > number(order.len()) {
            return Err(Shortage { needed, wanted, available: order.len() });
        }
        Ok(self.left_with(order))
    }

    /// As [`replaced`](Self::replaced), with fewer than the minimum where there are no more.
    #[must_use]
    pub fn left_with(&self, order: &[PeerId]) -> Outcome {
        let left = self.stored.iter().filter(|peer| !self.gone.contains(peer)).copied();
        let (members, silent): (Vec<PeerId>, Vec<PeerId>) = left.partition(|peer| self.members.contains(peer));
        let max = usize::try_from(self.max).unwrap_or(0);
        let min = usize::try_from(self.min).unwrap_or(0);
        // As many as there were, and no fewer than the minimum.
        let lost = self.stored.len().saturating_sub(members.len() + silent.len());
        let needed = min.saturating_sub(members.len());
        let taken = needed.max(lost).min(max.saturating_sub(members.len())).min(order.len());
        let room = max.saturating_sub(members.len() + taken);
        members.into_iter().chain(order.iter().take(taken).copied()).chain(silent.into_iter().take(room)).collect()
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn four() -> [PeerId; 4] {
        std::array::from_fn(|_| PeerId::random())
    }

    /// The first of `stored` goes.
    fn decide(stored: &[PeerId], members: &[PeerId], free: &[PeerId], min: i32, max: i32) -> Result<Outcome, Shortage> {
        let (gone, members) = (BTreeSet::from([stored[0]]), members.iter().copied().collect());
        Loss { stored, min, max, gone: &gone, members: &members }.replaced(free)
    }

    #[test]
    fn another_peer_takes_the_place_of_the_one_that_goes() {
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
