//! Allocators: choose peers for a pin.

pub mod balanced;
