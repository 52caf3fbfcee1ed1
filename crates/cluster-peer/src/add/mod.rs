//! Adders: take in content.

pub mod single;

pub use single::SingleAdder;
