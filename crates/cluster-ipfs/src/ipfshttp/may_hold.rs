//! What the daemon may hold: items that are surely new to it are pinned without asking first whether they are pinned.
//!
//! Asking spares the daemon a walk over what it holds already, and doubles the requests of a burst of new items. So what
//! the daemon listed and what it was told to pin is remembered, as bits of growing Bloom filters: about a byte an item.
//! Whoever pins at the daemon itself is not seen before its next list: such an item is walked once more, and no harm done.

use cluster_types::Cid;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

/// Items of the first filter; each that follows takes twice as many as the one before.
const FIRST_CAPACITY: usize = 1 << 16;

/// Bits an item, of which [`PROBES`] are set: one new item in about fifty is taken for a known one.
const BITS_EACH: usize = 8;

/// Bits that are looked at for one item.
const PROBES: u64 = 5;

/// Most filters: 67 million items in 64 MiB. Beyond, the daemon is asked about each item, as before its first list.
const FILTERS_MAX: usize = 10;

#[derive(Debug, Default)]
pub(super) struct MayHold(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    filters: Vec<Filter>,
    /// Whether the daemon's whole list is in.
    is_complete: bool,
    is_full: bool,
}

#[derive(Debug)]
struct Filter {
    /// A power of two of them.
    words: Vec<u64>,
    room: usize,
}

impl MayHold {
    /// `false`: the daemon does not hold it, unless somebody else pinned it there since the last list.
    pub(super) fn may(&self, cid: &Cid) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !known.is_complete || known.is_full || known.contains(hashes(cid))
    }

    /// It was listed, or is about to be pinned.
    pub(super) fn note(&self, cid: &Cid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hashes(cid), FILTERS_MAX);
    }

    /// The daemon's list ended, and all of it was noted.
    pub(super) fn note_end_of_list(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_complete = true;
    }
}

impl Known {
    fn contains(&self, hashes: (u64, u64)) -> bool {
        self.filters.iter().any(|filter| filter.contains(hashes))
    }

    fn insert(&mut self, hashes: (u64, u64), filters_max: usize) {
        if self.is_full || self.contains(hashes) {
            return;
        }
        let count = self.filters.len();
        match self.filters.last_mut().filter(|filter| filter.room > 0) {
            Some(filter) => filter.insert(hashes),
            None if count == filters_max => {
                self.filters = Vec::new();
                self.is_full = true;
            }
            None => {
                let mut filter = Filter::new(FIRST_CAPACITY << count);
                filter.insert(hashes);
                self.filters.push(filter);
            }
        }
    }
}

impl Filter {
    fn new(capacity: usize) -> Self {
        Self { words: vec![0; capacity * BITS_EACH / 64], room: capacity }
    }

    /// Where the bits of an item are: word and mask.
    fn places(&self, (start, step): (u64, u64)) -> impl Iterator<Item = (usize, u64)> + use<> {
        let mask = (self.words.len() * 64 - 1) as u64;
        (0..PROBES).map(move |probe| {
            let bit = start.wrapping_add(probe.wrapping_mul(step)) & mask;
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }

    fn contains(&self, hashes: (u64, u64)) -> bool {
        self.places(hashes).all(|(word, bit)| self.words[word] & bit != 0)
    }

    fn insert(&mut self, hashes: (u64, u64)) {
        self.places(hashes).for_each(|(word, bit)| self.words[word] |= bit);
        self.room -= 1;
    }
}

/// Where an item's first bit is, and how far the next ones are apart.
fn hashes(cid: &Cid) -> (u64, u64) {
    let mut hasher = DefaultHasher::new();
    cid.hash(&mut hasher);
    let start = hasher.finish();
    hasher.write_u8(1);
    (start, hasher.finish() | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cid(number: u32) -> Cid {
        let mut bytes = [7; 36];
        bytes[..4].copy_from_slice(&[1, 0x55, 0x12, 32]);
        bytes[32..].copy_from_slice(&number.to_le_bytes());
        Cid::from_bytes(&bytes).unwrap()
    }

    #[test]
    fn until_the_daemon_listed_everything_it_may_hold_anything() {
        let known = MayHold::default();
        known.note(&cid(1));
        assert!(known.may(&cid(2)));

        known.note_end_of_list();

        assert!(known.may(&cid(1)));
        assert!(!known.may(&cid(2)));
    }

    #[test]
    fn what_was_noted_is_never_taken_for_new_and_little_else_for_known() {
        let known = MayHold::default();
        (0..200_000).for_each(|number| known.note(&cid(number)));
        known.note_end_of_list();

        assert!((0..200_000).all(|number| known.may(&cid(number))));
        let mistaken = (200_000..210_000).filter(|number| known.may(&cid(*number))).count();
        assert!(mistaken < 1_000, "{mistaken} of 10,000 new items are taken for known ones");
    }

    #[test]
    fn when_there_is_no_more_room_the_daemon_is_asked_about_all() {
        let mut known = Known { is_complete: true, ..Known::default() };
        (0..80_000).for_each(|number| known.insert(hashes(&cid(number)), 1));
        assert!(known.is_full && known.filters.is_empty());

        let known = MayHold(Mutex::new(known));
        known.note(&cid(90_000));
        assert!(known.may(&cid(100_000)));
    }
}
