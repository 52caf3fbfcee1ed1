//! Adders: take in content.

pub mod adder;
mod car;
mod destinations;
mod entries;
mod sharded;

pub use adder::BlockAdder;
