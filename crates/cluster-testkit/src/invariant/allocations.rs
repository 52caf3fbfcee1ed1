//! A pin has at most as many allocations as its maximum; once healed, at least as many as its minimum.

use super::WorldView;
use cluster_types::Pin;
use std::collections::BTreeSet;

fn all_pins(world: &WorldView) -> impl Iterator<Item = &Pin> {
    world.peers.values().flat_map(|view| view.pins.values()).filter(|pin| !pin.is_everywhere())
}

/// At any time: no more than the maximum, and none twice.
///
/// # Errors
/// Which pin has too many.
pub fn at_most(world: &WorldView) -> Result<(), String> {
    for pin in all_pins(world) {
        let (count, max) = (pin.allocations.len(), pin.options.replication_factor_max);
        if i64::try_from(count).unwrap_or(i64::MAX) > i64::from(max) {
            return Err(format!("{} has {count} allocations and may have {max}", pin.cid));
        }
        if pin.allocations.iter().collect::<BTreeSet<_>>().len() < count {
            return Err(format!("{} is allocated to a peer twice", pin.cid));
        }
    }
    Ok(())
}

/// Once healed: no fewer than the minimum, where pins are given to others only peers that run count.
///
/// # Errors
/// Which pin has too few.
pub fn at_least(world: &WorldView) -> Result<(), String> {
    for pin in all_pins(world) {
        let counted = pin.allocations.iter().filter(|peer| !world.repins || world.peers.contains_key(peer)).count();
        let min = pin.options.replication_factor_min;
        if i64::try_from(counted).unwrap_or(i64::MAX) < i64::from(min) {
            return Err(format!("{} has {counted} allocations that count and needs {min}", pin.cid));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::tests::{cid, healthy, pin};

    #[test]
    fn too_many_and_doubled_allocations_are_noticed() {
        let (mut world, one, other) = healthy();
        world.peers.entry(one).or_default().pins.insert(cid(1), pin(1, 1, 1, &[one, other]));
        assert!(at_most(&world).is_err_and(|e| e.contains("may have 1")));

        world.peers.entry(one).or_default().pins.insert(cid(1), pin(1, 1, 3, &[one, one]));
        assert!(at_most(&world).is_err_and(|e| e.contains("twice")));
    }

    #[test]
    fn too_few_are_noticed_and_dead_peers_count_only_where_nobody_takes_their_place() {
        let (mut world, one, _) = healthy();
        let dead = cluster_types::PeerId::random();
        for view in world.peers.values_mut() {
            view.pins.insert(cid(1), pin(1, 2, 2, &[one, dead]));
        }
        assert!(at_least(&world).is_err());
        world.repins = false;
        assert_eq!(at_least(&world), Ok(()));

        world.peers.entry(one).or_default().pins.insert(cid(1), pin(1, 2, 2, &[one]));
        assert!(at_least(&world).is_err());
    }
}
