//! Every state that a consensus writes to keeps the contract; the one on disk survives crashes as it says.

use bytes::Bytes;
use cluster_component::component::{PinsetChange, State, StateRead};
use cluster_datastore::MemoryStore;
use cluster_peer::state::mapstate::MapState;
use cluster_peer::state::pinstate::PinState;
use cluster_testkit::FakeConsensus;
use cluster_testkit::contract::consensus::Subject;
use cluster_testkit::contract::{self, cid, pin};
use cluster_types::PeerId;
use cluster_types::store::Datastore;
use std::sync::Arc;

fn on_disk(store: &Arc<MemoryStore>) -> PinState {
    PinState::open(Arc::clone(store) as Arc<dyn Datastore>).expect("opened")
}

#[tokio::test]
async fn the_state_in_memory_keeps_the_contract() {
    contract::state::run(&mut || Arc::new(MapState::new())).await;
}

#[tokio::test]
async fn the_state_on_disk_keeps_the_contract() {
    contract::state::run(&mut || Arc::new(on_disk(&Arc::new(MemoryStore::new())))).await;
}

#[tokio::test]
async fn the_played_consensus_keeps_the_contract_on_both() {
    let me = PeerId::random();
    let of = |state| Subject { consensus: Arc::new(FakeConsensus::new(me, state)), me };
    contract::consensus::run(&of(Arc::new(MapState::new()))).await;
    let of = |state| Subject { consensus: Arc::new(FakeConsensus::new(me, state)), me };
    contract::consensus::run(&of(Arc::new(on_disk(&Arc::new(MemoryStore::new()))))).await;
}

#[test]
fn pins_and_mark_survive_a_crash_together() {
    let store = Arc::new(MemoryStore::new());
    let state = on_disk(&store);
    let put = |number| PinsetChange::Pinned(Arc::new(pin(number, "p")));
    state.apply(&[put(1)], Bytes::from_static(b"1")).expect("applied");
    store.sync().expect("synced");
    state.apply(&[put(2), PinsetChange::Unpinned(cid(1))], Bytes::from_static(b"2")).expect("applied");

    let lost = on_disk(&Arc::new(store.crash_keeping(0)));
    assert_eq!((lost.mark(), lost.len()), (Ok(Some(Bytes::from_static(b"1"))), Ok(1)));
    assert_eq!((lost.contains(&cid(1)), lost.contains(&cid(2))), (Ok(true), Ok(false)));

    let kept = on_disk(&Arc::new(store.crash_keeping(1)));
    assert_eq!((kept.mark(), kept.len()), (Ok(Some(Bytes::from_static(b"2"))), Ok(1)));
    assert_eq!((kept.contains(&cid(1)), kept.contains(&cid(2))), (Ok(false), Ok(true)));
}

/// Whatever prefix of the batches of a replacement a crash keeps: either the mark is there and so are all pins, or it is
/// not there.
#[test]
fn a_replacement_that_a_crash_cut_has_no_mark() {
    for kept in 0..6 {
        let store = Arc::new(MemoryStore::new());
        let state = on_disk(&store);
        state.apply(&[PinsetChange::Pinned(Arc::new(pin(0, "old")))], Bytes::from_static(b"old")).expect("applied");
        store.sync().expect("synced");
        let before = store.syncs();
        state.replace(&mut (1..12_001).map(|n| Ok(pin(n, "new"))), Some(Bytes::from_static(b"new"))).expect("replaced");
        assert!(store.syncs() >= before + 2, "the removal is durable before the first new pin");

        let store = Arc::new(store.crash_keeping(kept));
        let state = on_disk(&store);
        match state.mark().expect("read") {
            Some(mark) => assert_eq!((mark, state.len()), (Bytes::from_static(b"new"), Ok(12_000))),
            None => assert_eq!(state.contains(&cid(0)), Ok(false)),
        }
    }
}
