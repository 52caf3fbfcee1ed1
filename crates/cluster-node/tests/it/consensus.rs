//! Both consensus components keep the same contract, on the store that peers have.

use cluster_component::component::{Consensus, State};
use cluster_component::errors::NetError;
use cluster_component::ports::Clock;
use cluster_component::tasks::TaskScope;
use cluster_crdt::{CrdtConfig, CrdtConsensus, WriterOn};
use cluster_datastore::{FjallOptions, FjallStore};
use cluster_node::ports::SystemClock;
use cluster_peer::state::dsstate::DsState;
use cluster_peer::state::mapstate::MapState;
use cluster_peer::state::pinstate::PinState;
use cluster_raft::{Courier, RaftConfig, RaftConsensus};
use cluster_testkit::TokioSpawn;
use cluster_testkit::contract::consensus::{Subject, run};
use cluster_types::PeerId;
use cluster_types::store::Datastore;
use std::collections::BTreeSet;
use std::sync::Arc;

/// There is nobody else.
struct Nobody;

#[async_trait::async_trait]
impl Courier for Nobody {
    async fn ask(&self, peer: &PeerId, _: bytes::Bytes) -> Result<bytes::Bytes, NetError> {
        Err(NetError::Unreachable { peer: *peer, reason: "there is nobody else".into() })
    }
}

fn store(folder: &tempfile::TempDir) -> Arc<dyn Datastore> {
    Arc::new(FjallStore::open(folder.path().join("fjall"), FjallOptions::default()).expect("a store"))
}

async fn keeps_contract<C: Consensus>(consensus: C, me: PeerId) {
    let consensus = Arc::new(consensus);
    let tasks = TaskScope::new(Arc::new(TokioSpawn));
    Arc::clone(&consensus).start(&tasks).await.expect("started");
    run(&Subject { consensus: Arc::clone(&consensus) as Arc<dyn Consensus>, me }).await;
    tasks.stop().await;
    consensus.clean().await.expect("what does not run can be removed");
    assert_eq!(consensus.state().len(), Ok(0));
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

#[tokio::test]
async fn the_crdt_keeps_the_contract() {
    let (folder, me) = (tempfile::tempdir().expect("a folder"), PeerId::random());
    let store = store(&folder);
    let parts = cluster_crdt::Parts {
        me,
        state: Arc::new(DsState::new(Arc::clone(&store))),
        store,
        clock: clock(),
        pubsub: None,
        exchange: None,
        members: Arc::new(BTreeSet::new),
        writer: WriterOn::Thread,
        metrics: Arc::default(),
    };
    keeps_contract(CrdtConsensus::new(CrdtConfig::default(), parts).expect("configured"), me).await;
}

#[tokio::test]
async fn raft_keeps_the_contract_with_either_state() {
    let on_disk =
        |store: &Arc<dyn Datastore>| -> Arc<dyn State> { Arc::new(PinState::open(Arc::clone(store)).expect("opened")) };
    let in_memory = |_: &Arc<dyn Datastore>| -> Arc<dyn State> { Arc::new(MapState::new()) };
    for state in [&on_disk as &dyn Fn(&Arc<dyn Datastore>) -> Arc<dyn State>, &in_memory] {
        let (folder, me) = (tempfile::tempdir().expect("a folder"), PeerId::random());
        let store = store(&folder);
        let parts = cluster_raft::Parts {
            me,
            state: state(&store),
            store,
            courier: Arc::new(Nobody),
            clock: clock(),
            join: Vec::new(),
            backups: Some(folder.path().to_owned()),
        };
        keeps_contract(RaftConsensus::new(RaftConfig::default(), parts), me).await;
        assert!(folder.path().join("raft.old.0.json").exists(), "what was removed is kept");
    }
}
