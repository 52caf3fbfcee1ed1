//! HTTP servers: the REST API, the Pinning Service API, the IPFS proxy, and the gateway to content.
//!
//! [`server`] is what they have in common: listeners, limits, bodies, the access log. [`api`] holds the ways in for
//! clients; they hold an `Rpc` and an `Adder`, or the content of the embedded node, and nothing else of the peer.

pub mod api;
pub mod server;
