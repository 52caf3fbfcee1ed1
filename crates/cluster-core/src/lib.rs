//! Decisions without I/O: what a peer does next, as plain code that is given the time and an event and returns effects.
//!
//! No clock, no chance, no threads, no async, no order that is left to luck: the same history has the same outcome, so
//! that it can be simulated thousands of times a second and replayed.

pub mod allocate;
pub mod crdt;
pub mod monitor;
pub mod pinset;
pub mod tracker;
