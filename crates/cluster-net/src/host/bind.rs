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
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{StreamProtocol, SwarmEvent};
use libp2p::{Swarm, relay};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long the system may take to say where it listens.
const LISTEN_MAX: Duration = Duration::from_secs(10);

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
    listen(&mut swarm, &options.listen).await?;
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

/// Listens on what it can, and waits until the system has said where that is.
async fn listen(swarm: &mut Swarm<Behaviour>, addresses: &[Multiaddr]) -> Result<(), String> {
    let mut waiting = BTreeSet::new();
    let mut failed = Vec::new();
    for address in addresses {
        if !is_supported(address) {
            tracing::info!(%address, "not listened on: there is no such transport here");
            continue;
        }
        if let Err(error) = is_free(address) {
            failed.push(format!("{address}: {error}"));
            continue;
        }
        match swarm.listen_on(address.clone()) {
            Ok(id) => drop(waiting.insert(id.to_string())),
            Err(error) => failed.push(format!("{address}: {error}")),
        }
    }
    let told = tokio::time::timeout(LISTEN_MAX, wait_for(swarm, &mut waiting, &mut failed)).await;
    if told.is_err() {
        failed.push(format!("the system did not say within {LISTEN_MAX:?} where it listens"));
    }
    if swarm.listeners().next().is_none() && !addresses.is_empty() {
        let text = if failed.is_empty() { "none is of a kind that is supported".to_owned() } else { failed.join("; ") };
        return Err(format!("failed to listen on any address of cluster.listen_multiaddress: {text}"));
    }
    for failure in failed {
        tracing::warn!("not listened on: {failure}");
    }
    Ok(())
}

/// Whether a port is free. The library shares ports, so that it would not notice another program on its own, and
/// connections would go to either.
fn is_free(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip: Option<IpAddr> = match parts.next() {
        Some(Protocol::Ip4(ip)) => Some(ip.into()),
        Some(Protocol::Ip6(ip)) => Some(ip.into()),
        _ => None,
    };
    match (ip, parts.next()) {
        (Some(ip), Some(Protocol::Tcp(port))) if port != 0 => TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

async fn wait_for(swarm: &mut Swarm<Behaviour>, waiting: &mut BTreeSet<String>, failed: &mut Vec<String>) {
    let done = |waiting: &mut BTreeSet<String>, id: ListenerId| waiting.remove(&id.to_string());
    while !waiting.is_empty() {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { listener_id, .. } => drop(done(waiting, listener_id)),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                done(waiting, listener_id);
                failed.extend(reason.err().map(|error| error.to_string()));
            }
            SwarmEvent::ListenerError { listener_id, error } => {
                done(waiting, listener_id);
                failed.push(error.to_string());
            }
            _ => {}
        }
    }
}
