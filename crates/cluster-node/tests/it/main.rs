//! Implementations put together as the composition root does.

mod consensus;
mod gateway;
