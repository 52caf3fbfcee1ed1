//! How many connections there are.

use crate::peer::{Peer, options};
use cluster_component::ports::Network;
use cluster_net::{Connections, Options, Resources};
use cluster_testkit::tasks::eventually;
use std::time::Duration;

#[tokio::test]
async fn connections_are_ended_when_there_are_too_many_but_not_protected_ones() {
    let connections = Connections { high_water: 2, low_water: 1, grace: Duration::ZERO };
    let one = Peer::start(Options { connections, ..options() }).await;
    let others = [Peer::start(options()).await, Peer::start(options()).await, Peer::start(options()).await];
    one.host.protect(&others[0].id(), true);

    for other in &others {
        one.connect(other).await;
    }

    eventually("only the protected one is left", || one.host.connected() == [others[0].id()].into()).await;
}

#[tokio::test]
async fn no_more_connections_than_resources_allow() {
    let resources = Some(Resources { memory_bytes: 1 << 30, descriptors: 1 });
    let one = Peer::start(Options { resources, ..options() }).await;
    let others = [Peer::start(options()).await, Peer::start(options()).await];

    one.connect(&others[0]).await;
    let error = one.host.connect(&others[1].address()).await.expect_err("no room");
    assert!(error.to_string().contains("limit"), "{error}");
    assert_eq!(one.host.connected(), [others[0].id()].into());
}

#[tokio::test]
async fn no_more_inbound_connections_than_memory_allows() {
    let resources = Some(Resources { memory_bytes: 1 << 20, descriptors: 100 });
    let one = Peer::start(Options { resources, ..options() }).await;
    let others = [Peer::start(options()).await, Peer::start(options()).await];

    others[0].connect(&one).await;
    eventually("the first is there", || one.host.connected().contains(&others[0].id())).await;
    let _accepted_and_ended = others[1].host.connect(&one.address()).await;
    eventually("the second is not", || others[1].host.connected().is_empty()).await;
    assert_eq!(one.host.connected(), [others[0].id()].into());
}
