//! Chance from a seed: the same seed gives the same numbers.

use cluster_component::ports::Entropy;
use std::sync::{Mutex, PoisonError};

/// SplitMix64 behind a lock, so that it can be shared.
#[derive(Debug)]
pub struct Chance(Mutex<u64>);

impl Chance {
    /// Chance from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to and without `bound`.
    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// A place in a list of this length.
    ///
    /// # Panics
    /// When the list is empty.
    pub fn place(&self, length: usize) -> usize {
        assert!(length > 0, "there is no place in an empty list");
        usize::try_from(self.below(u64::try_from(length).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    /// True so often in a thousand.
    pub fn per_mille(&self, often: u64) -> bool {
        self.below(1_000) < often
    }
}

impl Entropy for Chance {
    fn next_u64(&self) -> u64 {
        self.next()
    }

    fn fork(&self) -> Box<dyn Entropy> {
        Box::new(Self::new(self.next()))
    }
}
