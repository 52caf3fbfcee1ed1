//! The replica's blocks, for others: nodes that are here, verified when they came.

use bytes::Bytes;
use cluster_component::ports::{Below, Block, LocalBlocks};
use cluster_core::crdt::Node;
use cluster_types::Cid;
use cluster_types::store::{Datastore, Table};
use std::collections::{BTreeSet, VecDeque};
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

    fn get_below(&self, cid: &Cid, below: &Below, bytes_max: usize) -> Vec<Block> {
        let most = usize::try_from(below.most).unwrap_or(usize::MAX).max(1);
        let mut seen: BTreeSet<Cid> = below.known.iter().copied().filter(|known| known != cid).collect();
        let (mut blocks, mut bytes) = (Vec::new(), 0);
        // Each level of the DAG before the next one: then no child comes before its parent's walk wants it.
        let mut waiting = VecDeque::from([*cid]);
        seen.insert(*cid);
        while blocks.len() < most
            && bytes < bytes_max
            && let Some(cid) = waiting.pop_front()
        {
            let Some(data) = self.get(&cid) else { continue };
            let links = Node::decode(&data).map(|node| node.links).unwrap_or_default();
            waiting.extend(links.into_iter().filter(|link| seen.insert(*link)));
            bytes += data.len();
            blocks.push(Block::claimed(cid, data));
        }
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use cluster_core::crdt::{Effect, Event, LocalChange, Replica};
    use cluster_datastore::MemoryStore;

    fn written(count: u8) -> (Arc<MemoryStore>, Vec<Cid>) {
        let store = Arc::new(MemoryStore::default());
        let (mut replica, mut heads) = (Replica::load(&*store).expect("empty"), Vec::new());
        for number in 0..count {
            let pin = cluster_core::crdt::delta::cid_of(&[number]);
            let mut effects = Vec::new();
            let change = Event::Local(vec![LocalChange::Put(pin, vec![number])]);
            replica.step(change, &*store, &mut effects).expect("stepped");
            for effect in effects {
                if let Effect::Write(batch) = effect {
                    store.write(batch).expect("written");
                }
            }
            heads.extend(replica.heads().keys().copied());
        }
        heads.reverse();
        (store, heads)
    }

    fn names(blocks: &[Block]) -> Vec<Cid> {
        blocks.iter().map(|block| block.cid).collect()
    }

    #[test]
    fn what_is_below_comes_in_order_and_within_bounds() {
        let (store, heads) = written(9);
        let blocks = ReplicaBlocks(store);
        let below = |most, known: &[Cid]| Below { most, known: known.to_vec() };

        assert_eq!(names(&blocks.get_below(&heads[0], &below(100, &[]), 1 << 20)), heads);
        assert_eq!(names(&blocks.get_below(&heads[2], &below(100, &heads[5..6]), 1 << 20)), heads[2..5]);
        assert_eq!(names(&blocks.get_below(&heads[2], &below(3, &[]), 1 << 20)), heads[2..5]);
        assert_eq!(names(&blocks.get_below(&heads[0], &below(100, &heads[..1]), 1)), heads[..1]);
        let unknown = cluster_core::crdt::delta::cid_of(b"unknown");
        assert_eq!(blocks.get_below(&unknown, &below(9, &[]), 1 << 20), []);
        assert!(blocks.has(&heads[8]) && !blocks.has(&unknown));
        assert_eq!(blocks.get(&unknown), None::<Bytes>);
    }
}
