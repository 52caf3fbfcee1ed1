//! A pin that was acknowledged and not unpinned is never lost; an unpin that was acknowledged stays.

use super::{Expected, PeerView, WorldView};
use cluster_types::Cid;

fn check(view: &PeerView, cid: &Cid, expected: Expected) -> Result<(), &'static str> {
    match (expected, view.pins.contains_key(cid)) {
        (Expected::Pinned, false) => Err("was acknowledged and is not there"),
        (Expected::Gone, true) => Err("was unpinned, acknowledged so, and is there"),
        _ => Ok(()),
    }
}

/// At any time, at the peer that acknowledged it.
///
/// # Errors
/// What was lost.
pub fn at_its_peer(world: &WorldView) -> Result<(), String> {
    for (cid, (peer, expected)) in &world.expected {
        let Some(view) = world.peers.get(peer) else { continue };
        check(view, cid, *expected).map_err(|what| format!("{cid} {what}, at {peer}"))?;
    }
    Ok(())
}

/// Once healed, at all peers.
///
/// # Errors
/// What was lost.
pub fn at_all_peers(world: &WorldView) -> Result<(), String> {
    for (cid, (_, expected)) in &world.expected {
        for (peer, view) in &world.peers {
            check(view, cid, *expected).map_err(|what| format!("{cid} {what}, at {peer}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::tests::{cid, healthy};

    #[test]
    fn a_lost_pin_is_noticed_where_it_was_acknowledged_and_elsewhere_once_healed() {
        let (mut world, one, other) = healthy();
        world.peers.entry(other).or_default().pins.clear();
        assert_eq!(at_its_peer(&world), Ok(()));
        assert!(at_all_peers(&world).is_err());

        world.peers.entry(one).or_default().pins.clear();
        assert!(at_its_peer(&world).is_err());
    }

    #[test]
    fn a_pin_that_comes_back_is_noticed_and_what_is_unknown_is_not_judged() {
        let (mut world, one, _) = healthy();
        world.expected.insert(cid(1), (one, Expected::Gone));
        assert!(at_its_peer(&world).is_err());

        world.expected.insert(cid(1), (one, Expected::Unknown));
        world.expected.insert(cid(7), (one, Expected::Unknown));
        assert_eq!((at_its_peer(&world), at_all_peers(&world)), (Ok(()), Ok(())));
    }
}
