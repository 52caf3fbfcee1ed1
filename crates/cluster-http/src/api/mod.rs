//! Ways in for clients, one folder each, and the door that two of them share.

pub mod door;
pub mod gateway;
pub mod ipfsproxy;
pub mod metrics;
pub mod pinsvcapi;
pub mod restapi;
