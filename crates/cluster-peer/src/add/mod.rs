//! Adders: take in content.

mod destinations;
pub mod single;

pub use single::SingleAdder;
