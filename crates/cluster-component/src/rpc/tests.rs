//! Tests of the switchboard: the table is the policy, and an unbound switchboard is an error and not a hang.

use super::*;
use cluster_types::PeerId;
use futures::StreamExt;
use futures::executor::block_on;
use std::collections::BTreeSet;

#[test]
fn an_unbound_switchboard_is_an_error_and_not_a_hang() {
    let rpc = Rpc::new(PeerId::random());

    let one = block_on(rpc.call::<Cluster::Version>(Target::Local, ())).expect_err("not bound");
    let many = block_on(rpc.stream::<Cluster::Pins>(Target::Local, ()).collect::<Vec<_>>());

    assert_eq!(one.kind, RpcErrorKind::NotReady);
    assert!(matches!(many.as_slice(), [Err(error)] if error.kind == RpcErrorKind::NotReady));
}

#[test]
fn another_peer_is_unreachable_without_a_network() {
    let rpc = Rpc::new(PeerId::random());
    let other = PeerId::random();

    let answers = block_on(rpc.broadcast::<Cluster::Version>(&[other], ()));

    let [(peer, Err(error))] = answers.as_slice() else { panic!("one answer, an error: {answers:?}") };
    assert_eq!((*peer, error.kind), (other, RpcErrorKind::Unreachable));
    assert!(error.message.starts_with(&format!("failed to dial {other}: ")), "{error}");
}

/// The policy of the reference, by its own list of names: what is not named here is closed. One row is ours alone.
#[test]
fn the_table_opens_what_the_reference_opens() {
    let open = ["Cluster.ID", "Cluster.PeerAdd", "Cluster.Version"];
    let trusted = [
        "Cluster.PeerRemove",
        "Cluster.Peers",
        "Cluster.RecoverAllLocal",
        "Cluster.RecoverLocal",
        "Cluster.RepoGCLocal",
        "PinTracker.Recover",
        "PinTracker.Status",
        "PinTracker.StatusAll",
        "IPFSConnector.RepoStat",
        "IPFSConnector.SwarmPeers",
        "Consensus.AddPeer",
        "Consensus.LogPin",
        "Consensus.LogUnpin",
        "Consensus.Message",
        "Consensus.RmPeer",
    ];
    for method in METHODS {
        let expected = match method.name {
            name if open.contains(&name) => Policy::Open,
            name if trusted.contains(&name) => Policy::Trusted,
            _ => Policy::Closed,
        };
        assert_eq!(method.policy, expected, "{}", method.name);
    }
}

#[test]
fn names_are_unique_and_rows_are_documented() {
    let names: BTreeSet<_> = METHODS.iter().map(|m| m.name).collect();
    assert_eq!(names.len(), METHODS.len());
    assert!(METHODS.iter().all(|m| m.doc.trim_end().ends_with('.')));
}
