//! From where an address can be reached.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use std::net::{IpAddr, Ipv4Addr};

/// From where an address can be reached, as far as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// From the same machine.
    Loopback,
    /// From the same network.
    Private,
    /// From everywhere; names are taken for such.
    Public,
}

/// From where an address can be reached.
pub fn kind(address: &Multiaddr) -> Kind {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => of_ip(ip.into()),
        Some(Protocol::Ip6(ip)) => of_ip(ip.into()),
        _ => Kind::Public,
    }
}

fn of_ip(ip: IpAddr) -> Kind {
    match ip.to_canonical() {
        ip if ip.is_loopback() => Kind::Loopback,
        IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() || ip.is_unspecified() || is_shared(ip) => {
            Kind::Private
        }
        IpAddr::V6(ip) if ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified() => Kind::Private,
        _ => Kind::Public,
    }
}

/// 100.64.0.0/10, behind the NAT of a provider.
fn is_shared(ip: Ipv4Addr) -> bool {
    ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_from_where_they_can_be_reached() {
        for (text, expected) in [
            ("/ip4/127.0.0.1/tcp/1", Kind::Loopback),
            ("/ip6/::1/tcp/1", Kind::Loopback),
            ("/ip6/::ffff:127.0.0.1/tcp/1", Kind::Loopback),
            ("/ip4/192.168.1.1/tcp/1", Kind::Private),
            ("/ip4/172.31.0.1/tcp/1", Kind::Private),
            ("/ip4/100.127.0.1/tcp/1", Kind::Private),
            ("/ip6/fd00::1/tcp/1", Kind::Private),
            ("/ip6/fe80::1/tcp/1", Kind::Private),
            ("/ip4/172.32.0.1/tcp/1", Kind::Public),
            ("/ip4/100.128.0.1/tcp/1", Kind::Public),
            ("/ip4/1.2.3.4/tcp/1", Kind::Public),
            ("/dns4/example.org/tcp/1", Kind::Public),
        ] {
            assert_eq!(kind(&text.parse().expect(text)), expected, "{text}");
        }
    }
}
