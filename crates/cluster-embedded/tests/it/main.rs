//! The embedded node as others see it.

mod connector;
mod content;
mod kubo;
mod liar;
mod store;
mod support;
mod swarm;
