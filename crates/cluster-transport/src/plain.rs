//! The least of swarms: streams of one protocol, and what keeps a connection honest. No discovery, no topics, no relays.
//!
//! [`Caller`] opens streams, for programs that are no peers; [`Callee`] takes them, for servers that are reached over
//! libp2p and are no peer of a cluster.

mod callee;
mod caller;

pub use callee::{Callee, CalleeOptions};
pub use caller::{CallError, Caller, CallerOptions};

use crate::{Connections, Options, TransportError, streams};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::swarm::{NetworkBehaviour, StreamProtocol};
use libp2p::{Swarm, identify, ping};
use libp2p_identity::Keypair;
use std::time::Duration;

/// Connections of one peer: one is enough, two come about when both dial.
const PER_PEER_MAX: u32 = 8;

/// Connections that are being made at a time, in either direction.
const PENDING_MAX: u32 = 256;

/// Connections from others at a time.
const INCOMING_MAX: u32 = 1_024;

/// Streams of one connection that may be agreeing on a protocol at a time; more wait in the multiplexer.
const NEGOTIATING_MAX: usize = 64;

/// How long a connection without streams is kept: whoever comes back sooner need not dial again.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// What others are told that this is.
const AGENT: &str = concat!("ipfs-cluster-rust/", env!("CARGO_PKG_VERSION"));

/// The parts of the swarm.
#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    streams: streams::Behaviour,
}

/// A swarm that takes streams of these protocols.
fn swarm(key: &Keypair, with: &Options, protocols: Vec<StreamProtocol>) -> Result<Swarm<Behaviour>, TransportError> {
    let connections: Connections = crate::build(key, with, None)?;
    let limits = ConnectionLimits::default()
        .with_max_established_per_peer(Some(PER_PEER_MAX))
        .with_max_established_incoming(Some(INCOMING_MAX))
        .with_max_pending_incoming(Some(PENDING_MAX))
        .with_max_pending_outgoing(Some(PENDING_MAX));
    let identify = identify::Config::new_with_signed_peer_record(String::new(), key)
        .with_agent_version(AGENT.to_owned())
        .with_cache_size(0);
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::default(),
        streams: streams::Behaviour::new(protocols),
    };
    let config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_MAX)
        .with_max_negotiating_inbound_streams(NEGOTIATING_MAX);
    Ok(Swarm::new(connections, behaviour, key.public().to_peer_id(), config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{AsyncReadExt, AsyncWriteExt};
    use libp2p::{Multiaddr, PeerId};

    const PROTOCOL: &str = "/test/1";
    const SECRET: [u8; 32] = [7; 32];

    /// A server that sends back five bytes of each stream; where it is.
    async fn echo(secret: Option<[u8; 32]>) -> (PeerId, Vec<Multiaddr>) {
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
        let key = Keypair::generate_ed25519();
        let options = CalleeOptions { key, secret, listen, protocol: PROTOCOL, setting: "test".into() };
        let mut callee = Callee::bind(options).await.expect("listens");
        let at = (callee.id(), callee.addresses());
        drop(tokio::spawn(async move {
            loop {
                let (_, mut stream, _share) = callee.next().await;
                let mut bytes = [0; 5];
                stream.read_exact(&mut bytes).await.expect("read");
                stream.write_all(&bytes).await.expect("written");
                stream.close().await.expect("closed");
            }
        }));
        at
    }

    fn caller(secret: Option<[u8; 32]>) -> Caller {
        Caller::start(&CallerOptions { secret }).expect("a caller")
    }

    async fn ask(caller: &Caller, (peer, addresses): (PeerId, Vec<Multiaddr>)) -> Result<String, CallError> {
        let mut stream = caller.open(peer, addresses, PROTOCOL).await?;
        stream.write_all(b"hello").await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        Ok(answer)
    }

    #[tokio::test]
    async fn streams_go_to_a_server_with_and_without_a_secret() {
        for secret in [None, Some(SECRET)] {
            let (at, caller) = (echo(secret).await, caller(secret));
            for _ in 0..3 {
                assert_eq!(ask(&caller, at.clone()).await.as_deref(), Ok("hello"));
            }
        }
    }

    #[tokio::test]
    async fn who_has_another_secret_is_told_of_it() {
        for (theirs, ours) in [(Some(SECRET), None), (Some(SECRET), Some([8; 32])), (None, Some(SECRET))] {
            let error = ask(&caller(ours), echo(theirs).await).await.expect_err("refused");
            assert!(error.to_string().contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn another_peer_at_the_address_is_not_talked_to() {
        let (_, addresses) = echo(None).await;
        let error = ask(&caller(None), (PeerId::random(), addresses)).await.expect_err("somebody else");
        assert!(matches!(&error, CallError::Unreachable(reason) if reason.contains("another peer")), "{error}");
    }

    #[tokio::test]
    async fn a_protocol_that_the_server_does_not_speak_is_named() {
        let (peer, addresses) = echo(None).await;
        let error = caller(None).open(peer, addresses, "/other/1").await.expect_err("unsupported");
        assert_eq!(error, CallError::Unsupported("/other/1".into()));
    }
}
