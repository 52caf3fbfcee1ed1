//! Leases: what was put or looked at while one is held is not collected until it is dropped.

use super::segment::Key;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A short name of a block, for sets that hold very many.
pub(super) fn short(key: &Key) -> u128 {
    let front = |bytes: &[u8]| bytes.first_chunk().map(|front| u128::from_le_bytes(*front));
    // A collision only keeps a block, so that the codes of hash functions need not be told apart.
    front(key.digest()).or_else(|| front(&Sha256::digest(key.digest()))).unwrap_or_default()
}

fn half(key: &Key) -> u64 {
    short(key) as u64
}

/// Who holds leases, and what was touched meanwhile: about 30 bytes a block that was touched since the oldest began.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases(Arc<Mutex<Touched>>);

#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Number of the next lease, and so the time at which blocks are touched.
    next: u64,
    /// Leases by number; several can have the same.
    active: BTreeMap<u64, usize>,
    /// By a half of their short names: a collision only keeps a block.
    blocks: HashMap<u64, u64>,
    /// Blocks at which the old ones are thrown out.
    prune_at: usize,
    /// Syncs that failed.
    failures: u64,
}

/// Blocks below which nothing is thrown out.
const PRUNE_MIN: usize = 65_536;

/// Held by whoever needs the blocks that it touches.
#[derive(Debug)]
pub struct Lease {
    leases: Leases,
    number: u64,
    failures: u64,
}

impl Lease {
    /// Whether a sync failed since it began.
    pub(super) fn saw_failure(&self) -> bool {
        self.leases.lock().failures != self.failures
    }
}

impl Leases {
    pub(super) fn lock(&self) -> MutexGuard<'_, Touched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self) -> Lease {
        let mut touched = self.lock();
        let number = touched.next;
        touched.next += 1;
        touched.active.insert(number, 1);
        Lease { leases: self.clone(), number, failures: touched.failures }
    }

    /// A lease that covers also what the others cover now, and goes on to when they are dropped: a collection decides by
    /// what was pinned when it began.
    pub(super) fn begin_with_all(&self) -> Lease {
        let mut touched = self.lock();
        let Some(number) = touched.active.keys().next().copied() else {
            drop(touched);
            return self.begin();
        };
        *touched.active.entry(number).or_default() += 1;
        Lease { leases: self.clone(), number, failures: touched.failures }
    }
}

impl Touched {
    /// Notes that a block is needed, if anybody holds a lease.
    pub(super) fn touch(&mut self, key: &Key) {
        if self.active.is_empty() {
            return;
        }
        self.blocks.insert(half(key), self.next);
        if self.blocks.len() > self.prune_at.max(PRUNE_MIN) {
            self.prune();
        }
    }

    /// Notes that a sync failed.
    pub(super) fn fail(&mut self) {
        self.failures += 1;
    }

    /// Whether a lease that is held covers the block.
    pub(super) fn covers(&self, key: &Key) -> bool {
        self.blocks.get(&half(key)).is_some_and(|at| self.active.keys().next().is_some_and(|oldest| at > oldest))
    }

    /// Throws out what was last touched before the oldest lease began.
    fn prune(&mut self) {
        match self.active.keys().next() {
            None => self.blocks = HashMap::new(),
            Some(oldest) => self.blocks.retain(|_, at| *at > *oldest),
        }
        self.prune_at = self.blocks.len() * 2;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut touched = self.leases.lock();
        if let Some(count) = touched.active.get_mut(&self.number) {
            *count -= 1;
            if *count == 0 {
                touched.active.remove(&self.number);
            }
        }
        if touched.active.is_empty() {
            touched.prune();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(data: &[u8]) -> Key {
        *dag::hash::Naming::default().cid(dag::RAW, data).hash()
    }

    #[test]
    fn what_is_touched_is_covered_until_every_lease_of_that_time_is_dropped() {
        let leases = Leases::default();
        leases.lock().touch(&key(b"before"));
        let first = leases.begin();
        leases.lock().touch(&key(b"a"));
        let second = leases.begin();
        leases.lock().touch(&key(b"b"));

        let covered = || [&b"before"[..], b"a", b"b"].map(|data| leases.lock().covers(&key(data)));
        assert_eq!(covered(), [false, true, true]);
        drop(first);
        assert_eq!(covered(), [false, false, true]);
        drop(second);
        assert_eq!(covered(), [false, false, false]);
        assert!(leases.lock().blocks.is_empty());
    }
    #[test]
    fn a_collection_covers_what_leases_covered_when_it_began() {
        let leases = Leases::default();
        let add = leases.begin();
        leases.lock().touch(&key(b"a"));
        let collection = leases.begin_with_all();
        drop(add);
        leases.lock().touch(&key(b"b"));

        let covered = || [&b"a"[..], b"b"].map(|data| leases.lock().covers(&key(data)));
        assert_eq!(covered(), [true, true]);
        drop(collection);
        assert_eq!(covered(), [false, false]);
    }
}
