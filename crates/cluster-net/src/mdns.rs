//! Peers on the local network, by the reference's kind of service.
//!
//! An instance has a name that says nothing, and a text `dnsaddr=<address>/p2p/<id>` for each address. The library
//! keeps one text of each name, so that we make an instance for each address, and of others read the first text with
//! the numbers beside it.

use crate::addresses::{Kind, is_relayed, is_supported, kind, split};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use mdns_sd::{Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The kind of service.
const SERVICE: &str = "_ipfs-cluster-discovery._udp.local.";

/// What its texts begin with.
const TEXT: &str = "dnsaddr";

/// The port that is told; as the reference, which says that it is not used.
const PORT: u16 = 4001;

/// Addresses that are told of at most.
const TOLD_MAX: usize = 8;

/// A peer that is on the local network, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) peer: PeerId,
    pub(crate) addresses: Vec<Multiaddr>,
}

/// Tells the local network of us, and us of others.
pub(crate) struct Mdns {
    me: PeerId,
    /// `None`: it is off, or the system does not let us.
    running: Option<Running>,
}

struct Running {
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    /// Addresses that were told of, and under which name.
    told: BTreeMap<Multiaddr, String>,
}

impl Running {
    fn start() -> Result<Self, mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        // The name of the service is longer than the standard allows.
        daemon.set_service_name_len_max(30)?;
        let events = daemon.browse(SERVICE)?;
        Ok(Self { daemon, events, told: BTreeMap::new() })
    }

    fn tell(&mut self, address: &Multiaddr, me: PeerId) -> Result<(), mdns_sd::Error> {
        let Some(ip) = ip(address) else { return Ok(()) };
        // 40 letters that nobody else has: the reference takes 32 to 63 random ones.
        let name: String = PeerId::random().to_string().to_lowercase().chars().rev().take(40).collect();
        let text = address.clone().with(Protocol::P2p(me)).to_string();
        let host = format!("{name}.local.");
        let service = ServiceInfo::new(SERVICE, &name, &host, ip, PORT, &[(TEXT, text.as_str())][..])?;
        let full = service.get_fullname().to_owned();
        self.daemon.register(service)?;
        self.told.insert(address.clone(), full);
        Ok(())
    }
}

impl Mdns {
    /// Starts to listen, if it is wanted. A system that does not let us is told of, and does without.
    pub(crate) fn new(wanted: bool, me: PeerId) -> Self {
        let running = wanted.then(Running::start).and_then(|started| {
            started.map_err(|error| tracing::warn!(%error, "peers on the local network cannot be looked for")).ok()
        });
        Self { me, running }
    }

    /// Tells the local network where we are.
    pub(crate) fn announce(&mut self, addresses: &[Multiaddr]) {
        let Some(running) = &mut self.running else { return };
        let wanted = worth_telling(addresses);
        let gone: Vec<Multiaddr> = running.told.keys().filter(|told| !wanted.contains(told)).cloned().collect();
        for address in gone {
            if let Some(name) = running.told.remove(&address) {
                let _it_ends_by_itself = running.daemon.unregister(&name);
            }
        }
        for address in wanted.iter().filter(|address| !running.told.contains_key(address)).cloned().collect::<Vec<_>>()
        {
            if let Err(error) = running.tell(&address, self.me) {
                tracing::debug!(%address, %error, "the local network cannot be told of this address");
            }
        }
    }

    /// The next peer that is found. *Cancel safety:* dropped, nothing is lost.
    pub(crate) async fn found(&self) -> Found {
        let Some(running) = &self.running else { return std::future::pending().await };
        loop {
            match running.events.recv_async().await {
                Ok(ServiceEvent::ServiceResolved(service)) => {
                    if let Some(found) = read(&service).filter(|found| found.peer != self.me) {
                        return found;
                    }
                }
                Ok(_) => {}
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

impl Drop for Mdns {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            let _it_ends_with_the_process = running.daemon.shutdown();
        }
    }
}

fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

/// Addresses that lead others on the local network to us.
fn worth_telling(addresses: &[Multiaddr]) -> Vec<Multiaddr> {
    let direct = addresses.iter().filter(|address| !is_relayed(address) && ip(address).is_some());
    direct.filter(|address| kind(address) != Kind::Loopback).take(TOLD_MAX).cloned().collect()
}

fn read(service: &ResolvedService) -> Option<Found> {
    let text = service.get_property_val_str(TEXT)?;
    let numbers = service.get_addresses().iter().map(mdns_sd::ScopedIp::to_ip_addr);
    found(text, numbers)
}

/// The peer of a text, at the address that it says and at the same port of the numbers beside it.
fn found(text: &str, numbers: impl Iterator<Item = IpAddr>) -> Option<Found> {
    let (address, peer) = split(&text.parse().ok()?);
    let peer = peer.filter(|_| is_supported(&address))?;
    let at = |number: IpAddr| address.replace(0, |_| Some(number.into()));
    let mut addresses = vec![address.clone()];
    for other in numbers.filter(|_| ip(&address).is_some()).filter_map(at).take(TOLD_MAX) {
        if !addresses.contains(&other) {
            addresses.push(other);
        }
    }
    Some(Found { peer, addresses })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Multiaddr {
        text.parse().expect(text)
    }

    #[test]
    fn a_text_and_the_numbers_beside_it_say_where_a_peer_is() {
        let peer = PeerId::random();
        let text = format!("/ip4/127.0.0.1/tcp/9096/p2p/{peer}");
        let numbers: [IpAddr; 2] = ["127.0.0.1".parse().expect("ip"), "192.168.1.7".parse().expect("ip")];

        let addresses = vec![parse("/ip4/127.0.0.1/tcp/9096"), parse("/ip4/192.168.1.7/tcp/9096")];
        assert_eq!(found(&text, numbers.into_iter()), Some(Found { peer, addresses }));
    }

    #[test]
    fn a_text_without_a_peer_that_can_be_dialed_is_passed_over() {
        for text in ["", "/ip4/1.2.3.4/tcp/1", &format!("/ip4/1.2.3.4/udp/1/quic-v1/p2p/{}", PeerId::random())] {
            assert_eq!(found(text, std::iter::empty()), None, "{text}");
        }
    }

    #[test]
    fn loopback_and_names_are_not_told_to_the_local_network() {
        let all = ["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/dns4/example.org/tcp/1"].map(parse);
        assert_eq!(worth_telling(&all), all[1..2]);
    }
}
