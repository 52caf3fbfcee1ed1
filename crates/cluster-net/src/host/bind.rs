//! From options to a swarm that listens.

use super::command::Command;
use super::driver::Driver;
use super::inbound::Served;
use super::{Shared, bandwidth::Rates, lock};
use crate::addresses::{Lasting, SharedBook, file, is_supported, is_unnamed, split};
use crate::behaviour::Behaviour;
use crate::options::{Options, Protocols};
use crate::pubsub::Topics;
use cluster_transport::Meter;
use cluster_types::Multiaddr;
use libp2p::swarm::StreamProtocol;
use libp2p::{Swarm, relay};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Streams of one connection that may be agreeing on a protocol at a time; more wait in the multiplexer.
const NEGOTIATING_MAX: usize = 256;

/// Makes the swarm and listens.
pub(super) async fn bind(
    options: &Options,
    protocols: Protocols,
    commands: mpsc::Receiver<Command>,
) -> Result<(Shared, Driver), String> {
    let book = SharedBook::default();
    note_peers(&book, &options.peers);
    if let Some(path) = &options.peerstore {
        let read = file::read(path, &mut lock(&book), Instant::now());
        read.map_err(|error| format!("the file of peers {} cannot be read: {error}", path.display()))?;
    }
    let meter = Meter::default();
    let mut swarm = swarm(options, &protocols, Arc::clone(&book), meter.clone())?;
    let shared = Shared {
        me: *swarm.local_peer_id(),
        book,
        topics: Topics::default(),
        announced: Arc::default(),
        protected: Arc::default(),
        rates: Arc::new(Rates::new(meter, Instant::now())),
    };
    cluster_transport::listen(&mut swarm, &options.listen, "cluster.listen_multiaddress").await?;
    let driver = Driver::new(swarm, commands, shared.clone(), Served::new(protocols), options);
    Ok((shared, driver))
}

/// Notes whom an operator wrote down.
fn note_peers(book: &SharedBook, peers: &[Multiaddr]) {
    let (mut book, now) = (lock(book), Instant::now());
    for address in peers {
        match split(address) {
            (rest, Some(peer)) if is_supported(&rest) => {
                book.add(peer, rest, Lasting::Always, now);
                book.set_priority(peer, 0);
            }
            _ if is_unnamed(address) => {}
            _ => tracing::warn!(%address, "passed over in cluster.peer_addresses: not TCP, or without /p2p/<id>"),
        }
    }
}

fn swarm(options: &Options, protocols: &Protocols, book: SharedBook, meter: Meter) -> Result<Swarm<Behaviour>, String> {
    let with = cluster_transport::Options { secret: options.secret, security: options.security, meter };
    let me = options.key.public().to_peer_id();
    let (relayed, relay_client) = relay::client::new(me);
    let transport = cluster_transport::build(&options.key, &with, Some(relayed)).map_err(|error| error.to_string())?;
    let protocols = protocols.keys().map(|protocol| StreamProtocol::new(protocol)).collect();
    let behaviour = Behaviour::new(options, book, protocols, relay_client)?;
    // Connections are for the connection manager to end: members stay connected.
    let config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(Duration::from_secs(u64::MAX))
        .with_max_negotiating_inbound_streams(NEGOTIATING_MAX);
    Ok(Swarm::new(transport, behaviour, me, config))
}
