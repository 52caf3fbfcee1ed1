//! Implementations put together as the composition root does.

mod gateway;
