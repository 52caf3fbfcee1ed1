//! Ways in for clients, one folder each.

pub mod restapi;
