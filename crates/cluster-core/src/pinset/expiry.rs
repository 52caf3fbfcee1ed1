//! Which pins expire next: a window of the earliest, so that expiry goes by time and not by sweeps.

use cluster_types::{Cid, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Pins that are remembered: the earliest ones.
const WINDOW: usize = 10_000;

/// The pins that expire next.
#[derive(Debug, Default)]
pub struct Expiries {
    by_time: BTreeSet<(Timestamp, Cid)>,
    by_cid: BTreeMap<Cid, Timestamp>,
    /// Whether there are pins that expire later than all of these and are not among them.
    more: bool,
}

impl Expiries {
    /// Takes note of a pin, new or changed; zero: it does not expire.
    pub fn note(&mut self, cid: Cid, expire_at: Timestamp) {
        self.forget(&cid);
        if expire_at.is_zero() || (self.more && self.by_time.last().is_some_and(|last| *last < (expire_at, cid))) {
            return;
        }
        self.by_time.insert((expire_at, cid));
        self.by_cid.insert(cid, expire_at);
        if self.by_time.len() > WINDOW
            && let Some((_, latest)) = self.by_time.pop_last()
        {
            self.by_cid.remove(&latest);
            self.more = true;
        }
    }

    /// Takes note that a pin is gone.
    pub fn forget(&mut self, cid: &Cid) {
        if let Some(at) = self.by_cid.remove(cid) {
            self.by_time.remove(&(at, *cid));
        }
    }

    /// Before the pinset is read from its beginning: nothing is known.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether the pinset must be read again, since there are pins that are not known of.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.more && self.by_time.is_empty()
    }

    /// Pins whose time is over, the earliest first.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Vec<Cid> {
        self.by_time.iter().take_while(|(at, _)| *at < now).map(|(_, cid)| *cid).collect()
    }

    /// When the next pin expires.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cid(number: u32) -> Cid {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&number.to_be_bytes());
        Cid(cid::Cid::new_v1(0x55, multihash::Multihash::wrap(0x12, &digest).expect("32 bytes")))
    }

    fn at(secs: u32) -> Timestamp {
        Timestamp::from_unix(i64::from(secs), 0)
    }

    #[test]
    fn pins_are_due_after_their_time_in_order() {
        let mut expiries = Expiries::default();
        expiries.note(cid(1), at(30));
        expiries.note(cid(2), at(10));
        expiries.note(cid(3), Timestamp::ZERO);

        assert_eq!(expiries.next(), Some(at(10)));
        assert_eq!(expiries.due(at(10)), []);
        assert_eq!(expiries.due(at(31)), [cid(2), cid(1)]);

        // Changed and gone.
        expiries.note(cid(1), Timestamp::ZERO);
        expiries.forget(&cid(2));
        assert_eq!(expiries.next(), None);
        assert!(!expiries.is_blind());
    }

    #[test]
    fn the_earliest_are_kept_and_the_rest_is_read_again_when_they_are_done() {
        let mut expiries = Expiries::default();
        let all = u32::try_from(WINDOW).expect("small") + 2;
        (0..all).rev().for_each(|number| expiries.note(cid(number), at(number)));
        assert_eq!((expiries.by_time.len(), expiries.by_cid.len()), (WINDOW, WINDOW));
        assert_eq!(expiries.next(), Some(at(0)));

        // Later than all that is known: it belongs to the rest.
        expiries.note(cid(all), at(all));
        assert_eq!(expiries.by_time.len(), WINDOW);

        (0..all - 2).for_each(|number| expiries.forget(&cid(number)));
        assert!(expiries.is_blind());
        expiries.clear();
        expiries.note(cid(all - 1), at(all - 1));
        assert_eq!(expiries.next(), Some(at(all - 1)));
    }
}
