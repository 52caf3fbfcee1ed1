//! Peers that cannot be reached, and peers that relay for them.

use crate::peer::{Peer, options, within};
use cluster_component::ports::{Network, Wire};
use cluster_net::{Options, Reachability};
use cluster_testkit::tasks::eventually;
use cluster_types::Multiaddr;
use futures::{AsyncReadExt, AsyncWriteExt};

fn relayed(peer: &Peer) -> Option<Multiaddr> {
    let addresses = peer.host.addresses();
    addresses.into_iter().find(|address| address.to_string().contains("p2p-circuit"))?.with_p2p(peer.id()).ok()
}

async fn behind_a_relay(listen: Vec<Multiaddr>) -> (Peer, Peer, Multiaddr) {
    let relay = Peer::start(Options { reachability: Some(Reachability::Public), ..options() }).await;
    let hidden = Options { reachability: Some(Reachability::Private), listen, ..options() };
    let hidden = Peer::start(hidden).await;
    hidden.connect(&relay).await;
    eventually("the relay was found and asked", || relayed(&hidden).is_some()).await;
    let address = relayed(&hidden).expect("as seen above");
    (relay, hidden, address)
}

/// The private network, the security and the multiplexer are there once more within what the relay passes on.
#[tokio::test]
async fn a_peer_that_listens_nowhere_is_reached_through_a_relay() {
    let (_relay, hidden, address) = behind_a_relay(Vec::new()).await;
    let one = Peer::start(options()).await;

    assert_eq!(one.host.connect(&address).await, Ok(hidden.id()));
    let mut stream = one.host.open(&hidden.id()).await.expect("opened");
    stream.write_all(b"through the relay").await.expect("written");
    stream.close().await.expect("closed");
    let mut answer = Vec::new();
    within("it came back", stream.read_to_end(&mut answer)).await.expect("read");

    assert_eq!(answer, b"through the relay");
}

#[tokio::test]
async fn a_direct_connection_follows_when_it_can() {
    let (relay, hidden, address) = behind_a_relay(options().listen).await;
    let one = Peer::start(options()).await;
    assert_eq!(one.host.connect(&address).await, Ok(hidden.id()));

    // Without the relay only a direct connection carries a stream.
    eventually("the direct addresses were told", || one.host.addresses_of(&hidden.id()).len() > 1).await;
    relay.tasks.stop().await;
    let mut stream = within("a stream was opened", async {
        loop {
            if let Ok(stream) = one.host.open(&hidden.id()).await {
                return stream;
            }
        }
    })
    .await;
    stream.write_all(b"directly").await.expect("written");
    let mut answer = [0; 8];
    within("it came back", stream.read_exact(&mut answer)).await.expect("read");
}
