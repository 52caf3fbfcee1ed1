//! Consensus by Merkle-CRDT: drives the replica of `cluster-core`.
//!
//! Reading order: [`config`] (section `consensus.crdt`), [`consensus`] (the component), `writer` (the thread that owns
//! the replica: groups, syncs, acknowledges), `following` (how far behind), `members` (who was put out), [`offline`] and
//! [`graph`] (a replica without a running peer).

mod blocks;
pub mod config;
pub mod consensus;
mod following;
pub mod graph;
mod members;
pub mod offline;
mod writer;

pub use blocks::ReplicaBlocks;
pub use config::CrdtConfig;
pub use consensus::{CrdtConsensus, Parts, WriterOn};
