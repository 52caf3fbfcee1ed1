//! The real binaries, driven from outside.

mod apart;
mod content;
mod crash;
mod crdt_cluster;
mod ctl;
mod embedded;
mod failures;
mod golden;
mod load;
mod metrics;
mod peer;
mod pinsvc;
mod place;
mod raft;
mod raft_cluster;
mod state;
mod together;
mod tree;
