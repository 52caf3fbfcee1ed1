//! What an address says of itself: from where it can be reached, whether it can be dialed here, whose it is.

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Whether an address goes through a relay.
pub fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// Whether an address has a name that is to be resolved.
pub fn is_named(address: &Multiaddr) -> bool {
    let first = address.iter().next();
    matches!(first, Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)))
}

/// The address without the name at its end, and that name. A name in the middle is that of a relay.
pub fn split(address: &Multiaddr) -> (Multiaddr, Option<PeerId>) {
    let mut rest = address.clone();
    match rest.pop() {
        Some(Protocol::P2p(peer)) => (rest, Some(peer)),
        _ => (address.clone(), None),
    }
}

/// Whether this host can dial or listen on an address: TCP and WebSocket, direct or through a relay.
pub fn is_supported(address: &Multiaddr) -> bool {
    let refused = |part: &Protocol<'_>| {
        matches!(
            part,
            Protocol::Udp(_) | Protocol::Quic | Protocol::QuicV1 | Protocol::WebTransport | Protocol::Unix(_)
        )
    };
    let carried = |part: &Protocol<'_>| matches!(part, Protocol::Tcp(_) | Protocol::P2pCircuit | Protocol::Dnsaddr(_));
    !address.iter().any(|part| refused(&part)) && address.iter().any(|part| carried(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quic_is_not_supported_and_what_goes_over_tcp_is() {
        let supported = |text: &str| is_supported(&text.parse().expect(text));
        for text in ["/ip4/0.0.0.0/udp/9096/quic", "/ip4/1.2.3.4/udp/1/quic-v1/webtransport", "/ip4/1.2.3.4"] {
            assert!(!supported(text), "{text}");
        }
        for text in
            ["/ip4/0.0.0.0/tcp/9096", "/ip6/::/tcp/0/ws", "/dns4/example.org/tcp/443/wss", "/dnsaddr/example.org"]
        {
            assert!(supported(text), "{text}");
        }
    }

    #[test]
    fn the_name_at_the_end_is_taken_off() {
        let peer = PeerId::random();
        let (address, name) = split(&format!("/ip4/1.2.3.4/tcp/5/p2p/{peer}").parse().expect("address"));
        assert_eq!((address.to_string().as_str(), name), ("/ip4/1.2.3.4/tcp/5", Some(peer)));
    }
}
