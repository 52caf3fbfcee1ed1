//! Which addresses are dialed. In the public network strangers tell of private ones too, their own or made up: whoever
//! dials those knocks at the doors of its neighbours, and is reported for it.

use cluster_transport::{Connections, Kind, kind};
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, Transport};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// What is let through: everything until it is told otherwise.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Whether the addresses of strangers are to be public.
    strict: AtomicBool,
    /// Whether the address is an operator's, and not a stranger's.
    open: AtomicBool,
}

impl Gate {
    /// Says whether the addresses of strangers are to be public.
    pub(super) fn set_strict(&self, strict: bool) {
        self.strict.store(strict, Ordering::Relaxed);
    }

    /// Lets through what is dialed meanwhile.
    pub(super) fn through<T>(&self, dial: impl FnOnce() -> T) -> T {
        self.open.store(true, Ordering::Relaxed);
        let dialed = dial();
        self.open.store(false, Ordering::Relaxed);
        dialed
    }

    fn lets(&self, address: &Multiaddr) -> bool {
        let open = self.open.load(Ordering::Relaxed) || !self.strict.load(Ordering::Relaxed);
        open || kind(address) == Kind::Public
    }
}

/// Whether a node with these addresses of its own, that comes into the DHT by those, is in the public network. Names of
/// single hosts say nothing: private networks have them too.
pub(super) fn is_public<'a>(external: &[Multiaddr], mut bootstrap: impl Iterator<Item = &'a Multiaddr>) -> bool {
    let is_host = |address: &Multiaddr| {
        matches!(address.iter().next(), Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)))
    };
    external.iter().any(|address| kind(address) == Kind::Public)
        || bootstrap.any(|address| kind(address) == Kind::Public && !is_host(address))
}

/// Connections behind a gate.
pub(super) struct Gated {
    pub(super) connections: Connections,
    pub(super) gate: Arc<Gate>,
}

impl Transport for Gated {
    type Output = <Connections as Transport>::Output;
    type Error = io::Error;
    type ListenerUpgrade = <Connections as Transport>::ListenerUpgrade;
    type Dial = <Connections as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.connections.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.connections.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        if !self.gate.lets(&address) {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        self.connections.dial(address, options)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.connections).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::core::Endpoint;
    use libp2p::core::transport::PortUse;
    use libp2p_identity::Keypair;

    #[test]
    fn a_public_address_or_a_public_way_in_makes_a_node_public() {
        let is_public = |external: &str, bootstrap: &str| {
            super::is_public(&[external.parse().expect(external)], [bootstrap.parse().expect(bootstrap)].iter())
        };
        let (near, far) = ("/ip4/10.0.0.1/tcp/1", "/ip4/192.0.2.1/tcp/1");
        assert!(is_public(far, near) && is_public(near, far) && is_public(near, "/dnsaddr/example.org"));
        assert!(!is_public(near, near) && !is_public(near, "/dns4/kubo.internal/tcp/4001"));
    }

    #[tokio::test]
    async fn what_strangers_tell_of_private_networks_is_not_dialed() {
        let key = Keypair::generate_ed25519();
        let connections = cluster_transport::build(&key, &cluster_transport::Options::default(), None);
        let gate = Arc::<Gate>::default();
        let mut gated = Gated { connections: connections.expect("a transport"), gate: Arc::clone(&gate) };
        let mut dials = |text: &str| {
            let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
            gated.dial(text.parse().expect(text), options).is_ok()
        };
        let (near, far) = ("/ip4/10.0.0.1/tcp/1", "/ip4/192.0.2.1/tcp/1");

        assert!(dials(near) && dials(far));
        gate.set_strict(true);
        assert!(!dials(near) && !dials("/ip4/127.0.0.1/tcp/1") && dials(far));
        assert!(gate.through(|| dials(near)));
        assert!(!dials(near));
    }
}
