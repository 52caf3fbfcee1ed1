//! Ways in for clients, one folder each.

pub mod gateway;
pub mod metrics;
pub mod restapi;
