//! Streams for calls between peers.

use crate::peer::{Peer, options, within};
use cluster_component::ports::{Network, Wire};
use cluster_net::{Host, Options, Protocols, RPC_PROTOCOL};
use cluster_testkit::tasks::eventually;
use futures::{AsyncReadExt, AsyncWriteExt};
use std::sync::Arc;

#[tokio::test]
async fn eight_mebibytes_come_back_unchanged() {
    let (one, two) = (Peer::start(options()).await, Peer::start(options()).await);
    one.connect(&two).await;
    let sent: Vec<u8> = (0..8_usize << 20).map(|n| (n * n / 7 % 251) as u8).collect();

    let (mut read, mut write) = one.host.open(&two.id()).await.expect("opened").split();
    let mut received = Vec::new();
    let exchange = futures::future::join(
        async {
            write.write_all(&sent).await.expect("written");
            write.close().await.expect("closed");
        },
        read.read_to_end(&mut received),
    );
    within("everything came back", exchange).await.1.expect("read");

    assert!(received == sent);
    let bandwidth = one.host.bandwidth()[RPC_PROTOCOL];
    assert!(bandwidth.bytes_out >= 8 << 20 && bandwidth.bytes_in >= 8 << 20, "{bandwidth:?}");
}

#[tokio::test]
async fn a_burst_of_streams_is_served() {
    let (one, two) = (Peer::start(options()).await, Peer::start(options()).await);
    one.connect(&two).await;

    let ask = |n: u32| {
        let (host, two) = (Arc::clone(&one.host), two.id());
        async move {
            let mut stream = host.open(&two).await.expect("opened");
            stream.write_all(&n.to_be_bytes()).await.expect("written");
            stream.close().await.expect("closed");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.expect("read");
            assert_eq!(answer, n.to_be_bytes());
        }
    };
    within("all were served", futures::future::join_all((0..200).map(ask))).await;
}

/// A stream to a peer that is known, but not connected, connects first.
#[tokio::test]
async fn a_stream_connects_first() {
    let two = Peer::start(options()).await;
    let one = Peer::start(options()).await;
    one.connect(&two).await;
    eventually("addresses were told", || !two.host.addresses_of(&one.id()).is_empty()).await;
    let address = one.host.addresses_of(&two.id());
    one.host.forget(&two.id()).await;
    eventually("the connection ended", || two.host.connected().is_empty() && one.host.connected().is_empty()).await;
    assert!(!address.is_empty());

    assert!(two.host.open(&one.id()).await.is_ok());
    assert!(one.host.connected().contains(&two.id()));
}

#[tokio::test]
async fn a_peer_that_does_not_speak_the_protocol_is_named() {
    let one = Peer::start(options()).await;
    let silent = Arc::new(Host::bind(&options(), Protocols::new()).await.expect("it listens"));
    let tasks = one.tasks.clone();
    cluster_component::component::Component::start(Arc::clone(&silent), &tasks).await.expect("started");
    let address = silent.addresses().remove(0).with_p2p(silent.me()).expect("no name");
    one.host.connect(&address).await.expect("connected");

    let error = one.host.open(&silent.me()).await.err().expect("refused").to_string();
    assert!(error.contains("does not speak /ipfscluster/1.0/rpc"), "{error}");
}

/// A peer that accepts connections and never answers costs no more than the deadline.
#[tokio::test]
async fn a_peer_that_never_answers_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let port = listener.local_addr().expect("port").port();
    let one = Peer::start(Options { dial_timeout: std::time::Duration::from_millis(200), ..options() }).await;

    let address = format!("/ip4/127.0.0.1/tcp/{port}/p2p/{}", libp2p_identity::PeerId::random());
    let error = one.host.connect(&address.parse().expect("address")).await.expect_err("given up");
    assert!(error.to_string().contains("did not answer within 200ms"), "{error}");
}

#[tokio::test]
async fn streams_end_when_the_host_stops() {
    let (one, two) = (Peer::start(options()).await, Peer::start(options()).await);
    one.connect(&two).await;
    let mut stream = one.host.open(&two.id()).await.expect("opened");
    stream.write_all(b"hello").await.expect("written");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.expect("echoed");

    within("it stopped", two.tasks.stop()).await;

    let end = within("the stream ended", stream.read(&mut answer)).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert!(two.host.open(&one.id()).await.is_err());
}
