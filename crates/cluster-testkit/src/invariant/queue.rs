//! Counters of the queue equal its content: what waits by its row is in the index once, and what is in the index waits.

use super::WorldView;
use std::collections::BTreeSet;

/// At any time.
///
/// # Errors
/// What differs, and where.
pub fn counters(world: &WorldView) -> Result<(), String> {
    for (peer, view) in &world.peers {
        let indexed: BTreeSet<_> = view.waiting_index.iter().copied().collect();
        if indexed != view.waiting_rows {
            let differing = indexed.symmetric_difference(&view.waiting_rows).next();
            return Err(format!("at {peer} {differing:?} waits by its row or in the index, and not both"));
        }
        if indexed.len() < view.waiting_index.len() {
            return Err(format!("at {peer} an item is in the index twice"));
        }
        if view.queue_len != view.pins_in_index {
            return Err(format!("{peer} says that {} pins wait, and {} do", view.queue_len, view.pins_in_index));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::PeerView;
    use crate::invariant::tests::{cid, healthy};

    #[test]
    fn rows_index_and_count_that_differ_are_noticed() {
        let (world, one, _) = healthy();
        let with = |change: &dyn Fn(&mut PeerView)| {
            let mut world = world.clone();
            change(world.peers.entry(one).or_default());
            counters(&world)
        };
        let waits = |view: &mut PeerView| {
            view.waiting_rows.insert(cid(1));
            view.waiting_index.push(cid(1));
            (view.queue_len, view.pins_in_index) = (1, 1);
        };
        assert_eq!(with(&waits), Ok(()));
        assert!(with(&|view| view.waiting_index.push(cid(1))).is_err());
        assert!(
            with(&|view| {
                view.waiting_rows.insert(cid(1));
            })
            .is_err()
        );
        assert!(
            with(&|view| {
                waits(view);
                view.waiting_index.push(cid(1));
            })
            .is_err()
        );
        assert!(
            with(&|view| {
                waits(view);
                view.queue_len = 2;
            })
            .is_err()
        );
    }
}
