//! The libp2p host: swarm, RPC wire, pubsub, block exchange, discovery, private network.
//!
//! [`Host`] is the handle, with the ports `Wire`, `PubSub` and `Network`; one task drives the swarm (`host/driver.rs`).
//! What calls between peers say is not known here: streams are handed to who serves their protocol. [`DoorHost`] is a host
//! beside it that has no part in the cluster.

mod addresses;
mod behaviour;
mod dht;
mod door;
mod exchange;
mod host;
mod mdns;
mod options;
mod pubsub;

pub use door::{DoorHost, DoorOptions};
pub use exchange::{BULK_PROTOCOL, Exchange};
pub use host::Host;
pub use options::{
    Connections, Options, Protocols, PubSubOptions, RPC_PROTOCOL, Reachability, Resources, Security, Serve,
};
