//! What every [`Consensus`] must do at one peer; what several peers must agree on is tested by each component's own
//! simulation.

use super::{cid, pin};
use crate::eventually;
use cluster_component::component::{Consensus, Leadership, PinsetChange};
use cluster_component::errors::ConsensusError;
use cluster_types::PeerId;
use futures::{FutureExt, StreamExt};
use std::sync::Arc;

/// A started consensus of one peer, and how to end it.
pub struct Subject {
    /// The component, started.
    pub consensus: Arc<dyn Consensus>,
    /// Its peer.
    pub me: PeerId,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Runs the suite.
///
/// # Panics
/// When the component does not keep the contract.
pub async fn run(subject: &Subject) {
    let consensus = &subject.consensus;
    consensus.ready().await.expect("ready");
    assert!(consensus.trusts(&subject.me), "a peer trusts itself");
    assert!(consensus.peers().await.expect("members").contains(&subject.me));
    assert_ne!(consensus.leadership(), Leadership::Electing, "ready means that changes can be ordered");

    changes_are_visible_and_told(&**consensus).await;
    many_at_once_are_all_there(consensus).await;
    consensus.wait_for_sync().await.expect("in step");

    assert!(consensus.clean().await.is_err(), "what runs cannot be removed");
    consensus.shutdown().await;
    assert_eq!(consensus.log_pin(pin(1, "late")).await, Err(ConsensusError::NotRunning));
    assert_eq!(consensus.log_unpin(&cid(1)).await, Err(ConsensusError::NotRunning));
}

async fn changes_are_visible_and_told(consensus: &dyn Consensus) {
    let mut changes = consensus.changes();

    consensus.log_pin(pin(1, "one")).await.expect("pinned");
    assert_eq!(consensus.state().get(&cid(1)).map(|pin| pin.map(|pin| pin.options.name)), Ok(Some("one".into())));
    consensus.log_pin(pin(1, "other")).await.expect("pinned again");
    assert_eq!(consensus.state().get(&cid(1)).map(|pin| pin.map(|pin| pin.options.name)), Ok(Some("other".into())));
    consensus.log_unpin(&cid(1)).await.expect("unpinned");
    assert_eq!(consensus.state().contains(&cid(1)), Ok(false));
    consensus.log_unpin(&cid(1)).await.expect("removing what is not there is no error");

    // Changes are hints: the last word must come, or that everything is to be compared.
    let mut gone = false;
    eventually("the unpin is told", || {
        while let Some(Some(change)) = changes.next().now_or_never() {
            gone = matches!(&change, PinsetChange::Unpinned(of) if *of == cid(1)) || change == PinsetChange::Resync;
        }
        gone
    })
    .await;
}

async fn many_at_once_are_all_there(consensus: &Arc<dyn Consensus>) {
    let orders = (100..400).map(|number| {
        let consensus = Arc::clone(consensus);
        async move { consensus.log_pin(pin(number, "many")).await }
    });
    for done in futures::future::join_all(orders).await {
        done.expect("pinned");
    }
    assert_eq!(consensus.state().len(), Ok(300));
}
