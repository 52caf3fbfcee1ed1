//! The DAG of a replica that is not running: a summary, a drawing, and the mark that blocks may be missing.

use cluster_core::crdt::{Node, Replica, ReplicaError, delta};
use cluster_types::Cid;
use cluster_types::store::{Batch, Datastore, DatastoreRead, StoreError, Table};
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Write};

const DIRTY: &[u8] = b"dirty";

/// Why the DAG could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The replica failed.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The drawing could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A block is missing or damaged.
    #[error("the block {0} of the CRDT-DAG is missing or damaged: start the peer, it fetches what is missing")]
    Block(Cid),
}

/// A summary of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its heads.
    pub heads: Vec<Cid>,
    /// The height of the highest.
    pub max_height: u64,
    /// Whether blocks may be missing below the heads.
    pub dirty: bool,
}

/// Sums up the replica.
///
/// # Errors
/// When the store cannot be read.
pub fn info(store: &dyn DatastoreRead) -> Result<Info, GraphError> {
    let replica = Replica::load(store)?;
    Ok(Info {
        heads: replica.heads().keys().copied().collect(),
        max_height: replica.heads().values().copied().max().unwrap_or(0),
        dirty: is_dirty(store)?,
    })
}

/// Whether blocks may be missing below the heads.
pub(crate) fn is_dirty(store: &dyn DatastoreRead) -> Result<bool, StoreError> {
    Ok(store.get(Table::CrdtMeta, DIRTY)?.is_some())
}

/// Says, durably, that blocks may be missing below the heads, or that none is.
///
/// # Errors
/// When the store fails.
pub fn mark(store: &dyn Datastore, dirty: bool) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    if dirty {
        batch.put(Table::CrdtMeta, DIRTY.to_vec(), Vec::new());
    } else {
        batch.delete(Table::CrdtMeta, DIRTY.to_vec());
    }
    store.write(batch)?;
    store.sync()
}

/// Draws the DAG from the heads down, in the language of Graphviz, as the reference does.
///
/// # Errors
/// When the store cannot be read, a block is missing, or `out` cannot be written.
pub fn draw(store: &dyn DatastoreRead, out: &mut impl Write) -> Result<(), GraphError> {
    let heads = info(store)?.heads;
    writeln!(out, "digraph CRDTDAG {{\nsubgraph heads {{")?;
    for head in &heads {
        writeln!(out, "{head}")?;
    }
    writeln!(out, "}}")?;
    let mut seen: BTreeSet<Cid> = heads.iter().copied().collect();
    let mut waiting: VecDeque<Cid> = heads.into();
    while let Some(cid) = waiting.pop_front() {
        let node = node(store, &cid)?;
        draw_node(&cid, &node, out)?;
        waiting.extend(node.links.into_iter().filter(|link| seen.insert(*link)));
    }
    writeln!(out, "}}")?;
    Ok(())
}

fn draw_node(cid: &Cid, node: &Node, out: &mut impl Write) -> io::Result<()> {
    let (delta, text) = (&node.delta, cid.to_string());
    let short = text.get(text.len().saturating_sub(4)..).unwrap_or(&text);
    let (added, removed) = (delta.elements.len(), delta.tombstones.len());
    writeln!(out, "{cid} [label=\"{} | {short}: +{added} -{removed}\"]", delta.priority)?;
    let links: String = node.links.iter().map(|link| format!("{link} ")).collect();
    writeln!(out, "{cid} -> {{{links}}}\nsubgraph sg_{cid} {{")?;
    for link in &node.links {
        writeln!(out, "{link}")?;
    }
    writeln!(out, "}}")
}

fn node(store: &dyn DatastoreRead, cid: &Cid) -> Result<Node, GraphError> {
    let multihash = cid.0.hash().to_bytes();
    let missing = || GraphError::Block(*cid);
    let row = store.get(Table::CrdtIndex, &multihash)?.ok_or_else(missing)?;
    let number = row.get(..8).ok_or_else(missing)?;
    let block = store.get(Table::CrdtBlocks, number)?.ok_or_else(missing)?;
    debug_assert_eq!(delta::cid_of(&block), *cid);
    Node::decode(&block).map_err(|_| missing())
}
