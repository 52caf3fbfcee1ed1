//! The IPFS daemon over its HTTP API: the `ipfshttp` connector.
//!
//! Reading order: [`config`] (the section of the configuration), [`ipfshttp`] (what the cluster asks of a daemon), and
//! below it `daemon`: one call to the API, from the connection pool up to lines and late errors. Besides, `export`: all that
//! a daemon has pinned, for somebody who takes it over.

pub mod config;
mod daemon;
mod export;
pub mod ipfshttp;
mod probe;

pub use config::IpfsHttpConfig;
pub use export::{Export, Listed, Source};
pub use ipfshttp::{IpfsHttp, Parts};
pub use probe::kubo_answers;
