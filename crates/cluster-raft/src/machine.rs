//! What committed entries do: they change the pinset, which carries as its mark how far it is.

use crate::log::{LogError, LogStore};
use crate::snapshot::{SnapshotError, SnapshotFile, Snapshots};
use crate::types::{FormError, LogId, Member, Membership, StorageError, TypeConfig, decode, encode};
use bytes::Bytes;
use cluster_component::component::{PinsetChange, State};
use cluster_component::errors::StateError;
use cluster_types::store::Datastore;
use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, Entry, EntryPayload, OptionalSend, RaftLogId, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageIOError,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// How far the pinset is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: Membership,
    /// The last group of each peer: what is not later than that took effect already. As many as there ever were
    /// members.
    pub(crate) groups: BTreeMap<Member, u64>,
}

/// Why the machine cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the mark of the pinset: {0}")]
    Mark(#[from] FormError),
}

/// The pinset and how far it is. Shared with the component.
pub(crate) struct Machine {
    state: Arc<dyn State>,
    snapshots: Arc<Snapshots>,
    mark: Mutex<Mark>,
    changes: broadcast::Sender<PinsetChange>,
    /// Pieces of snapshots received so far, by which others see that something moves.
    pub(crate) received: AtomicU64,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("mark", &self.mark).finish_non_exhaustive()
    }
}

impl Machine {
    /// Takes up the pinset; one that is older than the snapshot, or was lost with the process, is made anew from it.
    pub(crate) fn open(
        store: &Arc<dyn Datastore>,
        state: Arc<dyn State>,
        changes: broadcast::Sender<PinsetChange>,
    ) -> Result<Self, MachineError> {
        let snapshots = Arc::new(Snapshots::open(Arc::clone(store)).map_err(MachineError::Snapshot)?);
        let mut mark: Mark = state.mark()?.map(|bytes| decode(&bytes)).transpose()?.unwrap_or_default();
        if let Some((meta, file)) = snapshots.current()
            && mark.applied < meta.last_log_id
        {
            // Before anything of the pinset is removed.
            file.check()?;
            mark = restore(&*state, &meta, &file)?;
        }
        Ok(Self { state, snapshots, mark: Mutex::new(mark), changes, received: AtomicU64::new(0) })
    }

    pub(crate) fn mark(&self) -> Mark {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of the last group of a peer that took effect.
    pub(crate) fn last_group(&self, of: Member) -> u64 {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).groups.get(&of).copied().unwrap_or(0)
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Applies entries that are in the log and known to be committed: what a running peer does, for one that is not.
    pub(crate) fn catch_up(&self, log: &LogStore) -> Result<(), MachineError> {
        const AT_ONCE: u64 = 64;
        let Some(committed) = log.committed()? else { return Ok(()) };
        let mut next = self.mark().applied.map_or(0, |id| id.index + 1);
        while next <= committed.index {
            let entries = log.entries(next..(committed.index + 1).min(next + AT_ONCE), usize::MAX)?;
            let Some(last) = entries.last().map(|entry| entry.get_log_id().index) else { break };
            self.apply(entries)?;
            next = last + 1;
        }
        Ok(())
    }

    fn apply(&self, entries: impl IntoIterator<Item = Entry<TypeConfig>>) -> Result<usize, MachineError> {
        let mut mark = self.mark();
        let (mut changes, mut count) = (Vec::new(), 0);
        for entry in entries {
            count += 1;
            mark.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(members) => mark.membership = Membership::new(Some(entry.log_id), members),
                EntryPayload::Normal(proposal) => {
                    for group in proposal.groups {
                        let last = mark.groups.entry(group.from).or_default();
                        if group.number > *last {
                            *last = group.number;
                            changes.extend(group.read());
                        }
                    }
                }
            }
        }
        self.state.apply(&changes, encode(&mark)?)?;
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
        for change in changes {
            let _nobody_listens = self.changes.send(change); // Changes are hints; the state is the truth.
        }
        Ok(count)
    }

    fn install(&self, meta: &SnapshotMeta<Member, ()>, file: SnapshotFile) -> Result<(), MachineError> {
        let file = self.snapshots.adopt(file)?;
        file.check()?;
        // First what a crash will be mended from.
        self.snapshots.take_up(meta.clone(), &file)?;
        let mark = restore(&*self.state, meta, &file)?;
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
        let _nobody_listens = self.changes.send(PinsetChange::Resync);
        Ok(())
    }

    /// The snapshot that counts. One that the disk damaged is made anew: the pinset has all that was in it.
    fn current_snapshot(&self) -> Result<Option<Snapshot<TypeConfig>>, MachineError> {
        let Some((meta, file)) = self.snapshots.current() else { return Ok(None) };
        match file.check() {
            Ok(()) => Ok(Some(Snapshot { meta, snapshot: Box::new(file) })),
            Err(error @ SnapshotError::Damaged { .. }) => {
                tracing::error!(%error, "a snapshot is damaged and made anew from the pinset: look after the disk");
                self.snapshot().map(Some)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a snapshot of the pinset as it is.
    pub(crate) fn snapshot(&self) -> Result<Snapshot<TypeConfig>, MachineError> {
        Ok(self.snapshots.build(&*self.state, describe)?)
    }
}

/// The name of a snapshot carries what its meta has no field for: the groups.
#[derive(Serialize, Deserialize)]
struct SnapshotName {
    number: u64,
    groups: BTreeMap<Member, u64>,
}

fn describe(number: u64, mark: Option<Bytes>) -> Result<SnapshotMeta<Member, ()>, SnapshotError> {
    let damaged = |error| SnapshotError::Damaged { number, what: "the mark".into(), error };
    let mark: Mark = mark.map(|bytes| decode(&bytes)).transpose().map_err(damaged)?.unwrap_or_default();
    let name = serde_json::to_string(&SnapshotName { number, groups: mark.groups });
    let snapshot_id = name.map_err(|error| damaged(FormError::Unwritable(error.to_string())))?;
    Ok(SnapshotMeta { last_log_id: mark.applied, last_membership: mark.membership, snapshot_id })
}

/// Puts the snapshot in the place of the pinset.
fn restore(state: &dyn State, meta: &SnapshotMeta<Member, ()>, file: &SnapshotFile) -> Result<Mark, MachineError> {
    let name: SnapshotName =
        serde_json::from_str(&meta.snapshot_id).map_err(|error| FormError::Unreadable(error.to_string()))?;
    let mark = Mark { applied: meta.last_log_id, membership: meta.last_membership.clone(), groups: name.groups };
    state.replace(&mut file.pins(), Some(encode(&mark)?))?;
    Ok(mark)
}

/// The machine as the engine holds it.
#[derive(Clone, Debug)]
pub(crate) struct SharedMachine(pub(crate) Arc<Machine>);

fn failed(error: &MachineError) -> StorageError {
    StorageIOError::write_state_machine(AnyError::new(error)).into()
}

/// Does work that waits on the disk away from the tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MachineError> + Send + 'static,
) -> Result<T, StorageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| failed(&error)),
        Err(error) => Err(StorageIOError::write_state_machine(AnyError::new(&error)).into()),
    }
}

impl RaftStateMachine<TypeConfig> for SharedMachine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        let mark = self.0.mark();
        Ok((mark.applied, mark.membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let count = self.0.apply(entries).map_err(|error| failed(&error))?;
        Ok(vec![(); count])
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFile>, StorageError> {
        Ok(Box::new(self.0.snapshots.begin()))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<Member, ()>,
        snapshot: Box<SnapshotFile>,
    ) -> Result<(), StorageError> {
        let (machine, meta) = (Arc::clone(&self.0), meta.clone());
        blocking(move || machine.install(&meta, *snapshot)).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let machine = Arc::clone(&self.0);
        blocking(move || machine.current_snapshot()).await
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SharedMachine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let machine = Arc::clone(&self.0);
        blocking(move || machine.snapshot()).await
    }
}

impl Machine {
    /// Notes that a piece of a snapshot came in.
    pub(crate) fn note_piece(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Change, Group, Proposal};
    use bytes::BytesMut;
    use cluster_component::component::StateRead;
    use cluster_datastore::MemoryStore;
    use cluster_peer::state::mapstate::MapState;
    use cluster_peer::state::pinstate::PinState;
    use cluster_testkit::contract::{cid, pin};
    use cluster_types::store::{Batch, DatastoreRead, Row, StoreError, Table, Visit};
    use openraft::CommittedLeaderId;
    use std::ops::Bound;

    fn group(from: u64, number: u64, change: &Change) -> Group {
        let mut changes = BytesMut::new();
        Group::write(&mut changes, change);
        Group { from: Member::from(from), number, changes: changes.freeze() }
    }

    fn entry(index: u64, group: Group) -> Entry<TypeConfig> {
        let log_id = LogId::new(CommittedLeaderId::new(1, Member::from(1)), index);
        Entry { log_id, payload: EntryPayload::Normal(Proposal { groups: vec![group] }) }
    }

    fn open(store: &Arc<dyn Datastore>, state: Arc<dyn State>) -> Machine {
        Machine::open(store, state, broadcast::channel(8).0).expect("a machine")
    }

    /// Its answer was lost, and it was proposed again after others had their say: it must not undo that, whatever happened
    /// in between to the peer that applies it.
    #[test]
    fn a_group_that_is_in_the_log_twice_takes_effect_once() {
        let pinned = || group(2, 1, &Change::Put(pin(1, "p").to_proto()));
        for (restarts, on_disk) in [(false, true), (true, true), (true, false)] {
            let store: Arc<dyn Datastore> = Arc::new(MemoryStore::new());
            let state = || -> Arc<dyn State> {
                match on_disk {
                    true => Arc::new(PinState::open(Arc::clone(&store)).expect("opened")),
                    false => Arc::new(MapState::new()),
                }
            };
            let mut machine = open(&store, state());
            machine.apply([entry(1, pinned()), entry(2, group(3, 1, &Change::Remove(cid(1))))]).expect("applied");
            if restarts {
                machine.snapshot().expect("a snapshot");
                machine = open(&store, state());
                assert_eq!(machine.last_group(Member::from(2)), 1, "on disk: {on_disk}");
            }

            machine.apply([entry(3, pinned())]).expect("applied");
            assert_eq!(machine.state.contains(&cid(1)), Ok(false), "restarts: {restarts}, on disk: {on_disk}");
            machine.apply([entry(4, group(2, 2, &Change::Put(pin(1, "new").to_proto())))]).expect("applied");
            assert_eq!(machine.state.contains(&cid(1)), Ok(true));
        }
    }

    /// A store whose power fails before so many writes are done.
    #[derive(Debug)]
    struct Failing {
        inner: Arc<MemoryStore>,
        left: AtomicU64,
    }

    impl DatastoreRead for Failing {
        fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
            self.inner.get(table, key)
        }

        fn scan(
            &self,
            table: Table,
            from: Bound<&[u8]>,
            to: Bound<&[u8]>,
            visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
        ) -> Result<(), StoreError> {
            self.inner.scan(table, from, to, visit)
        }

        fn last(&self, table: Table) -> Result<Option<Row>, StoreError> {
            self.inner.last(table)
        }
    }

    impl Datastore for Failing {
        fn write(&self, batch: Batch) -> Result<(), StoreError> {
            let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            left.map_err(|_| StoreError::Io("the power failed".into()))?;
            self.inner.write(batch)
        }

        fn sync(&self) -> Result<(), StoreError> {
            self.inner.sync()
        }

        fn disk_bytes(&self) -> u64 {
            0
        }
    }

    /// Wherever a crash cuts the taking up of a snapshot: the pinset is the one before or the one after, never a half.
    #[test]
    fn a_snapshot_whose_taking_up_a_crash_cut_is_all_or_nothing() {
        let other: Arc<dyn Datastore> = Arc::new(MemoryStore::new());
        let ahead = open(&other, Arc::new(MapState::new()));
        let entries = (1..=50).map(|n| entry(n, group(2, n, &Change::Put(pin(n, "p").to_proto()))));
        ahead.apply(entries).expect("applied");
        let snapshot = ahead.snapshot().expect("a snapshot");
        let (mut cut, mut seen) = (0, std::collections::BTreeSet::new());
        loop {
            let memory = Arc::new(MemoryStore::new());
            let failing = Arc::new(Failing { inner: Arc::clone(&memory), left: AtomicU64::new(u64::MAX) });
            let store: Arc<dyn Datastore> = failing.clone();
            let behind = open(&store, Arc::new(PinState::open(Arc::clone(&store)).expect("opened")));
            behind.apply([entry(1, group(2, 1, &Change::Put(pin(99, "old").to_proto())))]).expect("applied");
            memory.sync().expect("synced");
            failing.left.store(cut, Ordering::SeqCst);
            let installed = behind.install(&snapshot.meta, (*snapshot.snapshot).clone());

            for kept in [0, usize::MAX] {
                let store: Arc<dyn Datastore> = Arc::new(memory.crash_keeping(kept));
                let state = Arc::new(PinState::open(Arc::clone(&store)).expect("opened"));
                let machine = open(&store, Arc::clone(&state) as Arc<dyn State>);
                let index = machine.mark().applied.map(|id| id.index);
                let expected = if index == Some(50) { (50, false) } else { (1, true) };
                let found = (state.len().expect("read"), state.contains(&cid(99)).expect("read"));
                assert_eq!(found, expected, "cut after {cut} writes, index {index:?}");
                seen.insert(index);
            }
            if installed.is_ok() {
                break;
            }
            cut += 1;
        }
        assert_eq!(seen, [Some(1), Some(50)].into(), "both were to be seen");
    }
}
