//! Opening a connection to the daemon, with errors worded as Go's `net` words them: users and their tests know those.

use super::address::{Family, Target};
use cluster_component::ports::{self, Clock};
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};

/// How long a connection may take to come about. As Go's default transport.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// A byte stream, whatever its kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connected byte stream.
pub(crate) type Socket = Box<dyn Stream>;

/// Connects, or says why not.
pub(crate) async fn dial(target: &Target, clock: &dyn Clock) -> Result<Socket, String> {
    tokio::select! {
        // The connection first: one that came about in time counts.
        biased;
        connected = connect(target) => connected,
        () = ports::sleep(clock, DIAL_TIMEOUT) => Err(match target {
            Target::Ip(address) => format!("dial tcp {address}: i/o timeout"),
            Target::Name { host, port, .. } => format!("dial tcp {host}:{port}: i/o timeout"),
            Target::Unix(path) => format!("dial unix {}: i/o timeout", path.display()),
        }),
    }
}

async fn connect(target: &Target) -> Result<Socket, String> {
    match target {
        Target::Ip(address) => connect_tcp(*address).await,
        Target::Name { host, port, family } => connect_by_name(host, *port, *family).await,
        Target::Unix(path) => connect_unix(path).await,
    }
}

async fn connect_tcp(address: SocketAddr) -> Result<Socket, String> {
    let stream = TcpStream::connect(address).await.map_err(|e| connect_error("tcp", address, &e))?;
    // Requests are small and wait for their answers.
    let _best_effort = stream.set_nodelay(true);
    Ok(Box::new(stream))
}

/// Tries the addresses in order; the error is that of the first, as Go's.
async fn connect_by_name(host: &str, port: u16, family: Family) -> Result<Socket, String> {
    let lookup_error = |reason: &str| format!("dial tcp: lookup {host}: {reason}");
    let found = lookup_host((host, port)).await.map_err(|e| lookup_error(&lookup_reason(&e)))?;
    let mut first_error = None;
    for address in found.filter(|a| counts(*a, family)) {
        match connect_tcp(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| lookup_error("no such host")))
}

fn counts(address: SocketAddr, family: Family) -> bool {
    match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    }
}

async fn connect_unix(path: &Path) -> Result<Socket, String> {
    let stream = UnixStream::connect(path).await.map_err(|e| connect_error("unix", path.display(), &e))?;
    Ok(Box::new(stream))
}

fn connect_error(network: &str, address: impl Display, error: &io::Error) -> String {
    format!("dial {network} {address}: connect: {}", reason(error))
}

/// The system's text for the error as Go shows it: `connection refused`.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let bare = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = bare.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn lookup_reason(error: &io::Error) -> String {
    let text = error.to_string();
    // The C library's words for a name that does not exist, of which there are several.
    if text.contains("not known") || text.contains("No address associated") {
        return "no such host".to_owned();
    }
    text.rsplit(": ").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_read_as_in_go() {
        assert_eq!(reason(&io::Error::from_raw_os_error(111)), "connection refused");
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "no such file or directory");
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_named() {
        let error = connect(&Target::Unix("/nonexistent/api.sock".into())).await.err().unwrap();

        assert_eq!(error, "dial unix /nonexistent/api.sock: connect: no such file or directory");
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_its_family_respected() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();

        assert!(connect_by_name("localhost", port, Family::V4).await.is_ok());
        assert!(connect_by_name("127.0.0.1", port, Family::V6).await.err().unwrap().ends_with("no such host"));
    }
}
