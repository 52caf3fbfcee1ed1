//! The real binaries, driven from outside.

mod apart;
mod clients;
mod content;
mod crash;
mod crdt_cluster;
mod ctl;
mod embedded;
mod failures;
mod follower;
mod golden;
mod load;
mod metrics;
mod over_libp2p;
mod peer;
mod pinsvc;
mod place;
mod proxy;
mod raft;
mod raft_cluster;
mod raft_histories;
mod reference;
mod sharded;
mod state;
mod together;
mod traces;
mod tree;
