//! States: the pinset for reading, and for a consensus that keeps no pins of its own, for writing.

pub mod dsstate;
mod listing;
pub mod mapstate;
pub mod pinstate;
