//! Who does not keep to the rules, and what it costs the others.

use crate::peer::{Peer, options, within};
use cluster_component::ports::{Network, Wire};
use cluster_net::RPC_PROTOCOL;
use futures::{AsyncReadExt, AsyncWriteExt};
use std::io::{Read, Write};
use std::net::TcpStream;

fn port(peer: &Peer) -> u16 {
    let text = peer.host.addresses()[0].to_string();
    text.rsplit('/').next().expect("a port").parse().expect("a number")
}

/// Says something and waits for the end of the connection.
fn shout(port: u16, bytes: &[u8]) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let _it_may_have_hung_up = socket.write_all(bytes);
    socket.set_read_timeout(Some(crate::peer::DEADLINE)).expect("a timeout");
    let mut answer = Vec::new();
    let _reset_or_closed = socket.read_to_end(&mut answer);
    assert!(answer.len() < 1024, "{} bytes were said to a stranger", answer.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_ends_a_connection_and_nothing_else() {
    let (one, two) = (Peer::start(options()).await, Peer::start(options()).await);
    one.connect(&two).await;
    let port = port(&one);
    let noises = [vec![0; 1 << 20], vec![0xff; 1 << 20], b"GET / HTTP/1.1\r\n\r\n".repeat(100)];

    for noise in noises {
        within("it was ended", tokio::task::spawn_blocking(move || shout(port, &noise))).await.expect("ended");
    }

    assert!(one.host.open(&two.id()).await.is_ok());
    assert_eq!(two.host.connected(), [one.id()].into());
}

#[tokio::test]
async fn silent_sockets_do_not_keep_others_out() {
    let (one, two) = (Peer::start(options()).await, Peer::start(options()).await);
    let silent: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(("127.0.0.1", port(&one))).expect("it listens")).collect();

    two.connect(&one).await;
    assert!(two.host.open(&one.id()).await.is_ok());
    drop(silent);
}

/// 600 streams that never end: the 512 that one peer may have are served, the others reset, and another peer is not
/// concerned.
#[tokio::test]
async fn a_peer_that_opens_too_many_streams_has_them_reset() {
    let [one, greedy, other] =
        [Peer::start(options()).await, Peer::start(options()).await, Peer::start(options()).await];
    greedy.connect(&one).await;
    other.connect(&one).await;

    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..600 {
        let mut stream = greedy.host.open(&one.id()).await.expect("opened");
        let mut byte = [7];
        let asked = async {
            stream.write_all(&byte).await?;
            stream.read_exact(&mut byte).await
        };
        match within("it was answered or reset", asked).await {
            Ok(()) => held.push(stream),
            Err(_) => refused += 1,
        }
    }

    assert_eq!((held.len(), refused), (512, 88));
    let mut stream = other.host.open_stream(one.id(), RPC_PROTOCOL).await.expect("opened");
    let mut byte = [7];
    stream.write_all(&byte).await.expect("written");
    stream.read_exact(&mut byte).await.expect("echoed");
}

/// What the reference says that it speaks, in a capture of its identify, so do we; bitswap has a crate of its own.
#[tokio::test]
async fn the_protocols_of_the_reference_are_spoken() {
    let one = Peer::start(options()).await;
    for protocol in [
        "/floodsub/1.0.0",
        "/ipfs/id/1.0.0",
        "/ipfs/id/push/1.0.0",
        "/ipfs/lan/kad/1.0.0",
        "/ipfs/ping/1.0.0",
        "/ipfscluster/1.0/rpc",
        "/libp2p/autonat/1.0.0",
        "/libp2p/circuit/relay/0.2.0/stop",
        "/meshsub/1.0.0",
        "/meshsub/1.1.0",
        "/meshsub/1.2.0",
        "/meshsub/1.3.0",
    ] {
        // One asker each: gossipsub takes few streams of a connection.
        let two = Peer::start(options()).await;
        two.connect(&one).await;
        let opened = two.host.open_stream(one.id(), protocol).await;
        assert!(opened.is_ok(), "{protocol}: {:?}", opened.err());
    }
    let two = Peer::start(options()).await;
    two.connect(&one).await;
    for protocol in ["/ipfs/kad/1.0.0", "/libp2p/circuit/relay/0.2.0/hop", "/mplex/6.7.0"] {
        assert!(two.host.open_stream(one.id(), protocol).await.is_err(), "{protocol}");
    }
}
