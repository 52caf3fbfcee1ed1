//! Listening on multiaddrs: `/ip4|ip6|dns4|dns6/…/tcp/N` and `/unix/<path>`.

use cluster_types::Multiaddr;
use multiaddr::Protocol;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tokio::net::{TcpListener, UnixListener};

/// Waiting connections that the kernel keeps for us.
const BACKLOG: u32 = 4096;

/// A socket that listens.
#[derive(Debug)]
pub struct BoundListener {
    socket: Socket,
    address: Multiaddr,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A connection of either kind.
pub(super) enum Connection {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// It is none that HTTP can be served on.
    #[error("cannot listen on {0}: give an address such as /ip4/127.0.0.1/tcp/9094 or /unix/run/cluster.sock")]
    Unsupported(Multiaddr),
    /// The operating system refused. Worded as the reference.
    #[error("listen {network} {address}: {reason}")]
    Refused {
        /// `tcp4`, `tcp6`, `tcp` or `unix`.
        network: &'static str,
        /// The address in the system's form.
        address: String,
        /// Why, and what to do.
        reason: String,
    },
}

/// The sockets of one server. Connections wait until it is started.
#[derive(Debug)]
pub struct Listeners {
    waiting: Mutex<Vec<BoundListener>>,
    addresses: Vec<Multiaddr>,
}

impl Listeners {
    /// Binds all of these.
    ///
    /// # Errors
    /// The first that cannot be.
    pub async fn bind(addresses: &[Multiaddr]) -> Result<Self, ListenError> {
        let mut bound = Vec::with_capacity(addresses.len());
        for address in addresses {
            bound.push(BoundListener::bind(address).await?);
        }
        let addresses = bound.iter().map(|listener| listener.address().clone()).collect();
        Ok(Self { waiting: Mutex::new(bound), addresses })
    }

    /// Where they listen, with the ports that were chosen.
    #[must_use]
    pub fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }

    /// Hands them out, to be served, or closed by dropping them. Those that were handed out before end with their scope.
    pub fn take(&self) -> Vec<BoundListener> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

enum Endpoint {
    Ip(SocketAddr),
    Name { host: String, port: u16, v6: bool },
    Unix(PathBuf),
}

fn endpoint(address: &Multiaddr) -> Option<Endpoint> {
    let mut parts = address.iter();
    let endpoint = match (parts.next()?, parts.next()) {
        (Protocol::Unix(path), None) => {
            return Some(Endpoint::Unix(PathBuf::from(format!("/{}", path.trim_start_matches('/')))));
        }
        (Protocol::Ip4(ip), Some(Protocol::Tcp(port))) => Endpoint::Ip((IpAddr::V4(ip), port).into()),
        (Protocol::Ip6(ip), Some(Protocol::Tcp(port))) => Endpoint::Ip((IpAddr::V6(ip), port).into()),
        (Protocol::Dns4(host) | Protocol::Dns(host), Some(Protocol::Tcp(port))) => {
            Endpoint::Name { host: host.into_owned(), port, v6: false }
        }
        (Protocol::Dns6(host), Some(Protocol::Tcp(port))) => Endpoint::Name { host: host.into_owned(), port, v6: true },
        _ => return None,
    };
    parts.next().is_none().then_some(endpoint)
}

impl BoundListener {
    /// Binds. A port of 0 becomes a free one; [`address`](Self::address) tells which.
    ///
    /// # Errors
    /// When the address makes no sense, or is in use, or may not be used.
    pub async fn bind(address: &Multiaddr) -> Result<Self, ListenError> {
        match endpoint(address).ok_or_else(|| ListenError::Unsupported(address.clone()))? {
            Endpoint::Ip(socket) => Self::bind_tcp(socket),
            Endpoint::Name { host, port, v6 } => Self::bind_name(&host, port, v6).await,
            Endpoint::Unix(path) => Self::bind_unix(path, address.clone()),
        }
    }

    fn bind_tcp(socket: SocketAddr) -> Result<Self, ListenError> {
        let network = if socket.is_ipv4() { "tcp4" } else { "tcp6" };
        let refused = |error: io::Error| refusal(network, socket.to_string(), &error);
        let listener = listen_tcp(socket).map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let address = Multiaddr::empty().with(bound.ip().into()).with(Protocol::Tcp(bound.port()));
        Ok(Self { socket: Socket::Tcp(listener), address })
    }

    async fn bind_name(host: &str, port: u16, v6: bool) -> Result<Self, ListenError> {
        let text = format!("{host}:{port}");
        let found = tokio::net::lookup_host((host, port)).await.map_err(|e| refusal("tcp", text.clone(), &e))?;
        let socket = found.into_iter().find(|a| a.is_ipv6() == v6).ok_or_else(|| ListenError::Refused {
            network: "tcp",
            address: text,
            reason: "the name has no address of that kind".into(),
        })?;
        Self::bind_tcp(socket)
    }

    fn bind_unix(path: PathBuf, address: Multiaddr) -> Result<Self, ListenError> {
        // A socket that a killed process left behind keeps nobody; one that answers does.
        if path.exists() && std::os::unix::net::UnixStream::connect(&path).is_err() {
            let _best_effort = std::fs::remove_file(&path); // If it stays, binding says why.
        }
        let refused = |error: io::Error| refusal("unix", path.display().to_string(), &error);
        let listener = UnixListener::bind(&path).map_err(refused)?;
        Ok(Self { socket: Socket::Unix(listener, path), address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Multiaddr {
        &self.address
    }

    /// The next connection, and who it is from: an IP address, or the path of the socket.
    ///
    /// # Errors
    /// When the system refuses to hand over one; the next may work.
    pub(super) async fn accept(&self) -> io::Result<(Connection, String)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Connection::Tcp(stream), from.ip().to_string()))
            }
            Socket::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Connection::Unix(stream), "@".to_owned()))
            }
        }
    }
}

impl Drop for BoundListener {
    fn drop(&mut self) {
        if let Socket::Unix(_, path) = &self.socket {
            let _best_effort = std::fs::remove_file(path); // The next start removes it otherwise.
        }
    }
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn refusal(network: &'static str, address: String, error: &io::Error) -> ListenError {
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => "bind: address already in use (another process listens there: stop it, or change \
                                     the address in service.json)"
            .to_owned(),
        _ => format!("bind: {error}"),
    };
    ListenError::Refused { network, address, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_free_port_is_filled_in_and_a_taken_one_is_named() {
        let first = BoundListener::bind(&"/ip4/127.0.0.1/tcp/0".parse().expect("address")).await.expect("bound");

        let error = BoundListener::bind(first.address()).await.expect_err("taken");

        assert!(!first.address().to_string().ends_with("/0"));
        assert!(error.to_string().starts_with("listen tcp4 127.0.0.1:"), "{error}");
        assert!(error.to_string().contains("bind: address already in use"), "{error}");
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_one_that_answers_is_not() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("api.sock");
        let address = cluster_types::address::parse(&format!("/unix{}", path.display())).expect("address");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("left behind"));

        let listener = BoundListener::bind(&address).await.expect("replaced");
        BoundListener::bind(&address).await.expect_err("in use");

        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn an_address_without_a_port_is_refused_with_an_example() {
        let error = BoundListener::bind(&"/ip4/127.0.0.1".parse().expect("address")).await.expect_err("refused");
        assert!(error.to_string().contains("/ip4/127.0.0.1/tcp/9094"), "{error}");
    }
}
