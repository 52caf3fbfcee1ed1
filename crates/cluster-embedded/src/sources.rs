//! Where blocks come from that are not here: members of the cluster first, then the IPFS network.

use crate::swarm::{Host, Purpose};
use cluster_component::errors::NetError;
use cluster_component::ports::{Block, BlockExchange, Clock, sleep};
use cluster_types::Cid;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What members are ahead of everybody else, while they are the ones who give blocks: the content of a cluster shall come
/// from the cluster.
const HEAD_START: Duration = Duration::from_millis(500);

/// Pause after nobody gave a block.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Where blocks come from.
pub(crate) struct Sources {
    members: Option<Arc<dyn BlockExchange>>,
    /// The IPFS network, if the operator wants that.
    pub(crate) outside: Option<Arc<Host>>,
    /// Whether the last block came from the outside: then members have no head start for the next one.
    from_outside: AtomicBool,
}

impl Sources {
    pub(crate) fn new(members: Option<Arc<dyn BlockExchange>>, outside: Option<Arc<Host>>) -> Self {
        Self { members, outside, from_outside: AtomicBool::new(false) }
    }

    /// Whether there is nobody to ask.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_none() && self.outside.is_none()
    }

    /// A block, verified against its name; never returns when nobody has it. *Cancel safety:* dropped, it is no longer
    /// asked for.
    pub(crate) async fn get(&self, cid: &Cid, purpose: Purpose, clock: &dyn Clock) -> Block {
        let members = async {
            let Some(members) = &self.members else { return pending().await };
            ask(|| members.get(cid), cid, clock).await
        };
        let outside = async {
            let Some(outside) = &self.outside else { return pending().await };
            if self.members.is_some() && !self.from_outside.load(Ordering::Relaxed) {
                sleep(clock, HEAD_START).await;
            }
            ask(|| outside.get(cid, purpose), cid, clock).await
        };
        // Order: of two that have come, the member's.
        tokio::select! {
            biased;
            block = members => {
                self.from_outside.store(false, Ordering::Relaxed);
                block
            }
            block = outside => {
                self.from_outside.store(true, Ordering::Relaxed);
                block
            }
        }
    }
}

/// Asks until the block comes.
async fn ask<F>(get: impl Fn() -> F, cid: &Cid, clock: &dyn Clock) -> Block
where
    F: Future<Output = Result<Block, NetError>>,
{
    loop {
        let error = match get().await {
            Ok(block) => return block,
            Err(error) => error,
        };
        tracing::debug!(%cid, %error, "a block did not come; it is asked for again");
        sleep(clock, ASK_AGAIN).await;
    }
}
