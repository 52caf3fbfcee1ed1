//! Peers of one process: calls and blocks pass between them directly, under the same policy as between machines.

use async_trait::async_trait;
use cluster_component::errors::NetError;
use cluster_component::ports::{Block, BlockExchange, LocalBlocks};
use cluster_component::rpc::{Components, MethodInfo, Others, Rpc, RpcError, RpcErrorKind};
use cluster_types::{Cid, PeerId};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The peers of this process that run. Cheap to clone.
#[derive(Clone, Default)]
pub struct Neighbours(Arc<Mutex<BTreeMap<PeerId, Neighbour>>>);

#[derive(Clone)]
struct Neighbour {
    rpc: Rpc,
    blocks: Vec<Arc<dyn LocalBlocks>>,
}

impl fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.peers().keys()).finish()
    }
}

impl Neighbours {
    fn peers(&self) -> MutexGuard<'_, BTreeMap<PeerId, Neighbour>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer is there, with what it serves.
    pub(crate) fn add(&self, rpc: Rpc, blocks: Vec<Arc<dyn LocalBlocks>>) {
        self.peers().insert(rpc.me(), Neighbour { rpc, blocks });
    }

    /// A peer is gone.
    pub(crate) fn remove(&self, peer: &PeerId) {
        self.peers().remove(peer);
    }
}

impl Others for Neighbours {
    fn find(
        &self,
        from: PeerId,
        to: PeerId,
        method: MethodInfo,
    ) -> BoxFuture<'static, Result<Arc<Components>, RpcError>> {
        let rpc = self.peers().get(&to).map(|neighbour| neighbour.rpc.clone());
        Box::pin(async move {
            let gone = || RpcError::new(RpcErrorKind::Unreachable, format!("failed to dial {to}: it does not run"));
            let components = rpc.ok_or_else(gone)?.local()?;
            components.admit(&from, &method)?;
            Ok(components)
        })
    }
}

#[async_trait]
impl BlockExchange for Neighbours {
    async fn get(&self, cid: &Cid) -> Result<Block, NetError> {
        let blocks: Vec<_> = self.peers().values().flat_map(|neighbour| neighbour.blocks.clone()).collect();
        let wanted = *cid;
        // Disks are read.
        let found = tokio::task::spawn_blocking(move || blocks.iter().find_map(|blocks| blocks.get(&wanted))).await;
        match found {
            Ok(Some(data)) => Ok(Block { cid: *cid, data }),
            _ => Err(NetError::NotFound(cid.to_string())),
        }
    }

    /// The heads alone: between neighbours a block costs nothing, so that each may be asked for when it is needed.
    fn fetch_dag(self: Arc<Self>, heads: Vec<Cid>) -> BoxStream<'static, Result<Block, NetError>> {
        let get = move |cid: Cid| {
            let this = Arc::clone(&self);
            async move { this.get(&cid).await }
        };
        futures::stream::iter(heads).then(get).boxed()
    }
}
