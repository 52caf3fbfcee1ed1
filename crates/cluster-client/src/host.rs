//! Where a peer's API is: multiaddrs, as users write them.

use cluster_types::{Multiaddr, PeerId};
use multiaddr::Protocol;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// An address of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// Over TCP.
    Tcp {
        /// Name or IP address, without brackets.
        name: String,
        /// The port; `None`: that of the scheme.
        port: Option<u16>,
        /// Whether over TLS.
        tls: bool,
    },
    /// Over a unix socket.
    Unix(PathBuf),
    /// Over libp2p.
    Libp2p {
        /// The peer; `None`: the DNS says which.
        peer: Option<PeerId>,
        /// Where it is, without its name.
        address: Multiaddr,
    },
}

/// Why an address is none of an API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It is no multiaddr.
    #[error(transparent)]
    NoMultiaddr(#[from] cluster_types::address::AddressError),
    /// HTTP does not go there.
    #[error(
        "no API can be reached at {0}: give an address such as /ip4/127.0.0.1/tcp/9094, /dns4/host/tcp/9094, /unix/path or \
         /ip4/127.0.0.1/tcp/9096/p2p/<id>"
    )]
    Unsupported(Multiaddr),
    /// It says who, but not where. Worded as the reference.
    #[error("APIAddr only includes a Peer ID: put its address before {0}")]
    Nowhere(Multiaddr),
}

impl Host {
    /// Reads one multiaddr.
    ///
    /// # Errors
    /// When it is none, or none that HTTP goes to.
    pub fn parse(text: &str, tls: bool) -> Result<Self, HostError> {
        let address = cluster_types::address::parse(text)?;
        if is_of_libp2p(&address) {
            return Self::over_libp2p(address);
        }
        Self::from_multiaddr(&address, tls).ok_or(HostError::Unsupported(address))
    }

    /// TLS does not matter there: connections are secured by libp2p.
    fn over_libp2p(address: Multiaddr) -> Result<Self, HostError> {
        match cluster_transport::split(&address) {
            (rest, Some(_)) if rest.is_empty() => Err(HostError::Nowhere(address)),
            (rest, _) if !cluster_transport::is_supported(&rest) || cluster_transport::is_relayed(&rest) => {
                Err(HostError::Unsupported(address))
            }
            (rest, Some(peer)) => Ok(Self::Libp2p { peer: Some(peer), address: rest }),
            (rest, None) if matches!(rest.iter().next(), Some(Protocol::Dnsaddr(_))) => {
                Ok(Self::Libp2p { peer: None, address: rest })
            }
            _ => Err(HostError::Unsupported(address)),
        }
    }

    fn from_multiaddr(address: &Multiaddr, tls: bool) -> Option<Self> {
        let mut name = None;
        for part in address {
            match part {
                Protocol::Unix(path) => return Some(Self::Unix(format!("/{}", path.trim_start_matches('/')).into())),
                Protocol::Ip4(ip) => name = Some(ip.to_string()),
                Protocol::Ip6(ip) => name = Some(ip.to_string()),
                Protocol::Dns(host) | Protocol::Dns4(host) | Protocol::Dns6(host) => name = Some(host.into_owned()),
                Protocol::Tcp(port) => return Some(Self::Tcp { name: name?, port: Some(port), tls }),
                _ => {}
            }
        }
        Some(Self::Tcp { name: name?, port: None, tls })
    }

    /// The beginning of URLs there, without a path.
    #[must_use]
    pub fn base_url(&self) -> String {
        match self {
            Self::Unix(path) => format!("http://{}", path.display()),
            Self::Libp2p { peer: Some(peer), .. } => format!("libp2p://{peer}"),
            Self::Libp2p { peer: None, address } => format!("libp2p:/{address}"),
            Self::Tcp { name, port, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                let name = if name.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
                    format!("[{name}]")
                } else {
                    name.clone()
                };
                match port {
                    Some(port) => format!("{scheme}://{name}:{port}"),
                    None => format!("{scheme}://{name}"),
                }
            }
        }
    }
}

/// Whether an address is of a peer: it names one, or a record in the DNS does.
fn is_of_libp2p(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2p(_) | Protocol::Dnsaddr(_)))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base_url())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_urls() {
        let url = |text: &str, tls| Host::parse(text, tls).map(|h| h.base_url());
        assert_eq!(url("/ip4/127.0.0.1/tcp/9094", false).as_deref(), Ok("http://127.0.0.1:9094"));
        assert_eq!(url("/ip6/::1/tcp/1/http", true).as_deref(), Ok("https://[::1]:1"));
        assert_eq!(url("/dns4/host.example", false).as_deref(), Ok("http://host.example"));
        assert_eq!(Host::parse("/unix/run/api.sock", false), Ok(Host::Unix("/run/api.sock".into())));
    }

    #[test]
    fn what_is_no_address_is_refused_in_the_words_of_the_reference() {
        let error = Host::parse("bad", false).expect_err("refused");
        assert_eq!(error.to_string(), "failed to parse multiaddr \"bad\": must begin with /");
        let error =
            Host::parse("/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5", false).expect_err("nowhere");
        assert!(error.to_string().starts_with("APIAddr only includes a Peer ID"), "{error}");
    }

    #[test]
    fn addresses_of_peers_go_over_libp2p() {
        let id = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
        let peer = Some(id.parse().expect("a peer"));
        for (text, address, named) in [
            (format!("/ip4/1.2.3.4/tcp/9096/p2p/{id}"), "/ip4/1.2.3.4/tcp/9096", peer),
            (format!("/dns4/example.org/tcp/443/wss/ipfs/{id}"), "/dns4/example.org/tcp/443/wss", peer),
            (format!("/dnsaddr/example.org/p2p/{id}"), "/dnsaddr/example.org", peer),
            ("/dnsaddr/example.org".into(), "/dnsaddr/example.org", None),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(Host::parse(&text, true), Ok(Host::Libp2p { peer: named, address }), "{text}");
        }
        for text in [format!("/ip4/1.2.3.4/udp/9096/quic-v1/p2p/{id}"), format!("/ip4/1.2.3.4/p2p/{id}")] {
            assert!(matches!(Host::parse(&text, false), Err(HostError::Unsupported(_))), "{text}");
        }
    }
}
