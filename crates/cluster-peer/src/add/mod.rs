//! Adders: take in content.

mod car;
mod destinations;
pub mod single;

pub use single::SingleAdder;
