//! Which addresses others are told.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use std::net::IpAddr;

/// Addresses that are told at most, which is what the library keeps. More come from many interfaces, or from peers who
/// see us in odd places.
const TOLD_MAX: usize = 20;

/// The operator's wishes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Announce {
    /// Told instead of everything else, if there are any.
    instead: Vec<Multiaddr>,
    /// Never told.
    never: Vec<Never>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Never {
    /// This one, and whatever follows the same beginning of IP and bits.
    Exact(Multiaddr),
    Network(IpAddr, u8),
}

impl Never {
    fn new(address: &Multiaddr) -> Self {
        let mut parts = address.iter();
        let ip = parts.next().and_then(|part| ip(&part));
        match (ip, parts.next(), parts.next()) {
            (Some(ip), Some(Protocol::Ipcidr(bits)), None) => Self::Network(ip, bits),
            _ => Self::Exact(address.clone()),
        }
    }

    fn matches(&self, address: &Multiaddr) -> bool {
        match self {
            Self::Exact(exact) => exact == address,
            Self::Network(network, bits) => {
                address.iter().next().and_then(|part| ip(&part)).is_some_and(|ip| contains(*network, *bits, ip))
            }
        }
    }
}

fn ip(part: &Protocol<'_>) -> Option<IpAddr> {
    match part {
        Protocol::Ip4(ip) => Some((*ip).into()),
        Protocol::Ip6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn contains(network: IpAddr, bits: u8, ip: IpAddr) -> bool {
    let (network, ip, width) = match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => (u128::from(network.to_bits()), u128::from(ip.to_bits()), 32),
        (IpAddr::V6(network), IpAddr::V6(ip)) => (network.to_bits(), ip.to_bits(), 128),
        _ => return false,
    };
    let rest = width - u32::from(bits).min(width);
    network.checked_shr(rest).unwrap_or(0) == ip.checked_shr(rest).unwrap_or(0)
}

impl Announce {
    pub(crate) fn new(instead: &[Multiaddr], never: &[Multiaddr]) -> Self {
        Self { instead: instead.to_vec(), never: never.iter().map(Never::new).collect() }
    }

    /// What is told, when these are the addresses that the host has. Without doubles, in their order.
    pub(crate) fn choose(&self, own: impl IntoIterator<Item = Multiaddr>) -> Vec<Multiaddr> {
        let own = own.into_iter().filter(|_| self.instead.is_empty());
        let mut told = Vec::new();
        for address in self.instead.iter().cloned().chain(own) {
            let wanted = !self.never.iter().any(|never| never.matches(&address));
            if wanted && !told.contains(&address) && told.len() < TOLD_MAX {
                told.push(address);
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    #[test]
    fn networks_and_single_addresses_are_left_out() {
        let never = addresses(&["/ip4/10.0.0.0/ipcidr/8", "/ip6/fe80::/ipcidr/10", "/ip4/1.2.3.4/tcp/9096"]);
        let own = [
            "/ip4/10.200.3.4/tcp/1",
            "/ip4/11.0.0.1/tcp/1",
            "/ip6/febf::1/tcp/1",
            "/ip6/fec0::1/tcp/1",
            "/ip4/1.2.3.4/tcp/9096",
            "/ip4/1.2.3.4/tcp/9097",
        ];

        let told = Announce::new(&[], &never).choose(addresses(&own));

        assert_eq!(told, addresses(&["/ip4/11.0.0.1/tcp/1", "/ip6/fec0::1/tcp/1", "/ip4/1.2.3.4/tcp/9097"]));
    }

    #[test]
    fn the_widest_and_the_narrowest_network_are_right() {
        let own = addresses(&["/ip4/1.2.3.4/tcp/1", "/ip4/1.2.3.5/tcp/1"]);
        let told = |never: &str| Announce::new(&[], &addresses(&[never])).choose(own.clone());
        assert_eq!(told("/ip4/0.0.0.0/ipcidr/0"), []);
        assert_eq!(told("/ip4/1.2.3.4/ipcidr/32"), own[1..]);
        assert_eq!(told("/ip6/::/ipcidr/0"), own);
    }

    #[test]
    fn what_is_announced_takes_the_place_of_everything_else() {
        let instead = addresses(&["/dns4/example.org/tcp/1", "/ip4/10.0.0.1/tcp/1"]);
        let announce = Announce::new(&instead, &addresses(&["/ip4/10.0.0.0/ipcidr/8"]));
        assert_eq!(announce.choose(addresses(&["/ip4/1.2.3.4/tcp/1"])), instead[..1]);
    }
}
