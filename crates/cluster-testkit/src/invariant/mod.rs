//! What must hold in every cluster, one file each, as checks of a plain picture of the world. Some must hold at any
//! time, the others once everything is healed.

pub mod acknowledged;
pub mod allocations;
pub mod daemon;
pub mod pinset;
pub mod queue;
pub mod trust;

use cluster_types::{Cid, IpfsPinStatus, PeerId, Pin, PinsetDigest};
use std::collections::{BTreeMap, BTreeSet};

/// One peer as it is now.
#[derive(Debug, Clone, Default)]
pub struct PeerView {
    /// The heads of its replica.
    pub heads: BTreeSet<Cid>,
    /// Whether its replica still wants blocks.
    pub is_behind: bool,
    /// Its pinset.
    pub pins: BTreeMap<Cid, Pin>,
    /// What stands for its pinset, as its state tells it.
    pub digest: PinsetDigest,
    /// What its daemon holds.
    pub held: BTreeMap<Cid, IpfsPinStatus>,
    /// Items whose row says that something is to be done about them.
    pub waiting_rows: BTreeSet<Cid>,
    /// Items in the index of those, once for each time.
    pub waiting_index: Vec<Cid>,
    /// How many pins the tracker says wait.
    pub queue_len: u64,
    /// How many of the index are to be pinned.
    pub pins_in_index: u64,
    /// Calls that it answered: from whom, and which.
    pub answered: Vec<(PeerId, String)>,
    /// Whom it trusts; `None`: everybody.
    pub trusts: Option<BTreeSet<PeerId>>,
}

/// What is known of a CID by what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is pinned.
    Pinned,
    /// It is not.
    Gone,
    /// Something was asked for and not acknowledged, or others had a hand in it.
    Unknown,
}

/// The world as it is now.
#[derive(Debug, Clone, Default)]
pub struct WorldView {
    /// The peers that run.
    pub peers: BTreeMap<PeerId, PeerView>,
    /// What must be true of each CID, and at which peer it was acknowledged.
    pub expected: BTreeMap<Cid, (PeerId, Expected)>,
    /// Whether pins of peers that are gone for good are given to others.
    pub repins: bool,
    /// Whether a peer is gone for good: what it alone had, nobody can get.
    pub one_is_lost: bool,
}

impl WorldView {
    /// What must hold at any time.
    ///
    /// # Errors
    /// What does not, in words.
    pub fn check_safety(&self) -> Result<(), String> {
        let checks = [
            pinset::same_heads_same_pins,
            pinset::digests_tell_pinsets_apart,
            acknowledged::at_its_peer,
            allocations::at_most,
            queue::counters,
        ];
        checks.iter().chain([&(trust::nothing_for_strangers as fn(&Self) -> _)]).try_for_each(|check| check(self))
    }

    /// What must hold once everything is healed, besides.
    ///
    /// # Errors
    /// What does not, in words.
    pub fn check_healed(&self) -> Result<(), String> {
        let checks =
            [pinset::same_everywhere, acknowledged::at_all_peers, allocations::at_least, daemon::holds_its_own];
        checks.iter().try_for_each(|check| check(self))
    }
}

/// What tests of several checks start from.
#[cfg(test)]
mod tests {
    use super::*;
    use cluster_types::PinOptions;

    pub(super) fn cid(number: u8) -> Cid {
        let mut bytes = vec![0x01, 0x55, 0x12, 0x20];
        bytes.extend([number; 32]);
        Cid::from_bytes(&bytes).expect("a CID")
    }

    pub(super) fn pin(number: u8, min: i32, max: i32, allocations: &[PeerId]) -> Pin {
        let options = PinOptions { replication_factor_min: min, replication_factor_max: max, ..PinOptions::default() };
        Pin { allocations: allocations.to_vec(), ..Pin::new(cid(number), options) }
    }

    /// Two peers that hold one pin both, as acknowledged at the first.
    pub(super) fn healthy() -> (WorldView, PeerId, PeerId) {
        let (one, other) = (PeerId::random(), PeerId::random());
        let pin = pin(1, 2, 2, &[one, other]);
        let view = PeerView {
            heads: [cid(9)].into(),
            pins: [(pin.cid, pin.clone())].into(),
            held: [(pin.cid, IpfsPinStatus::Recursive)].into(),
            ..PeerView::default()
        };
        let world = WorldView {
            peers: [(one, view.clone()), (other, view)].into(),
            expected: [(pin.cid, (one, Expected::Pinned))].into(),
            repins: true,
            one_is_lost: false,
        };
        (world, one, other)
    }

    #[test]
    fn a_healthy_world_passes_every_check() {
        let (world, ..) = healthy();
        assert_eq!(world.check_safety(), Ok(()));
        assert_eq!(world.check_healed(), Ok(()));
    }
}
