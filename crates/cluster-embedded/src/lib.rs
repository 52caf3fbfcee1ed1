//! The IPFS node in the process: blocks in segment files, pins, garbage collection, content for the gateway.
//!
//! Reading order: [`store`] (blocks on disk), `pins` (what is held), `fetch` (bringing a DAG here), [`connector`] (the
//! component), `content` (reading files for a gateway), `swarm` (the IPFS network), `repository` (while no node runs), [`config`],
//! [`identity`].
//!
//! Blocks that are not here come from a `BlockExchange`, which is the cluster's, and from the IPFS network where the
//! operator wants that.

pub mod config;
pub mod connector;
mod content;
mod fetch;
pub mod identity;
mod pins;
mod repository;
mod sources;
pub mod store;
mod swarm;

pub use config::EmbeddedConfig;
pub use connector::{Embedded, Parts};
pub use repository::{CarIntake, Repository};
pub use swarm::{Dht, SwarmConfig};
