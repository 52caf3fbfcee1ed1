//! The embedded node as others see it.

mod connector;
mod content;
mod store;
mod support;
