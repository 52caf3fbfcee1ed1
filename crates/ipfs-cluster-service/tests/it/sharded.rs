//! A sharded add on three peers: each shard where it was allocated, one item to the user, and gone as a whole.

use crate::crdt_cluster::{ALONE, all_see, can_choose, lists, places, talkative, until};
use crate::peer::Peer;
use crate::tree;
use cluster_client::upload::{Take, entries_of};
use cluster_client::{Client, Upload};
use cluster_types::{AddParams, Added, Pin, PinOptions, PinType};
use futures::StreamExt;
use std::collections::BTreeSet;

/// Bytes of what is added: four leaves and a root.
const LENGTH: usize = 1_000_000;

async fn pins(client: &Client, filter: &str) -> Vec<Pin> {
    let pins = client.allocations(filter).await.expect("a list");
    pins.map(|pin| pin.expect("a pin")).collect().await
}

async fn add(client: &Client, path: &std::path::Path, shard_size: u64) -> Vec<Result<Added, String>> {
    let pin = PinOptions {
        name: "large".into(),
        shard_size,
        replication_factor_min: 2,
        replication_factor_max: 2,
        ..PinOptions::default()
    };
    let params = AddParams { shard: true, pin, ..AddParams::default() };
    let upload = Upload::new(entries_of(path, Take::default()).expect("a file"));
    let items = client.add(upload, &params).await.expect("accepted");
    items.map(|item| item.map_err(|error| error.to_string())).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_a_sharded_add_is_held_in_parts_and_unpinned_as_a_whole() {
    let _alone = ALONE.lock().await;
    let places = places(3, talkative);
    let mut peers: Vec<Peer> = places.iter().map(|place| Peer::start(place.path())).collect();
    all_see(&peers, 2);
    can_choose(&peers[0], 3);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("large.bin");
    std::fs::write(&file, tree::bytes(5, LENGTH)).expect("written");
    let client = peers[0].client();

    // A shard that takes no block: nothing is pinned.
    let refused = add(&client, &file, 1_000).await;
    assert!(matches!(&refused[..], [Err(error)] if error.contains("shard size too small")), "{refused:?}");
    assert_eq!(pins(&client, "all").await.len(), 0);

    // Two leaves fit into a shard.
    let told = add(&client, &file, 600_000).await;
    let names: Vec<&str> = told.iter().map(|item| item.as_ref().expect("added").name.as_str()).collect();
    assert_eq!(names, ["shard-0", "large.bin", "shard-1", "large-clusterDAG"]);
    let root = told[1].as_ref().expect("added").cid.expect("a root");
    let every: Vec<Pin> = pins(&client, "all").await;
    let kinds: BTreeSet<&str> = every.iter().map(|pin| pin.kind.as_str()).collect();
    assert_eq!((every.len(), kinds), (4, BTreeSet::from(["clusterdag-pin", "meta-pin", "shard-pin"])));
    until(&peers[2], &["pin", "ls", "--filter", "all"], |answer| answer.lines().count() == 4);

    // Each shard is where it was allocated, with its blocks; and all that was added is somewhere.
    let mut held = BTreeSet::new();
    for shard in every.iter().filter(|pin| pin.kind == PinType::Shard) {
        let cid = shard.cid.to_string();
        until(&peers[1], &["status", &cid], |answer| answer.matches(": PINNED").count() == 2);
        let at: Vec<_> = places.iter().filter(|place| place.kubo.world().recursive.contains(&cid)).collect();
        assert_eq!((at.len(), shard.allocations.len(), shard.max_depth), (2, 2, 1));
        for place in at {
            assert!(shard.allocations.iter().any(|peer| peer.to_string() == place.id));
            let world = place.kubo.world();
            let node = dag::Block { cid: *shard.cid, data: world.blocks[&cid].clone() };
            for link in dag::shard::links(&node).expect("a node") {
                let block = &world.blocks[&link.to_string()];
                assert!(dag::hash::verify(&link, block));
                held.insert((link, block.len()));
            }
        }
    }
    assert!(held.iter().any(|(cid, _)| *cid == *root), "the root is a block of a shard");
    assert_eq!(held.len(), 5, "four leaves and a root");
    until(&peers[2], &["status", &root.to_string()], |answer| answer.matches(": SHARDED").count() == 3);

    // What is a part goes with the whole only.
    let shard = every.iter().find(|pin| pin.kind == PinType::Shard).expect("a shard").cid.to_string();
    let alone = peers[2].ctl(&["pin", "rm", &shard]);
    assert!(alone.code != 0 && alone.stdout.contains("Unpin content root CID instead"), "{alone:?}");
    // At the peer that added: the played daemons of the others fetch nothing, so they lack the cluster DAG.
    client.unpin(&root).await.expect("unpinned");
    for peer in &peers {
        until(peer, &["pin", "ls", "--filter", "all"], |answer| answer.lines().count() == 0);
        lists(peer, 0);
    }
    for place in &places {
        let begun = std::time::Instant::now();
        while !place.kubo.world().recursive.is_empty() || !place.kubo.world().direct.is_empty() {
            assert!(begun.elapsed() < crate::peer::DEADLINE, "the daemon keeps pins");
            tokio::task::yield_now().await;
        }
    }
    for peer in &mut peers {
        assert!(peer.stop().success());
    }
}
