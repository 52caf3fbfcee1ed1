//! Raft clusters in one process: a network in memory that delays, loses and parts, stores that forget what was not synced,
//! and time that passes at once. Faults and clients are decided by seeds.

mod cluster;
mod damage;
mod histories;
mod offline;
mod world;
