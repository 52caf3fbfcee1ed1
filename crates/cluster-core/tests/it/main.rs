//! Machines against recorded histories and in simulated worlds.

mod chance;
mod replicas;
mod trace;
mod tracker;
