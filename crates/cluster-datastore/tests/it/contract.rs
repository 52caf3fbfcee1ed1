//! Both stores pass the same suite.

use cluster_datastore::contract::{self, Subject};
use cluster_datastore::{FjallOptions, FjallStore, MemoryStore};
use cluster_types::store::Datastore;
use std::path::Path;
use std::sync::Arc;

struct Memory {
    store: Arc<MemoryStore>,
    /// How many unsynced batches a crash happens to keep.
    lucky: usize,
}

impl Subject for Memory {
    fn store(&self) -> Arc<dyn Datastore> {
        self.store.clone()
    }

    fn reopen(&mut self) {
        self.store = Arc::new(self.store.reopen());
    }

    fn crash(&mut self) {
        self.store = Arc::new(self.store.crash_keeping(self.lucky));
    }
}

#[test]
fn memory_store_passes_the_contract() {
    for lucky in [0, 1, 3] {
        contract::run(&mut || Box::new(Memory { store: Arc::new(MemoryStore::new()), lucky }));
    }
}

struct OnDisk {
    store: Option<Arc<FjallStore>>,
    folder: tempfile::TempDir,
}

impl OnDisk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Some(open(&folder.path().join("store")));
        Self { store, folder }
    }
}

fn open(path: &Path) -> Arc<FjallStore> {
    Arc::new(FjallStore::open(path, FjallOptions::default()).expect("open"))
}

impl Subject for OnDisk {
    fn store(&self) -> Arc<dyn Datastore> {
        self.store.clone().expect("open")
    }

    fn reopen(&mut self) {
        let store = self.store.take().expect("open");
        store.close().expect("close");
        assert_eq!(Arc::strong_count(&store), 1, "a check kept the store");
        drop(store);
        self.store = Some(open(&self.folder.path().join("store")));
    }

    /// The folder as it is at this moment is what a killed process leaves.
    fn crash(&mut self) {
        let left = tempfile::tempdir().expect("temporary folder");
        super::fjall::copy(&self.folder.path().join("store"), &left.path().join("store"));
        self.store = Some(open(&left.path().join("store")));
        self.folder = left;
    }
}

#[test]
fn fjall_store_passes_the_contract() {
    contract::run(&mut || Box::new(OnDisk::new()));
}
