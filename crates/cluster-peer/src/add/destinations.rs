//! Where the blocks of an add go: to each peer that will hold it, over one stream each, as fast as the slowest takes
//! them. A peer that fails is dropped while another is left: it is pinned there all the same, and fetched then.

use cluster_component::errors::ClusterError;
use cluster_component::ports::Block;
use cluster_component::rpc::{IPFSConnector, Rpc, RpcError, RpcErrorKind, Target};
use cluster_types::PeerId;
use futures::StreamExt;
use futures::future::join_all;
use tokio::sync::mpsc;

/// Blocks that wait for each peer: at most 32 MiB with the largest blocks.
const BLOCKS_AHEAD: usize = 16;

/// The ends of the streams where blocks go in. Dropped, the streams end in order.
pub(super) struct Destinations {
    open: Vec<(PeerId, mpsc::Sender<Result<Block, RpcError>>)>,
}

impl Destinations {
    /// Opens a stream to each peer. Blocks pass while the second value is awaited; it tells how each stream ended.
    pub(super) fn open(rpc: &Rpc, peers: &[PeerId]) -> (Self, impl Future<Output = Result<(), ClusterError>> + use<>) {
        let (mut open, mut uploads) = (Vec::new(), Vec::new());
        for peer in peers.iter().copied() {
            let (sender, receiver) = mpsc::channel(BLOCKS_AHEAD);
            let blocks = futures::stream::unfold(receiver, |mut receiver| async move {
                receiver.recv().await.map(|block| (block, receiver))
            });
            let rpc = rpc.clone();
            uploads.push(async move {
                let target = if peer == rpc.me() { Target::Local } else { Target::Peer(peer) };
                (peer, rpc.upload::<IPFSConnector::BlockStream>(target, blocks.boxed()).await)
            });
            open.push((peer, sender));
        }
        (Self { open }, async move { outcome(join_all(uploads).await) })
    }

    /// Sends a block to every peer that still takes them.
    ///
    /// # Errors
    /// When none does: how the streams ended says why.
    pub(super) async fn send(&mut self, block: Block) -> Result<(), ClusterError> {
        let mut at = 0;
        while let Some((_, sender)) = self.open.get(at) {
            if sender.send(Ok(block.clone())).await.is_ok() {
                at += 1;
            } else {
                self.open.remove(at);
            }
        }
        if self.open.is_empty() {
            return Err(ClusterError::Body("no daemon took more blocks".into()));
        }
        Ok(())
    }

    /// Whether no peer takes blocks any more.
    pub(super) fn have_ended(&self) -> bool {
        self.open.iter().all(|(_, sender)| sender.is_closed())
    }

    /// Has nobody take half of the blocks for all of them.
    pub(super) async fn fail(&self, error: &ClusterError) {
        let failed = RpcError::new(RpcErrorKind::Failed, error.to_string());
        for (_, sender) in &self.open {
            let _ended = sender.send(Err(failed.clone())).await;
        }
    }
}

/// As the reference: an add fails when no peer has everything.
fn outcome(ended: Vec<(PeerId, Result<(), RpcError>)>) -> Result<(), ClusterError> {
    let failed: Vec<_> = ended.iter().filter_map(|(peer, end)| Some((peer, end.as_ref().err()?))).collect();
    if failed.len() < ended.len() {
        for (peer, error) in failed {
            tracing::warn!(%peer, %error, "blocks of an add did not reach a peer that will hold it: it fetches them");
        }
        return Ok(());
    }
    match failed[..] {
        [(_, error)] => Err(error.clone().into()),
        _ => {
            let reasons = failed.iter().map(|(peer, error)| format!("{peer}: {error}"));
            let reasons = reasons.collect::<Vec<_>>().join("; ");
            Err(ClusterError::Rpc(RpcError::new(
                RpcErrorKind::Failed,
                format!("failed to put block on all destinations: {reasons}"),
            )))
        }
    }
}
