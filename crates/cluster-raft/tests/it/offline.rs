//! A peer that is not running: what it has, taking in a pinset, and beginning anew with one peer of many.

use crate::world::{Kind, World, peer};
use cluster_component::component::{Consensus, State};
use cluster_component::errors::StateError;
use cluster_peer::state::mapstate::MapState;
use cluster_peer::state::pinstate::PinState;
use cluster_raft::offline;
use cluster_testkit::contract::{cid, pin};
use cluster_types::Pin;
use cluster_types::store::Datastore;
use std::collections::BTreeSet;
use std::sync::Arc;

fn state_of(store: &Arc<dyn Datastore>, kind: Kind) -> Arc<dyn State> {
    match kind {
        Kind::Disk => Arc::new(PinState::open(Arc::clone(store)).expect("opened")),
        Kind::Memory => Arc::new(MapState::new()),
    }
}

fn pins(numbers: std::ops::Range<u64>) -> impl Iterator<Item = Result<Pin, StateError>> {
    numbers.map(|number| Ok(pin(number, "imported")))
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_there_without_a_running_peer() {
    for kind in [Kind::Disk, Kind::Memory] {
        let mut world = World::new(60, 1, kind);
        world.config.snapshot_threshold = 20;
        world.start(0).await.expect("started");
        world.at(0).ready().await.expect("ready");
        for number in 0..50 {
            world.at(0).log_pin(pin(number, "p")).await.expect("pinned");
        }
        world.at(0).log_unpin(&cid(3)).await.expect("unpinned");
        // The engine notes what is committed with the next entry.
        world.at(0).log_unpin(&cid(3)).await.expect("unpinned");
        world.stop(0).await;

        let store: Arc<dyn Datastore> = world.peers[0].store.clone();
        let state = state_of(&store, kind);
        offline::catch_up(&store, Arc::clone(&state)).expect("caught up");
        assert_eq!((state.len(), state.contains(&cid(3))), (Ok(49), Ok(false)), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn members_that_take_in_the_same_pinset_are_one_cluster() {
    for kind in [Kind::Disk, Kind::Memory] {
        let mut world = World::new(61, 3, kind);
        let members: BTreeSet<_> = (1..=3).map(peer).collect();
        for at in 0..3 {
            let store: Arc<dyn Datastore> = world.peers[at].store.clone();
            let state = state_of(&store, kind);
            assert_eq!(offline::import(&store, &state, &members, &mut pins(0..40)).expect("imported"), 40);
        }
        for at in 0..3 {
            world.start(at).await.expect("started");
        }
        for at in 0..3 {
            world.at(at).ready().await.expect("ready");
            assert_eq!(world.at(at).state().len(), Ok(40), "{kind:?}");
        }
        world.at(1).log_pin(pin(100, "later")).await.expect("pinned");
        let new = world.stage(4).await;
        world.at(0).add_peer(peer(4)).await.expect("taken in");
        world.at(new).ready().await.expect("ready");
        assert_eq!(world.at(new).state().len(), Ok(41), "{kind:?}: a peer without any of it gets all of it");
        world.stop_all().await;
    }
}

/// Two of three are lost for good: the one that is left goes on alone, with everything, and takes in others.
#[tokio::test(start_paused = true)]
async fn one_peer_that_is_left_begins_anew_with_everything() {
    let mut world = World::started(62, 3, Kind::Disk).await;
    for number in 0..30 {
        world.at(0).log_pin(pin(number, "p")).await.expect("pinned");
    }
    world.at(2).wait_for_sync().await.expect("in step");
    world.stop_all().await;

    let store: Arc<dyn Datastore> = world.peers[2].store.clone();
    let state = state_of(&store, Kind::Disk);
    offline::catch_up(&store, Arc::clone(&state)).expect("caught up");
    let all: Vec<_> = state.page(None, 100).expect("a page").into_iter().map(Ok).collect();
    assert_eq!(all.len(), 30);
    offline::import(&store, &state, &[peer(3)].into(), &mut all.into_iter()).expect("imported");

    world.start(2).await.expect("started");
    world.at(2).ready().await.expect("ready, alone");
    assert_eq!(world.at(2).peers().await.expect("members"), [peer(3)].into());
    let new = world.stage(5).await;
    world.at(2).add_peer(peer(5)).await.expect("taken in");
    world.at(new).ready().await.expect("ready");
    assert_eq!(world.at(new).state().len(), Ok(30));
    world.stop_all().await;
}

#[test]
fn an_import_that_a_crash_cut_can_be_done_again() {
    for kept in 0..6 {
        let memory = Arc::new(cluster_datastore::MemoryStore::new());
        let store: Arc<dyn Datastore> = memory.clone();
        let state = state_of(&store, Kind::Disk);
        offline::import(&store, &state, &[peer(1)].into(), &mut pins(0..100)).expect("imported");

        let store: Arc<dyn Datastore> = Arc::new(memory.crash_keeping(kept));
        let state = state_of(&store, Kind::Disk);
        offline::import(&store, &state, &[peer(1)].into(), &mut pins(5..60)).expect("imported again");
        assert_eq!((state.len(), state.contains(&cid(1))), (Ok(55), Ok(false)));
    }
}

#[test]
fn backups_are_whole_and_so_many() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = MapState::new();
    assert_eq!(offline::backup(&state, folder.path(), 3).expect("none"), None, "an empty pinset needs none");
    for round in 1..=5u64 {
        state.replace(&mut pins(0..round), None).expect("replaced");
        offline::backup(&state, folder.path(), 3).expect("written");
    }

    let lines = |number: usize| {
        let text = std::fs::read_to_string(folder.path().join(format!("raft.old.{number}.json"))).expect("a backup");
        let pins: Vec<Pin> = text.lines().map(|line| serde_json::from_str(line).expect("a pin")).collect();
        pins.len()
    };
    assert_eq!([lines(0), lines(1), lines(2)], [5, 4, 3]);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 3);
}
