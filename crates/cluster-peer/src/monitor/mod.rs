//! Monitors: collect the metrics of all peers.

pub mod pubsubmon;
mod wire;
