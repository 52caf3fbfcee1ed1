//! The replica's blocks, for others: nodes that are here, verified when they came.

use bytes::Bytes;
use cluster_component::ports::LocalBlocks;
use cluster_types::Cid;
use cluster_types::store::{Datastore, Table};
use std::sync::Arc;

/// Bytes of the number under which a node's block is kept.
const NUMBER: usize = 8;

/// The blocks of the replica in a store.
#[allow(missing_debug_implementations)] // A store need not show itself.
pub struct ReplicaBlocks(pub Arc<dyn Datastore>);

impl LocalBlocks for ReplicaBlocks {
    fn has(&self, cid: &Cid) -> bool {
        self.get(cid).is_some()
    }

    /// A store that cannot be read has nothing for others; its own peer tells of it.
    fn get(&self, cid: &Cid) -> Option<Bytes> {
        let row = self.0.get(Table::CrdtIndex, &cid.hash().to_bytes()).ok()??;
        self.0.get(Table::CrdtBlocks, row.get(..NUMBER)?).ok()?
    }
}
