//! Where a peer's API is: multiaddrs, as users write them.

use cluster_types::Multiaddr;
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
}

/// Why an address is none of an API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It is no multiaddr.
    #[error(transparent)]
    NoMultiaddr(#[from] cluster_types::address::AddressError),
    /// HTTP does not go there.
    #[error(
        "no API can be reached at {0}: give an address such as /ip4/127.0.0.1/tcp/9094, /dns4/host/tcp/9094 or /unix/path"
    )]
    Unsupported(Multiaddr),
}

impl Host {
    /// Reads one multiaddr.
    ///
    /// # Errors
    /// When it is none, or none that HTTP goes to.
    pub fn parse(text: &str, tls: bool) -> Result<Self, HostError> {
        let address = cluster_types::address::parse(text)?;
        Self::from_multiaddr(&address, tls).ok_or(HostError::Unsupported(address))
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
                Protocol::P2p(_) => return None,
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
        let libp2p = "/ip4/1.2.3.4/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
        assert!(matches!(Host::parse(libp2p, false), Err(HostError::Unsupported(_))));
    }
}
