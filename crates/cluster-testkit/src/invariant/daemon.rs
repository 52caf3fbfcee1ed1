//! Once healed, each daemon holds exactly what the pinset allocates to its peer, in the way that it should.

use super::{PeerView, WorldView};
use cluster_types::{Cid, PeerId};
use std::collections::BTreeSet;

/// Neither less nor more.
///
/// # Errors
/// What is missing or too much, and where.
pub fn holds_its_own(world: &WorldView) -> Result<(), String> {
    world.peers.iter().try_for_each(|(peer, view)| check(peer, view))
}

fn check(peer: &PeerId, view: &PeerView) -> Result<(), String> {
    let mine: BTreeSet<Cid> = view.pins.values().filter(|pin| !pin.is_remote_to(peer)).map(|pin| pin.cid).collect();
    for cid in &mine {
        let satisfied = view.held.get(cid).is_some_and(|status| status.satisfies(view.pins[cid].max_depth));
        if !satisfied {
            return Err(format!("the daemon of {peer} does not hold {cid} as it should: {:?}", view.held.get(cid)));
        }
    }
    match view.held.keys().find(|cid| !mine.contains(cid)) {
        Some(cid) => Err(format!("the daemon of {peer} holds {cid}, which is not for it")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::tests::{cid, healthy};
    use cluster_types::IpfsPinStatus;

    #[test]
    fn what_is_missing_too_much_or_held_in_another_way_is_noticed() {
        let (world, one, _) = healthy();
        let with = |change: &dyn Fn(&mut PeerView)| {
            let mut world = world.clone();
            change(world.peers.entry(one).or_default());
            holds_its_own(&world)
        };
        assert_eq!(with(&|_| {}), Ok(()));
        assert!(with(&|view| view.held.clear()).is_err());
        assert!(
            with(&|view| {
                view.held.insert(cid(1), IpfsPinStatus::Direct);
            })
            .is_err()
        );
        assert!(
            with(&|view| {
                view.held.insert(cid(5), IpfsPinStatus::Recursive);
            })
            .is_err()
        );
    }
}
