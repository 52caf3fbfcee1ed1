//! How connections are made, assembled once: TCP or WebSocket, the private network, noise or TLS, yamux.
//!
//! Used by the host of a peer, by the embedded IPFS node and by HTTP over libp2p. What any swarm needs is here: listening,
//! streams for protocols outside of it ([`streams`]), what an address says of itself. Of swarms there is only the least
//! one, which opens or takes streams of one protocol (`plain`).

mod address;
mod bandwidth;
mod dial;
mod guard;
mod kind;
mod listen;
mod names;
mod plain;
mod security;
mod shares;
pub mod streams;

pub use address::{is_named, is_relayed, is_supported, split};
pub use bandwidth::{Meter, Totals};
pub use dial::{dial_reason, is_stranger};
pub use guard::{HungUp, WrongSecret, is_hung_up, is_wrong_secret, root_cause};
pub use kind::{Kind, kind};
pub use listen::listen;
pub use names::{NameError, Names};
pub use plain::{CallError, Callee, CalleeOptions, Caller, CallerOptions};
pub use security::{Security, SecurityError};
pub use shares::{Share, Shares};

use futures::future::Either;
use futures::io::{AsyncRead, AsyncWrite};
use guard::Guard;
use libp2p::core::Transport;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox};
use libp2p::core::transport::{Boxed, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::pnet::{PnetConfig, PreSharedKey};
use libp2p::{PeerId, dns, relay, tcp, websocket, yamux};
use libp2p_identity::Keypair;
use std::io;
use std::time::Duration;

/// How long a connection may take from its first byte until it is secured and multiplexed.
const SETUP_MAX: Duration = Duration::from_secs(10);

/// Streams that a connection may carry. A peer that opens more loses the connection, so that it is above what the
/// protocols allow each peer.
const STREAMS_MAX: usize = 1_024;

/// What connections are made with.
#[derive(Clone, Default)]
pub struct Options {
    /// What peers of a private network share; `None`: anybody may connect.
    pub secret: Option<[u8; 32]>,
    /// How connections are secured.
    pub security: Security,
    /// Counts what passes, by protocol.
    pub meter: Meter,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let private = self.secret.is_some();
        f.debug_struct("Options").field("private", &private).field("security", &self.security).finish_non_exhaustive()
    }
}

/// Why there is no transport.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The system's settings for names could not be read.
    #[error("the settings of the name resolver could not be read: {0}")]
    Dns(#[from] io::Error),
    /// The key cannot be used.
    #[error(transparent)]
    Security(#[from] SecurityError),
}

/// A transport whose connections are secured and multiplexed.
pub type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// TCP and WebSocket, and what comes through relays when `relayed` is given.
///
/// # Errors
/// When names cannot be resolved on this system, or the key cannot be used.
pub fn build(
    key: &Keypair,
    options: &Options,
    relayed: Option<relay::client::Transport>,
) -> Result<Connections, TransportError> {
    let direct = secured(sockets()?, key, options)?;
    match relayed {
        None => Ok(direct),
        Some(relayed) => {
            let relayed = secured(relayed, key, options)?;
            Ok(OrTransport::new(relayed, direct).map(|either, _| either.into_inner()).boxed())
        }
    }
}

/// Bytes over TCP or WebSocket, to addresses with or without names.
///
/// Names of `/ws` and `/wss` addresses are resolved below the WebSocket, which needs them for its certificates; all
/// others above, since a `/dnsaddr` may stand for either kind.
fn sockets() -> io::Result<Boxed<Box<dyn Socket>>> {
    let tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let named = websocket::Config::new(dns::tokio::Transport::system(tcp())?).map(|socket, _| boxed(socket));
    let inner = websocket::Config::new(tcp()).map(|socket, _| boxed(socket));
    let inner = OrTransport::new(inner, tcp().map(|socket, _| boxed(socket)));
    let other = dns::tokio::Transport::system(inner.map(|either, _| either.into_inner()))?;
    Ok(OrTransport::new(named, other).map(|either, _| either.into_inner()).boxed())
}

/// Bytes both ways.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

fn boxed(socket: impl Socket + 'static) -> Box<dyn Socket> {
    Box::new(socket)
}

/// Private network, security and multiplexing on top of raw bytes. Relayed bytes get all three again, as the reference.
fn secured<T>(raw: T, key: &Keypair, options: &Options) -> Result<Connections, TransportError>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    let security = options.security.upgrade(key)?;
    let secret = options.secret;
    let meter = options.meter.clone();
    let mut multiplexer = yamux::Config::default();
    multiplexer.set_max_num_streams(STREAMS_MAX);
    let connections = raw
        .and_then(move |socket, _| private(socket, secret))
        .upgrade(Version::V1Lazy)
        .authenticate(security)
        .multiplex(multiplexer)
        .timeout(SETUP_MAX)
        .boxed();
    Ok(connections.map(move |(peer, muxer), _| (peer, metered(muxer, meter))).boxed())
}

fn metered(
    muxer: impl StreamMuxer<Substream: Send, Error: Send + Sync> + Send + 'static,
    meter: Meter,
) -> StreamMuxerBox {
    StreamMuxerBox::new(bandwidth::Metered::new(Box::pin(muxer), meter))
}

type Private<S> = Guard<Either<libp2p::pnet::PnetOutput<S>, S>>;

async fn private<S>(socket: S, secret: Option<[u8; 32]>) -> io::Result<Private<S>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let socket = match secret {
        None => Either::Right(socket),
        Some(secret) => {
            let handshake = PnetConfig::new(PreSharedKey::new(secret)).handshake(socket);
            Either::Left(handshake.await.map_err(|_| guard::hung_up())?)
        }
    };
    Ok(Guard::new(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::{AsyncReadExt, Cursor};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
    }

    /// Says what it was told to say, and takes what it is given.
    struct Replay(Cursor<Vec<u8>>);

    impl AsyncRead for Replay {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Replay {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn read(socket: Vec<u8>, secret: Option<[u8; 32]>) -> io::Result<Vec<u8>> {
        block_on(async {
            let mut stream = private(Replay(Cursor::new(socket)), secret).await?;
            let mut plaintext = Vec::new();
            stream.read_to_end(&mut plaintext).await?;
            Ok(plaintext)
        })
    }

    /// What was on the sockets of peers of the reference, with noise and with TLS, and what it says.
    #[test]
    fn the_private_network_of_the_reference_is_understood() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../tests/data/private_network.json")).expect("vectors");
        let secret: [u8; 32] = bytes(vectors["secret_hex"].as_str().expect("text")).try_into().expect("32 bytes");
        let directions = vectors["directions"].as_array().expect("a list");
        for direction in directions {
            let field = |name: &str| bytes(direction[name].as_str().expect(name));
            assert_eq!(read(field("socket_hex"), Some(secret)).expect("understood"), field("plaintext_hex"));

            for other in [Some([1; 32]), None] {
                let error = read(field("socket_hex"), other).expect_err("noise");
                assert!(is_wrong_secret(&error), "{error}");
            }
        }
        assert_eq!(directions.len(), 6);
    }
}
