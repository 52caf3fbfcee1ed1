//! A peer that is not trusted gets no answer to what only trusted peers may ask.

use super::WorldView;
use cluster_component::rpc::{METHODS, Policy};

/// At any time.
///
/// # Errors
/// Which call was answered, and to whom.
pub fn nothing_for_strangers(world: &WorldView) -> Result<(), String> {
    for (peer, view) in &world.peers {
        let Some(trusted) = &view.trusts else { continue };
        for (from, method) in view.answered.iter().filter(|(from, _)| from != peer && !trusted.contains(from)) {
            let is_open = METHODS.iter().any(|row| row.name == method && row.policy == Policy::Open);
            if !is_open {
                return Err(format!("{peer} answered {method} to {from}, which it does not trust"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::tests::healthy;
    use std::collections::BTreeSet;

    #[test]
    fn an_answer_to_a_stranger_is_noticed() {
        let (mut world, one, other) = healthy();
        let view = world.peers.entry(one).or_default();
        view.answered = vec![(other, "Cluster.Version".into()), (other, "PinTracker.Status".into())];
        view.trusts = Some(BTreeSet::from([other]));
        assert_eq!(nothing_for_strangers(&world), Ok(()));

        world.peers.entry(one).or_default().trusts = Some(BTreeSet::new());
        assert!(nothing_for_strangers(&world).is_err_and(|e| e.contains("PinTracker.Status")));

        world.peers.entry(one).or_default().answered.truncate(1);
        assert_eq!(nothing_for_strangers(&world), Ok(()), "what is open is for all");
    }
}
