//! The real binaries, driven from outside.

mod content;
mod crash;
mod ctl;
mod embedded;
mod failures;
mod golden;
mod metrics;
mod peer;
mod raft;
mod raft_cluster;
mod state;
mod together;
mod tree;
