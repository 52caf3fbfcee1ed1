//! The pinset of a peer that is not running: export, import, cleanup.

use crate::config::Configuration;
use crate::folder::Folder;
use crate::import::Checked;
use cluster_component::component::{State, StateRead};
use cluster_component::errors::StateError;
use cluster_core::crdt::ReplicaError;
pub use cluster_crdt::graph::Info as CrdtInfo;
use cluster_crdt::graph::{self, GraphError};
use cluster_crdt::offline;
use cluster_datastore::{FjallOptions, FjallStore};
use cluster_peer::state::dsstate::DsState;
use cluster_types::store::{Datastore, StoreError};
use cluster_types::{Cid, PeerId, Pin, peer_id};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Why the state could not be worked on. Nothing was changed unless the text says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log or the state of raft failed.
    #[error(transparent)]
    Raft(#[from] cluster_raft::offline::OfflineError),
    /// The replica failed.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The pinset could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The DAG of the crdt could not be read.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A pin of the file makes no sense.
    #[error("pin {number} of the import makes no sense: {reason} (nothing was changed)")]
    Pin {
        /// Which, counted from one.
        number: u64,
        /// What is wrong.
        reason: String,
    },
}

/// What is put in the place of what an import says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    min: Option<i32>,
    max: Option<i32>,
    allocations: Option<Vec<PeerId>>,
}

impl Overrides {
    /// Factors above zero and peers that can be read count; the others leave the import as it is, as the reference.
    ///
    /// # Errors
    /// None so far.
    pub fn new(min: i32, max: i32, allocations: &[String]) -> Result<Self, OfflineError> {
        let peers: Vec<PeerId> = allocations.iter().filter_map(|text| peer_id::parse(text).ok()).collect();
        Ok(Self {
            min: (min > 0).then_some(min),
            max: (max > 0).then_some(max),
            allocations: (!peers.is_empty()).then_some(peers),
        })
    }

    pub(crate) fn apply(&self, pin: &mut Pin) {
        if let Some(min) = self.min {
            pin.options.replication_factor_min = min;
        }
        if let Some(max) = self.max {
            pin.options.replication_factor_max = max;
        }
        if let Some(peers) = &self.allocations {
            pin.allocations.clone_from(peers);
        }
    }
}

/// The state of a peer that is not running. Hold the folder's lock meanwhile.
pub struct Offline {
    store: Arc<FjallStore>,
    /// How the state is kept: `None`, by the crdt.
    raft: Option<RaftState>,
}

/// The state of a peer whose consensus is raft.
struct RaftState {
    state: Arc<dyn State>,
    /// Where backups go, and how many.
    backups: (PathBuf, usize),
}

impl RaftState {
    fn back_up(&self) -> Result<(), OfflineError> {
        let (folder, keep) = &self.backups;
        match cluster_raft::offline::backup(&*self.state, folder, *keep)? {
            Some(path) => tracing::info!("cleaning and backing up the Raft state: {}", path.display()),
            None => tracing::info!("cleaning an empty Raft state"),
        }
        Ok(())
    }
}

impl std::fmt::Debug for Offline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offline").field("raft", &self.raft.is_some()).finish_non_exhaustive()
    }
}

impl Offline {
    /// Opens the store.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(configuration: &Configuration, folder: &Folder) -> Result<Self, OfflineError> {
        folder.create()?;
        let path = folder.path().join(&configuration.datastore.folder);
        let store = Arc::new(FjallStore::open(path, FjallOptions::default())?);
        let raft = configuration.raft.as_ref().map(|raft| -> Result<RaftState, OfflineError> {
            let state = configuration.state.build(&(Arc::clone(&store) as Arc<dyn Datastore>))?;
            let keep = usize::try_from(raft.backups_rotate).unwrap_or(1);
            Ok(RaftState { state, backups: (folder.path().to_owned(), keep) })
        });
        Ok(Self { raft: raft.transpose()?, store })
    }

    fn store(&self) -> Arc<dyn Datastore> {
        Arc::clone(&self.store) as Arc<dyn Datastore>
    }

    /// The pinset as it was acknowledged.
    fn state(&self) -> Result<Arc<dyn StateRead>, OfflineError> {
        match &self.raft {
            None => Ok(Arc::new(DsState::new(self.store()))),
            Some(raft) => {
                cluster_raft::offline::catch_up(&self.store(), Arc::clone(&raft.state))?;
                Ok(Arc::clone(&raft.state) as Arc<dyn StateRead>)
            }
        }
    }

    /// Writes every pin as a line of JSON, in the listing order; returns how many.
    ///
    /// # Errors
    /// When the store cannot be read or the file not written.
    pub fn export(&self, out: &mut impl Write) -> Result<u64, OfflineError> {
        let (mut count, mut line, mut written) = (0, Vec::new(), Ok(()));
        self.each(&mut |pin| {
            line.clear();
            pin.write_json(&mut line);
            line.push(b'\n');
            count += 1;
            if written.is_ok() {
                written = out.write_all(&line);
            }
        })?;
        written?;
        Ok(count)
    }

    /// Shows every pin, in the listing order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn each(&self, show: &mut dyn FnMut(&Pin)) -> Result<(), OfflineError> {
        let state = self.state()?;
        let mut after = None::<Cid>;
        loop {
            let pins = state.page(after.as_ref(), cluster_component::PAGE_MAX)?;
            pins.iter().for_each(&mut *show);
            match pins.last() {
                Some(last) => after = Some(last.cid),
                None => return Ok(()),
            }
        }
    }

    /// Replaces the pinset. The whole input is read and checked first, into a file beside the store: only then is the
    /// old pinset removed. Under raft the cluster begins anew with these members, and the old pinset is kept as a
    /// backup. Returns how many pins there are.
    ///
    /// # Errors
    /// When a pin makes no sense (nothing was changed then), or the store fails.
    pub fn import(
        &mut self,
        input: &mut impl Read,
        overrides: &Overrides,
        members: &BTreeSet<PeerId>,
    ) -> Result<u64, OfflineError> {
        let pins = Checked::read(input, overrides)?.into_rows()?;
        let imported = match &self.raft {
            None => {
                offline::clean(&*self.store)?;
                offline::import(&*self.store, pins)?
            }
            Some(raft) => {
                self.back_up_what_can_be(raft);
                let damaged = |reason: String| StateError::Damaged { cid: "(import)".into(), reason };
                let mut pins = pins.map(|row| {
                    let (_, pin) = row.map_err(|e| damaged(e.to_string()))?;
                    Pin::from_proto(&pin, None).map_err(|e| damaged(e.to_string()))
                });
                cluster_raft::offline::import(&self.store(), &raft.state, members, &mut pins)?
            }
        };
        self.store.close()?;
        Ok(imported)
    }

    /// Sums up the DAG of the crdt.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn crdt_info(&self) -> Result<CrdtInfo, OfflineError> {
        Ok(graph::info(&*self.store)?)
    }

    /// Draws the DAG of the crdt for Graphviz.
    ///
    /// # Errors
    /// When the store cannot be read or `out` not written.
    pub fn crdt_draw(&self, out: &mut impl Write) -> Result<(), OfflineError> {
        Ok(graph::draw(&*self.store, out)?)
    }

    /// Says, durably, that blocks of the crdt may be missing, or that none is.
    ///
    /// # Errors
    /// When the store fails.
    pub fn crdt_mark(&self, dirty: bool) -> Result<(), OfflineError> {
        Ok(graph::mark(&*self.store, dirty)?)
    }

    /// Removes the pinset; under raft it is kept as a backup.
    ///
    /// # Errors
    /// When the store fails.
    pub fn clean(&self) -> Result<(), OfflineError> {
        if let Some(raft) = &self.raft {
            self.back_up_what_can_be(raft);
        }
        self.remove()
    }

    /// The same where nobody said that what is there may go: what is damaged, or cannot be kept as a backup, stays.
    ///
    /// # Errors
    /// When the store fails, or under raft no backup can be made (nothing was changed then).
    pub fn make_room(&self) -> Result<(), OfflineError> {
        if let Some(raft) = &self.raft {
            self.state()?;
            raft.back_up()?;
        }
        self.remove()
    }

    fn remove(&self) -> Result<(), OfflineError> {
        match &self.raft {
            None => offline::clean(&*self.store)?,
            Some(raft) => cluster_raft::offline::clean(&*self.store, &*raft.state)?,
        }
        Ok(self.store.close()?)
    }

    /// A pinset that is damaged can be removed all the same: that is what the order was for. What is known to be in it
    /// without the log is kept.
    fn back_up_what_can_be(&self, raft: &RaftState) {
        if let Err(error) = self.state() {
            tracing::warn!(%error, "the backup lacks what is only in the raft log");
        }
        if let Err(error) = raft.back_up() {
            tracing::warn!(%error, "the Raft state is removed without a backup");
        }
    }
}
