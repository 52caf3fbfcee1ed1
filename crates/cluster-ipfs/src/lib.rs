//! The IPFS daemon over its HTTP API: the `ipfshttp` connector.
//!
//! Reading order: [`config`] (the section of the configuration), [`ipfshttp`] (what the cluster asks of a daemon), and
//! below it `daemon`: one call to the API, from the connection pool up to lines and late errors.

pub mod config;
mod daemon;
pub mod ipfshttp;
mod probe;

pub use config::IpfsHttpConfig;
pub use ipfshttp::{IpfsHttp, Parts};
pub use probe::kubo_answers;
