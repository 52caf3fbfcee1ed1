//! Who connects to whom, and who does not.

use crate::peer::{Peer, options};
use cluster_component::ports::{Network, Wire};
use cluster_net::{Host, Options, Protocols, Security};
use cluster_testkit::tasks::eventually;
use libp2p_identity::Keypair;

#[tokio::test]
async fn peers_connect_and_know_of_each_other() {
    let (one, two) = (Peer::start(options()).await, Peer::start(options()).await);

    one.connect(&two).await;

    eventually("both are connected", || {
        one.host.connected().contains(&two.id()) && two.host.connected().contains(&one.id())
    })
    .await;
    // The one that was dialed learns from the other where it listens.
    eventually("addresses were told", || two.host.addresses_of(&one.id()) == one.host.addresses()).await;
}

#[tokio::test]
async fn peers_connect_however_they_secure_connections() {
    for (ours, theirs) in [
        (Security::Noise, Security::Both),
        (Security::Tls, Security::Both),
        (Security::Both, Security::Noise),
        (Security::Both, Security::Tls),
        (Security::Tls, Security::Tls),
    ] {
        let one = Peer::start(Options { security: ours, ..options() }).await;
        let two = Peer::start(Options { security: theirs, ..options() }).await;
        one.connect(&two).await;
    }
}

#[tokio::test]
async fn peers_connect_by_websocket_and_without_a_secret() {
    for secret in [None, Some([9; 32])] {
        let listen = vec!["/ip4/127.0.0.1/tcp/0/ws".parse().expect("address")];
        let two = Peer::start(Options { listen, secret, ..options() }).await;
        assert!(two.address().to_string().contains("/ws/p2p/"), "{}", two.address());
        let one = Peer::start(Options { secret, ..options() }).await;

        one.connect(&two).await;
        assert!(one.host.open(&two.id()).await.is_ok());
    }
}

#[tokio::test]
async fn old_identities_connect() {
    let key = include_bytes!("../data/rsa_private_key.bin");
    let key = Keypair::from_protobuf_encoding(key).expect("a key of the reference");
    for security in [Security::Noise, Security::Tls] {
        let one = Peer::start(Options { security, key: key.clone(), ..options() }).await;
        let two = Peer::start(options()).await;
        two.connect(&one).await;
    }
}

#[tokio::test]
async fn another_secret_is_refused_and_named() {
    for theirs in [Some([8; 32]), None] {
        let (one, two) = (Peer::start(options()).await, Peer::start(Options { secret: theirs, ..options() }).await);

        for (from, to) in [(&one, &two), (&two, &one)] {
            let error = from.host.connect(&to.address()).await.expect_err("refused");
            assert!(error.to_string().contains("cluster.secret"), "{error}");
        }
        assert!(one.host.connected().is_empty() && two.host.connected().is_empty());
    }
}

#[tokio::test]
async fn a_dial_that_cannot_succeed_says_why() {
    let (one, two) = (Peer::start(options()).await, Peer::start(options()).await);
    let text = |address: String| {
        let host = std::sync::Arc::clone(&one.host);
        async move { host.connect(&address.parse().expect("address")).await.expect_err("fails").to_string() }
    };

    let stranger = libp2p_identity::PeerId::random();
    let elsewhere = two.address().to_string().replace(&two.id().to_string(), &stranger.to_string());
    let error = text(elsewhere).await;
    assert!(error.contains(&format!("another peer answers there: {}", two.id())), "{error}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("port").port();
    let error = text(format!("/ip4/127.0.0.1/tcp/{closed}/p2p/{stranger}")).await;
    assert!(error.contains("refused") && error.contains(&format!("tcp/{closed}")), "{error}");

    let error = text("/ip4/127.0.0.1/tcp/1".into()).await;
    assert!(error.contains("must end with /p2p/"), "{error}");

    let error = one.host.open(&stranger).await.err().expect("fails").to_string();
    assert!(error.contains("it is not known where it is"), "{error}");
}

#[tokio::test]
async fn a_peer_that_was_written_down_is_dialed_at_start() {
    let two = Peer::start(options()).await;
    let one = Peer::start(Options { peers: vec![two.address()], ..options() }).await;
    eventually("they are connected", || one.host.connected().contains(&two.id())).await;
}

#[tokio::test]
async fn who_is_forgotten_is_no_longer_connected_nor_known() {
    let (one, two) = (Peer::start(options()).await, Peer::start(options()).await);
    one.connect(&two).await;

    one.host.forget(&two.id()).await;

    eventually("the connection ended", || one.host.connected().is_empty() && two.host.connected().is_empty()).await;
    assert_eq!(one.host.addresses_of(&two.id()), []);
}

#[tokio::test]
async fn quic_is_passed_over_unless_nothing_else_is_there() {
    let quic: cluster_types::Multiaddr = "/ip4/127.0.0.1/udp/0/quic".parse().expect("address");
    let mut both = options();
    both.listen.push(quic.clone());
    assert_eq!(Peer::start(both).await.host.addresses().len(), 1);

    let alone = Options { listen: vec![quic], ..options() };
    let error = Host::bind(&alone, Protocols::new()).await.expect_err("nothing to listen on");
    assert!(error.to_string().contains("cluster.listen_multiaddress"), "{error}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let one = Peer::start(options()).await;
    let taken = Options { listen: one.host.addresses(), ..options() };
    let error = Host::bind(&taken, Protocols::new()).await.expect_err("taken");
    assert!(error.to_string().contains("in use"), "{error}");
}

#[tokio::test]
async fn others_are_told_what_the_operator_wants() {
    let announce = vec!["/dns4/example.org/tcp/9096".parse().expect("address")];
    let one = Peer::start(options()).await;
    let two = Peer::start(Options { announce: announce.clone(), ..options() }).await;
    let three =
        Peer::start(Options { no_announce: vec!["/ip4/127.0.0.0/ipcidr/8".parse().expect("mask")], ..options() }).await;

    two.connect(&one).await;
    three.connect(&one).await;

    eventually("the address was told", || one.host.addresses_of(&two.id()) == announce).await;
    assert_eq!((two.host.addresses(), three.host.addresses()), (announce, vec![]));
}

#[tokio::test]
async fn what_passes_is_counted_by_protocol() {
    let (one, two) = (Peer::start(options()).await, Peer::start(options()).await);
    one.connect(&two).await;

    eventually("identify was counted", || {
        let bandwidth = two.host.bandwidth();
        bandwidth.get("/ipfs/id/1.0.0").is_some_and(|id| id.bytes_in > 50 && id.bytes_out > 50)
    })
    .await;
}
