//! Finding peers whose addresses nobody wrote down.

use crate::peer::{Peer, options, within};
use cluster_component::ports::{Network, Wire};
use cluster_net::Options;
use cluster_testkit::tasks::eventually;
use libp2p_identity::Keypair;

/// One knows two, and two knows three: one finds three by asking two.
#[tokio::test]
async fn a_peer_that_is_known_by_name_alone_is_found() {
    let [one, two, three] = [Peer::start(options()).await, Peer::start(options()).await, Peer::start(options()).await];
    three.connect(&two).await;
    one.connect(&two).await;
    eventually("two knows where three is", || !two.host.addresses_of(&three.id()).is_empty()).await;

    let opened = within("three was found", async {
        // Two takes a moment to note three in its table.
        loop {
            match one.host.open(&three.id()).await {
                Ok(stream) => return stream,
                Err(error) => assert!(error.to_string().contains("not known where it is"), "{error}"),
            }
        }
    })
    .await;
    drop(opened);
    assert!(one.host.connected().contains(&three.id()));
}

#[tokio::test]
async fn who_is_nowhere_is_not_found() {
    let (one, two) = (Peer::start(options()).await, Peer::start(options()).await);
    one.connect(&two).await;
    eventually("addresses were told", || !two.host.addresses_of(&one.id()).is_empty()).await;

    let nobody = libp2p_identity::PeerId::random();
    let error = within("the search ended", one.host.open(&nobody)).await.err().expect("nobody");
    assert!(error.to_string().contains("not known where it is"), "{error}");
}

#[tokio::test]
async fn peers_of_the_last_time_are_dialed_again() {
    let temp = tempfile::tempdir().expect("temp folder");
    let peerstore = Some(temp.path().join("peerstore"));
    let with = Options { peerstore: peerstore.clone(), key: Keypair::generate_ed25519(), ..options() };
    let (one, two) = (Peer::start(with.clone()).await, Peer::start(options()).await);
    one.connect(&two).await;
    one.tasks.stop().await;

    let text = std::fs::read_to_string(temp.path().join("peerstore")).expect("written");
    assert_eq!(text, format!("{}\n", two.address()));

    let again = Peer::start(with).await;
    eventually("they are connected again", || again.host.connected().contains(&two.id())).await;
}

/// Blocks come from direct connections, so that members should have one to each other though each was told of one only.
#[tokio::test]
async fn a_cluster_grows_together() {
    let first = Peer::start(options()).await;
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(Peer::start(Options { peers: vec![first.address()], ..options() }).await);
    }

    eventually("everybody is connected to everybody", || {
        others.iter().chain([&first]).all(|peer| peer.host.connected().len() == others.len())
    })
    .await;
}
