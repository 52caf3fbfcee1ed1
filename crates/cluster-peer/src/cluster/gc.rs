//! Garbage collection over all peers.

use super::MainCluster;
use cluster_component::errors::ClusterError;
use cluster_component::rpc::{Cluster as ClusterRpc, RpcErrorKind, Target};
use cluster_types::{GlobalRepoGc, RepoGc};

impl MainCluster {
    pub(super) async fn gc_everywhere(&self) -> Result<GlobalRepoGc, ClusterError> {
        let mut global = GlobalRepoGc::default();
        // One after the other, as the reference: a cluster whose peers all collect at once serves nobody.
        for peer in self.parts.consensus.peers().await? {
            match self.parts.rpc.call::<ClusterRpc::RepoGCLocal>(Target::Peer(peer), ()).await {
                Ok(gc) => drop(global.peer_map.insert(peer, gc)),
                Err(error) if error.kind == RpcErrorKind::Unauthorized => {}
                Err(error) => {
                    let gc = RepoGc { peer, peername: self.name_of(&peer), keys: Vec::new(), error: error.message };
                    global.peer_map.insert(peer, gc);
                }
            }
        }
        Ok(global)
    }

    pub(super) async fn gc_here(&self) -> Result<RepoGc, ClusterError> {
        let keys = self.parts.connector.repo_gc().await?;
        let (peer, peername) = (self.parts.rpc.me(), self.config.peername.clone());
        Ok(RepoGc { peer, peername, keys, error: String::new() })
    }
}
