//! Allocators: choose peers for a pin.

pub mod ascendalloc;
pub mod balanced;
mod by_metric;
pub mod descendalloc;

pub use ascendalloc::AscendAllocator;
pub use descendalloc::DescendAllocator;
