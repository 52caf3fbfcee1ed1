//! What peers may ask of each other, and of themselves: one table, from which client, local short-cut, policy and
//! documentation come.
//!
//! A component that needs another asks through [`Rpc`]: at this peer that is a function call, with nothing encoded;
//! at another it goes over the network.

mod bytes;
mod client;
mod codec;
mod error;
mod method;
mod remote;
mod server;
mod table;

pub use client::{Components, Others, Rpc, Target};
pub use error::{RpcError, RpcErrorKind};
pub use method::{Form, Method, MethodInfo, Policy, Shape, StreamMethod, UnaryMethod, UploadMethod};
pub use table::{Cluster, Consensus, IPFSConnector, METHODS, PeerMonitor, PinTracker};

/// The protocol by which peers call each other.
pub const PROTOCOL: &str = "/ipfscluster/1.0/rpc";

#[cfg(test)]
mod tests;
