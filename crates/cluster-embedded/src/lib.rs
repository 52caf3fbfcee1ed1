//! The IPFS node in the process: blocks in segment files, pins, garbage collection, content for the gateway.
//!
//! Reading order: [`store`] (blocks on disk), `pins` (what is held), `fetch` (bringing a DAG here), [`connector`] (the
//! component), `content` (reading files for a gateway), [`config`], [`identity`].
//!
//! Blocks that are not here come from a `BlockExchange`, when there is one; this crate opens no connections of its own.

pub mod config;
pub mod connector;
mod content;
mod fetch;
pub mod identity;
mod pins;
pub mod store;

pub use config::EmbeddedConfig;
pub use connector::{Embedded, Parts};
