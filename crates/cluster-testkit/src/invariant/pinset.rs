//! Replicas with the same heads hold the same pinset; once healed, all do.

use super::WorldView;
use cluster_types::{Cid, Pin};
use std::collections::{BTreeMap, BTreeSet};

/// At any time: the same heads, and nothing missing below them, are the same pins.
///
/// # Errors
/// Which peers differ.
pub fn same_heads_same_pins(world: &WorldView) -> Result<(), String> {
    let mut by_heads: BTreeMap<&BTreeSet<Cid>, (_, &BTreeMap<Cid, Pin>)> = BTreeMap::new();
    for (peer, view) in world.peers.iter().filter(|(_, view)| !view.is_behind) {
        let (first, pins) = *by_heads.entry(&view.heads).or_insert((peer, &view.pins));
        if *pins != view.pins {
            return Err(format!("{first} and {peer} have the same heads and other pins"));
        }
    }
    Ok(())
}

/// At any time: two peers have the same digest just when they have the same pins.
///
/// # Errors
/// Which peers' digests are wrong.
pub fn digests_tell_pinsets_apart(world: &WorldView) -> Result<(), String> {
    for (peer, view) in &world.peers {
        for (other, seen) in &world.peers {
            let (same_digest, same_pins) = (view.digest == seen.digest, view.pins == seen.pins);
            if same_digest != same_pins {
                return Err(format!("{peer} and {other}: same digest is {same_digest}, same pins is {same_pins}"));
            }
        }
    }
    Ok(())
}

/// Once healed: the same pins at all peers.
///
/// # Errors
/// Which peers differ, or lack something.
pub fn same_everywhere(world: &WorldView) -> Result<(), String> {
    let mut peers = world.peers.iter();
    let Some((first, expected)) = peers.next() else { return Ok(()) };
    if let Some((peer, _)) = world.peers.iter().find(|(_, view)| view.is_behind && !world.one_is_lost) {
        return Err(format!("{peer} still wants blocks"));
    }
    match peers.find(|(_, view)| view.pins != expected.pins) {
        Some((other, view)) => {
            let differs = |cid: &&Cid| view.pins.get(cid) != expected.pins.get(cid);
            let cid = view.pins.keys().chain(expected.pins.keys()).find(differs);
            Err(format!("{first} and {other} have other pins, such as {cid:?}"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::tests::{cid, healthy, pin};
    use cluster_types::PinsetDigest;

    #[test]
    fn other_pins_under_the_same_heads_are_noticed() {
        let (mut world, _, other) = healthy();
        world.peers.entry(other).or_default().pins.insert(cid(2), pin(2, -1, -1, &[]));
        assert!(same_heads_same_pins(&world).is_err());

        // While blocks are missing, that is no wonder; once healed it is.
        world.peers.entry(other).or_default().is_behind = true;
        assert_eq!(same_heads_same_pins(&world), Ok(()));
        assert!(same_everywhere(&world).is_err());
    }

    #[test]
    fn a_digest_that_does_not_follow_its_pins_is_noticed() {
        let (mut world, one, other) = healthy();
        assert_eq!(digests_tell_pinsets_apart(&world), Ok(()));

        // A change that was not counted, and one that was counted and not made.
        world.peers.entry(other).or_default().pins.clear();
        assert!(digests_tell_pinsets_apart(&world).is_err());
        let pins = world.peers.entry(one).or_default().pins.clone();
        let view = world.peers.entry(other).or_default();
        (view.pins, view.digest) = (pins, PinsetDigest::from_bytes(&[1; 32]));
        assert!(digests_tell_pinsets_apart(&world).is_err());
    }

    #[test]
    fn peers_that_stay_apart_are_noticed() {
        let (mut world, _, other) = healthy();
        let view = world.peers.entry(other).or_default();
        view.heads = [cid(8)].into();
        view.pins.clear();
        assert_eq!(same_heads_same_pins(&world), Ok(()));
        assert!(same_everywhere(&world).is_err());
    }
}
