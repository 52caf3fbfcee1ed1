//! Listening, for any swarm.

use crate::address::is_supported;
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::time::Duration;

/// How long the system may take to say where it listens.
const LISTEN_MAX: Duration = Duration::from_secs(10);

/// Listens on what it can, and waits until the system has said where that is. `setting` is what the operator wrote the
/// addresses into.
///
/// # Errors
/// When there are addresses and it can listen on none.
pub async fn listen<B: NetworkBehaviour>(
    swarm: &mut Swarm<B>,
    addresses: &[Multiaddr],
    setting: &str,
) -> Result<(), String> {
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
        return Err(format!("failed to listen on any address of {setting}: {text}"));
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

async fn wait_for<B: NetworkBehaviour>(swarm: &mut Swarm<B>, waiting: &mut BTreeSet<String>, failed: &mut Vec<String>) {
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
