//! Disks that give back something else than was written, or nothing: it is named, nothing is lost, and the peer can be taken
//! in anew.

use crate::cluster::{has_all, pin_all};
use crate::world::{Kind, World, peer};
use cluster_component::component::Consensus;
use cluster_datastore::MemoryStore;
use cluster_testkit::contract::pin;
use cluster_types::store::{Batch, Datastore, DatastoreRead, DatastoreReadExt, Table};
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::time::Instant;

/// Changes a row.
fn spoil(store: &MemoryStore, table: Table, key: &[u8]) {
    let mut row = store.get(table, key).expect("read").expect("a row").to_vec();
    *row.last_mut().expect("not empty") ^= 1;
    let mut batch = Batch::new();
    batch.put(table, key.to_vec(), row);
    store.write(batch).expect("written");
}

/// Changes a piece of each snapshot.
fn spoil_snapshots(store: &MemoryStore) {
    let mut keys = Vec::new();
    let scanned = store.scan_prefix(Table::RaftMeta, b"s", &mut |key, _| {
        keys.extend((key.len() == 13).then(|| key.to_vec()));
        ControlFlow::Continue(())
    });
    scanned.expect("scanned");
    assert!(!keys.is_empty(), "there is a snapshot");
    keys.iter().for_each(|key| spoil(store, Table::RaftMeta, key));
}

/// A cluster of three whose log is short, and whose pinset is in a snapshot.
async fn with_snapshots(seed: u64, kind: Kind) -> World {
    let mut world = World::new(seed, 3, kind);
    world.config.snapshot_threshold = 120;
    world.config.trailing_logs = 0;
    for at in 0..3 {
        world.start(at).await.expect("started");
    }
    world.leader().await;
    for number in 0..150 {
        world.at(0).log_pin(pin(number, "p")).await.expect("pinned");
    }
    for at in 0..3 {
        world.at(at).wait_for_sync().await.expect("in step");
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_damaged_log_is_named_and_nothing_is_changed() {
    let mut world = World::started(56, 1, Kind::Memory).await;
    pin_all(&world, 0, 0..10).await;
    world.stop(0).await;
    let store = world.peers[0].store.clone();
    let (key, row) = store.last(Table::RaftLog).expect("read").expect("an entry");
    let mut damaged = row.to_vec();
    *damaged.last_mut().expect("not empty") ^= 1;
    let mut batch = Batch::new();
    batch.put(Table::RaftLog, key.clone(), damaged.clone());
    store.write(batch).expect("written");

    let error = world.start(0).await.expect_err("the log is damaged");
    assert!(error.reason.contains("of the raft log: its checksum is wrong"), "{}", error.reason);
    assert_eq!(store.get(Table::RaftLog, &key).expect("read").as_deref(), Some(damaged.as_slice()));

    // As an older or newer version would have written it.
    let mut batch = Batch::new();
    batch.put(Table::RaftLog, key, [&[7], &row[1..]].concat());
    store.write(batch).expect("written");
    let error = world.start(0).await.expect_err("the format is another");
    assert!(error.reason.contains("it is of format 7"), "{}", error.reason);
}

/// Nobody would have noticed before another needed it, and then the leader would have ended.
#[tokio::test(start_paused = true)]
async fn an_entry_in_the_midst_of_the_log_that_is_damaged_or_missing_is_named_at_the_start() {
    for missing in [false, true] {
        let mut world = World::started(80, 1, Kind::Disk).await;
        for number in 0..10 {
            world.at(0).log_pin(pin(number, "p")).await.expect("pinned");
        }
        world.stop(0).await;
        let (store, key) = (world.peers[0].store.clone(), 5u64.to_be_bytes());
        if missing {
            let mut batch = Batch::new();
            batch.delete(Table::RaftLog, key.to_vec());
            store.write(batch).expect("written");
        } else {
            spoil(&store, Table::RaftLog, &key);
        }

        let error = world.start(0).await.expect_err("the log is damaged").reason;
        let what =
            if missing { "entry 5 of the raft log: it is missing" } else { "entry 5 of the raft log: its checksum" };
        assert!(error.contains(what) && error.contains("state cleanup here"), "{error}");
    }
}

/// What was acknowledged is gone from the end of the log: it must not begin as if that had never been.
#[tokio::test(start_paused = true)]
async fn a_log_that_lacks_what_is_known_to_be_committed_is_named_at_the_start() {
    let mut world = World::started(81, 1, Kind::Memory).await;
    for number in 0..10 {
        world.at(0).log_pin(pin(number, "p")).await.expect("pinned");
    }
    world.stop(0).await;
    let store = world.peers[0].store.clone();
    for _ in 0..5 {
        let (key, _) = store.last(Table::RaftLog).expect("read").expect("an entry");
        let mut batch = Batch::new();
        batch.delete(Table::RaftLog, key.to_vec());
        store.write(batch).expect("written");
    }

    let error = world.start(0).await.expect_err("the log is cut").reason;
    assert!(error.contains("of the raft log: it is missing"), "{error}");
}

/// The pinset has all that was in it.
#[tokio::test(start_paused = true)]
async fn a_damaged_snapshot_is_made_anew_where_the_pinset_is_whole() {
    let mut world = with_snapshots(82, Kind::Disk).await;
    let leader = world.leader().await;
    spoil_snapshots(&world.peers[leader].store);
    let new = world.stage(4).await;

    let at_leader = world.at(leader);
    let adding = tokio::time::timeout(Duration::from_secs(60), at_leader.add_peer(peer(4)));
    adding.await.expect("in time").expect("taken in");
    world.at(new).ready().await.expect("ready");
    has_all(&world, new, 0..150).await;
    assert_eq!(world.leader().await, leader, "it goes on");

    spoil_snapshots(&world.peers[leader].store);
    world.stop(leader).await;
    world.start(leader).await.expect("started with a damaged snapshot");
    has_all(&world, leader, 0..150).await;
    world.stop_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_snapshot_that_the_pinset_is_made_from_is_named_and_nothing_is_changed() {
    let mut world = with_snapshots(83, Kind::Memory).await;
    world.stop_all().await;
    spoil_snapshots(&world.peers[1].store);
    let before = world.peers[1].store.page(Table::RaftMeta, std::ops::Bound::Unbounded, 1_000).expect("rows");

    let error = world.start(1).await.expect_err("the snapshot is damaged").reason;

    assert!(error.contains("piece 0 of raft snapshot") && error.contains("its checksum is wrong"), "{error}");
    let after = world.peers[1].store.page(Table::RaftMeta, std::ops::Bound::Unbounded, 1_000).expect("rows");
    assert_eq!(before, after);
}

/// A crash cut the taking up of a snapshot, which the disk damaged then: the pinset before it is still there.
#[tokio::test(start_paused = true)]
async fn a_pinset_is_not_removed_for_a_damaged_snapshot() {
    let mut world = with_snapshots(84, Kind::Disk).await;
    world.stop_all().await;
    let store = world.peers[1].store.clone();
    let pins = |store: &MemoryStore| store.page(Table::Pins, std::ops::Bound::Unbounded, 1_000).expect("rows");
    // A mark that is older than the snapshot.
    let older = World::started(85, 1, Kind::Disk).await;
    let (key, mark) = pins(&older.peers[0].store).into_iter().next().expect("a mark");
    let mut batch = Batch::new();
    batch.put(Table::Pins, key.to_vec(), mark.to_vec());
    store.write(batch).expect("written");
    spoil_snapshots(&store);
    let before = pins(&store);

    let error = world.start(1).await.expect_err("the snapshot is damaged").reason;

    assert!(error.contains("piece 0 of raft snapshot"), "{error}");
    assert_eq!((pins(&store) == before, before.len()), (true, 151));
}

/// The peer says so instead of answering everybody that it is shut down.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_found_damaged_while_it_is_used_ends_the_peer_and_not_the_cluster() {
    let mut world = World::started(86, 3, Kind::Disk).await;
    let leader = world.leader().await;
    let behind = (leader + 1) % 3;
    let broken = tokio::spawn({
        let leader = world.at(leader);
        async move { leader.broken().await }
    });
    world.part(&[behind]);
    for number in 0..10 {
        world.at(leader).log_pin(pin(number, "p")).await.expect("pinned");
    }
    let (key, _) = world.peers[leader].store.last(Table::RaftLog).expect("read").expect("an entry");
    spoil(&world.peers[leader].store, Table::RaftLog, &key);
    world.heal();

    let reason = tokio::time::timeout(Duration::from_secs(30), broken).await.expect("in time").expect("no panic");
    assert!(
        reason.contains("of the raft log: its checksum is wrong") && reason.contains("state cleanup here"),
        "{reason}"
    );
    world.stop(leader).await;
    has_all(&world, behind, 0..10).await;
    world.stop_all().await;
}

/// It does not know any more what it had confirmed: until the others no longer count on that, it has no say.
#[tokio::test(start_paused = true)]
async fn a_member_that_lost_everything_has_no_vote_before_it_is_taken_in_anew() {
    let mut world = World::started(87, 3, Kind::Disk).await;
    let leader = world.leader().await;
    let (lost, late) = ((leader + 1) % 3, (leader + 2) % 3);
    world.part(&[late]);
    pin_all(&world, leader, 0..20).await;
    world.lose(lost).await;
    let id = world.peers[lost].id;
    world.crash(leader).await;
    world.start_as(lost, vec![world.peers[late].id]).await.expect("started");
    world.heal();

    // A majority by number, of which neither has what was acknowledged.
    assert!(world.at(late).log_pin(pin(99, "p")).await.is_err(), "nobody may lead here");
    assert!(world.at(lost).add_peer(id).await.is_err(), "nor take it in");

    world.start(leader).await.expect("started again");
    world.leader_of(&[leader, late]).await;
    world.at(lost).add_peer(id).await.expect("taken in");
    for at in 0..3 {
        has_all(&world, at, 0..20).await;
        assert_eq!(world.at(at).peers().await.expect("members").len(), 3);
    }
    world.at(lost).log_pin(pin(100, "p")).await.expect("it takes part");
    world.stop_all().await;
}

/// The leader knows how far each member was: that one has less now must not end it, or be taken for more.
#[tokio::test(start_paused = true)]
async fn a_member_that_lost_everything_is_taken_in_anew_while_the_others_go_on() {
    for count in [2u8, 3, 5] {
        let mut world = World::started(88, count, Kind::Disk).await;
        pin_all(&world, 0, 0..20).await;
        let leader = world.leader().await;
        let lost = (leader + 1) % usize::from(count);
        world.lose(lost).await;
        world.start_as(lost, vec![world.peers[leader].id]).await.expect("started");
        let began = Instant::now();
        let id = world.peers[lost].id;

        world.at(lost).add_peer(id).await.expect("taken in");
        world.at(lost).ready().await.expect("ready");
        assert!(began.elapsed() < Duration::from_secs(20), "{count} peers: {:?}", began.elapsed());
        assert_eq!(world.leader().await, leader, "{count} peers: nobody else had to lead");
        has_all(&world, lost, 0..20).await;
        world.at(lost).log_pin(pin(100, "p")).await.expect("it takes part");
        assert_eq!(world.at(leader).peers().await.expect("members").len(), usize::from(count));
        world.stop_all().await;
    }
}
