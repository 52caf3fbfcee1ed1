//! Consensus by Raft: drives openraft. One peer, the leader, orders all changes; what was acknowledged is in the log of a
//! majority, on their disks.
//!
//! Reading order: [`config`] (section `consensus.raft`), `types` (names, proposals and how they are written), `log` and
//! `snapshot` (rows of the datastore), `machine` (what entries do to the pinset), [`wire`] (messages between peers, and
//! the port by which they travel), `proposer` (many changes become one entry, at the leader), `members`, [`consensus`]
//! (the component), [`offline`] (a peer that is not running).
//!
//! The log is not that of the reference's engine; a pinset moves by export and import.

pub mod config;
pub mod consensus;
mod log;
mod machine;
mod members;
mod network;
pub mod offline;
mod proposer;
mod snapshot;
#[cfg(test)]
mod suite;
mod types;
pub mod wire;

pub use config::RaftConfig;
pub use consensus::{Parts, RaftConsensus};
pub use wire::{Courier, RpcCourier};
