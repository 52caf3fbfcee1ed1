//! Adders: take in content.

mod car;
mod destinations;
mod sharded;
pub mod single;

pub use single::SingleAdder;
