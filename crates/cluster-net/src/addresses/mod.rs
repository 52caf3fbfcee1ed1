//! Where peers are: the book of addresses, and the part of the swarm that asks it.

mod announce;
mod behaviour;
mod book;
pub(crate) mod file;

pub(crate) use announce::Announce;
pub(crate) use behaviour::Behaviour;
pub(crate) use book::{Book, Lasting};
pub(crate) use cluster_transport::{Kind, is_named, is_relayed, is_supported, kind, split};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use std::sync::{Arc, Mutex};

/// A book that several hold.
pub(crate) type SharedBook = Arc<Mutex<Book>>;

/// Whether an address stands for peers whose names are only known once it is resolved.
pub(crate) fn is_unnamed(address: &Multiaddr) -> bool {
    split(address).1.is_none() && matches!(address.iter().next(), Some(Protocol::Dnsaddr(_)))
}
