//! Where the daemon's API is: read from the configured multiaddress, and shown as the URL that errors name.

use cluster_types::Multiaddr;
use http::{HeaderValue, Uri};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// What to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// An address.
    Ip(SocketAddr),
    /// A name that is looked up anew for every connection.
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// Which addresses of it count.
        family: Family,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Which of a name's addresses count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// All: `/dns/…`.
    Any,
    /// Version 4 only: `/dns4/…`.
    V4,
    /// Version 6 only: `/dns6/…`.
    V6,
}

/// The API of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeAddress {
    /// What to connect to.
    pub(crate) target: Target,
    /// What stands before the path in the URLs of errors.
    pub(crate) base_url: String,
    /// The `Host` header.
    pub(crate) host: HeaderValue,
}

/// Whether the text is a multiaddress at all. The texts are those of go-multiaddr, which users compare.
pub(crate) fn check_syntax(text: &str) -> Result<(), String> {
    let fail = |reason: String| Err(format!("failed to parse multiaddr {text:?}: {reason}"));
    if text.is_empty() {
        return fail("empty multiaddr".to_owned());
    }
    if !text.starts_with('/') {
        return fail("must begin with /".to_owned());
    }
    // The library takes one segment for the path of a socket; its users write whole paths.
    if text.starts_with("/unix/") {
        return Ok(());
    }
    match text.parse::<Multiaddr>() {
        Ok(_) => Ok(()),
        Err(multiaddr_error) => {
            fail(multiaddr_error.to_string().replace("unknown protocol string: ", "unknown protocol "))
        }
    }
}

impl NodeAddress {
    /// Reads `/ip4/…/tcp/…`, `/ip6/…/tcp/…`, `/dns{,4,6}/…/tcp/…` and `/unix/<path without its first slash>`. What
    /// follows the port is ignored, as the reference does.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        check_syntax(text)?;
        if let Some(path) = text.strip_prefix("/unix/") {
            return Self::new(Target::Unix(PathBuf::from(format!("/{path}"))), "http+unix://", "ipfs".to_owned());
        }
        let mut parts = text.split('/').skip(1);
        let target = (|| {
            let (kind, host) = (parts.next()?, parts.next()?);
            let port = parts.next().filter(|p| *p == "tcp").and_then(|_| parts.next())?.parse().ok()?;
            let name = |family| Some(Target::Name { host: host.to_owned(), port, family });
            match kind {
                "ip4" | "ip6" => Some(Target::Ip(SocketAddr::new(host.parse::<IpAddr>().ok()?, port))),
                "dns" => name(Family::Any),
                "dns4" => name(Family::V4),
                "dns6" => name(Family::V6),
                _ => None,
            }
        })();
        let target = target.ok_or_else(|| {
            format!("cannot connect to {text}: write /ip4/<address>/tcp/<port>, /dns/<name>/tcp/<port> or /unix/<path>")
        })?;
        let authority = match &target {
            Target::Ip(address) => address.to_string(),
            Target::Name { host, port, .. } => format!("{host}:{port}"),
            Target::Unix(_) => String::new(),
        };
        Self::new(target, "http://", authority)
    }

    /// Reads what [`parse`](Self::parse) does, or a URL such as `http://127.0.0.1:5001`.
    pub(crate) fn parse_url(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} names no Kubo: write http://127.0.0.1:5001 or /ip4/127.0.0.1/tcp/5001");
        let url: Uri = match text {
            multiaddress if multiaddress.starts_with('/') => return Self::parse(multiaddress),
            url => url.parse().map_err(|_| wrong())?,
        };
        match url.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(format!("{text:?}: a Kubo is asked over plain HTTP, make a tunnel to it and name its end"));
            }
            _ => return Err(wrong()),
        }
        let (host, port) = (url.host().ok_or_else(wrong)?, url.port_u16().unwrap_or(80));
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let target = match bare.parse::<IpAddr>() {
            Ok(address) => Target::Ip(SocketAddr::new(address, port)),
            Err(_) => Target::Name { host: host.to_owned(), port, family: Family::Any },
        };
        Self::new(target, "http://", format!("{host}:{port}"))
    }

    fn new(target: Target, scheme: &str, authority: String) -> Result<Self, String> {
        let host = HeaderValue::from_str(&authority).map_err(|_| format!("{authority:?} is no host name"))?;
        Ok(Self { target, base_url: format!("{scheme}{authority}"), host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> String {
        NodeAddress::parse(text).unwrap().base_url
    }

    #[test]
    fn urls_are_those_of_the_reference() {
        assert_eq!(base("/ip4/127.0.0.1/tcp/5001"), "http://127.0.0.1:5001");
        assert_eq!(base("/ip6/::1/tcp/5001"), "http://[::1]:5001");
        assert_eq!(base("/dns4/ipfs0/tcp/5001"), "http://ipfs0:5001");
        assert_eq!(base("/ip4/10.0.0.1/tcp/80/http"), "http://10.0.0.1:80");
        assert_eq!(base("/unix/mnt/ipfs/api.sock"), "http+unix://ipfs");
    }

    #[test]
    fn a_socket_keeps_its_whole_path() {
        let address = NodeAddress::parse("/unix/mnt/ipfs/api.sock").unwrap();

        assert_eq!(address.target, Target::Unix("/mnt/ipfs/api.sock".into()));
    }

    #[test]
    fn urls_are_read_too() {
        let read = |text| NodeAddress::parse_url(text).map(|address| address.base_url);
        assert_eq!(read("http://127.0.0.1:5001"), Ok("http://127.0.0.1:5001".into()));
        assert_eq!(read("http://[::1]:5001/"), Ok("http://[::1]:5001".into()));
        assert_eq!(read("http://kubo.example"), Ok("http://kubo.example:80".into()));
        assert_eq!(read("/ip4/127.0.0.1/tcp/5001"), Ok("http://127.0.0.1:5001".into()));
        for text in ["", "127.0.0.1:5001", "ftp://x", "kubo"] {
            assert!(read(text).expect_err("no address").contains("names no Kubo: write http://"), "{text}");
        }
        assert!(read("https://kubo.example").expect_err("TLS").contains("over plain HTTP"));
    }

    #[test]
    fn names_say_which_addresses_count() {
        let family = |text| match NodeAddress::parse(text).unwrap().target {
            Target::Name { family, .. } => family,
            other => panic!("{other:?} is no name"),
        };

        assert_eq!(family("/dns/ipfs/tcp/1"), Family::Any);
        assert_eq!(family("/dns4/ipfs/tcp/1"), Family::V4);
        assert_eq!(family("/dns6/ipfs/tcp/1"), Family::V6);
    }

    #[test]
    fn syntax_errors_are_worded_as_go_multiaddr_does() {
        let error = |text| check_syntax(text).unwrap_err();

        assert_eq!(error(""), "failed to parse multiaddr \"\": empty multiaddr");
        assert_eq!(error("bad"), "failed to parse multiaddr \"bad\": must begin with /");
        assert_eq!(error("/bad/x"), "failed to parse multiaddr \"/bad/x\": unknown protocol bad");
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_with_what_can() {
        for text in ["/ip4/1.2.3.4/udp/5001", "/ip4/1.2.3.4", "/p2p-circuit", "/tcp/5001"] {
            let error = NodeAddress::parse(text).unwrap_err();
            assert!(error.starts_with(&format!("cannot connect to {text}: write /ip4/")), "{error}");
        }
    }
}
