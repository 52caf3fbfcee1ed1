//! The IPFS proxy: the API of the IPFS daemon, in which pinning and adding mean the cluster. What concerns pins is
//! answered here, in Kubo's forms; everything else goes to the daemon as it is, or is answered by the embedded node where
//! that takes its place.
//!
//! Reading order: [`config`], `service` (the way of a request), `forward` and `dial` (to the daemon), `headers` (which answers have
//! from it), then `pins`, `content` and `repo` (what is answered here), and `node` (what the embedded node answers).

pub mod config;
mod content;
mod dial;
mod forward;
mod headers;
mod node;
mod pins;
mod repo;
mod service;

pub use config::IpfsProxyConfig;
pub use service::{IpfsProxy, Parts};
