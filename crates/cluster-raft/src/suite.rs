//! The engine's own suite for storages, on a store in memory and on one on disk, with either state.

use crate::log::LogStore;
use crate::machine::{Machine, SharedMachine};
use crate::types::{StorageError, TypeConfig};
use cluster_component::component::State;
use cluster_datastore::{FjallOptions, FjallStore, MemoryStore};
use cluster_peer::state::mapstate::MapState;
use cluster_peer::state::pinstate::PinState;
use cluster_types::store::Datastore;
use openraft::testing::{StoreBuilder, Suite};
use std::sync::Arc;
use tokio::sync::broadcast;

type MakeState = fn(&Arc<dyn Datastore>) -> Arc<dyn State>;

fn on_disk(store: &Arc<dyn Datastore>) -> Arc<dyn State> {
    Arc::new(PinState::open(Arc::clone(store)).expect("opened"))
}

fn in_memory(_: &Arc<dyn Datastore>) -> Arc<dyn State> {
    Arc::new(MapState::new())
}

fn build(store: Arc<dyn Datastore>, state: MakeState) -> (LogStore, SharedMachine) {
    let (changes, _) = broadcast::channel(8);
    let machine = Machine::open(&store, state(&store), changes).expect("a machine");
    (LogStore::new(store), SharedMachine(Arc::new(machine)))
}

struct Memory(MakeState);

impl StoreBuilder<TypeConfig, LogStore, SharedMachine> for Memory {
    async fn build(&self) -> Result<((), LogStore, SharedMachine), StorageError> {
        let (log, machine) = build(Arc::new(MemoryStore::new()), self.0);
        Ok(((), log, machine))
    }
}

struct Disk(MakeState);

impl StoreBuilder<TypeConfig, LogStore, SharedMachine, tempfile::TempDir> for Disk {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, SharedMachine), StorageError> {
        let folder = tempfile::tempdir().expect("a folder");
        let store = FjallStore::open(folder.path().join("fjall"), FjallOptions::default()).expect("a store");
        let (log, machine) = build(Arc::new(store), self.0);
        Ok((folder, log, machine))
    }
}

#[test]
fn the_store_in_memory_passes_the_engines_suite() {
    Suite::test_all(Memory(on_disk)).expect("the state on disk");
    Suite::test_all(Memory(in_memory)).expect("the state in memory");
}

#[test]
fn the_store_on_disk_passes_the_engines_suite() {
    Suite::test_all(Disk(on_disk)).expect("the state on disk");
}
