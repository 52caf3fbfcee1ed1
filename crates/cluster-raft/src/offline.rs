//! A peer that is not running: its pinset, taking in a whole one, removing it, and keeping backups.

use crate::log::{self, LogStore};
use crate::machine::{Machine, Mark};
use crate::types::{LogId, Member, Membership, encode};
use cluster_component::PAGE_MAX;
use cluster_component::component::{State, StateRead};
use cluster_component::errors::StateError;
use cluster_types::store::{Datastore, StoreError};
use cluster_types::{PeerId, Pin};
use openraft::CommittedLeaderId;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::broadcast;

/// What to do with a peer whose disk gave back something else than was written.
pub const ADVICE: &str = "While a majority of the members runs without this one: state cleanup here, then daemon \
                          --bootstrap with the address of another. Where it does not, or another is damaged too, remove \
                          nothing: see docs/raft.md";

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The pinset could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log or a snapshot is damaged.
    #[error("{0}. {advice}", advice = ADVICE)]
    Damaged(String),
    /// A backup could not be written.
    #[error("the backup could not be written: {0}")]
    Backup(#[from] io::Error),
}

/// Brings the pinset to where the log is known to be committed, as a start does.
///
/// # Errors
/// When something of it is damaged.
pub fn catch_up(store: &Arc<dyn Datastore>, state: Arc<dyn State>) -> Result<(), OfflineError> {
    let damaged = |error: crate::machine::MachineError| OfflineError::Damaged(error.to_string());
    let (changes, _) = broadcast::channel(1);
    let machine = Machine::open(store, state, changes).map_err(damaged)?;
    let log = LogStore::new(Arc::clone(store));
    log.check(machine.mark().applied).map_err(|error| damaged(error.into()))?;
    machine.catch_up(&log).map_err(damaged)
}

/// Makes these pins the pinset of a cluster of these members, with no log before it. Members that take in the same pins
/// and the same members agree with each other. What was there is removed. Returns how many pins there are.
///
/// # Errors
/// When the store fails, or the first error of the pins.
pub fn import(
    store: &Arc<dyn Datastore>,
    state: &Arc<dyn State>,
    members: &BTreeSet<PeerId>,
    pins: &mut dyn Iterator<Item = Result<Pin, StateError>>,
) -> Result<u64, OfflineError> {
    log::clean(&**store)?;
    // By nobody: the same at every member that imports it.
    let id = LogId::new(CommittedLeaderId::new(1, Member::default()), 1);
    let voters: BTreeSet<Member> = members.iter().copied().map(Member::new).collect();
    let membership = Membership::new(Some(id), openraft::Membership::new(vec![voters], None));
    let mark = Mark { applied: Some(id), membership, groups: BTreeMap::new() };
    let mark = encode(&mark).map_err(|e| OfflineError::Damaged(e.to_string()))?;
    state.replace(pins, Some(mark))?;
    let damaged = |error: &dyn std::error::Error| OfflineError::Damaged(error.to_string());
    let (changes, _) = broadcast::channel(1);
    let machine = Machine::open(store, Arc::clone(state), changes).map_err(|e| damaged(&e))?;
    machine.snapshot().map_err(|e| damaged(&e))?;
    LogStore::new(Arc::clone(store)).begin_behind(id).map_err(|e| damaged(&e))?;
    store.sync()?;
    Ok(state.len()?)
}

/// Removes log, snapshots and pinset, durably.
///
/// # Errors
/// When the store fails.
pub fn clean(store: &dyn Datastore, state: &dyn State) -> Result<(), OfflineError> {
    log::clean(store)?;
    Ok(state.replace(&mut std::iter::empty(), None)?)
}

fn backup_path(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("raft.old.{number}.json"))
}

/// Writes the pinset as `state export` does into `raft.old.0.json`; older ones move on by one, and the last of `keep`
/// goes. An empty pinset needs none: then `None`.
///
/// # Errors
/// When it cannot be written; then the older ones are as they were.
pub fn backup(state: &dyn StateRead, folder: &Path, keep: usize) -> Result<Option<PathBuf>, OfflineError> {
    if state.is_empty()? {
        return Ok(None);
    }
    let new = folder.join("raft.old.new");
    write_pins(state, &new)?;
    for number in (0..keep.saturating_sub(1)).rev() {
        match fs::rename(backup_path(folder, number), backup_path(folder, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let path = backup_path(folder, 0);
    fs::rename(new, &path)?;
    fs::File::open(folder)?.sync_all()?;
    Ok(Some(path))
}

fn write_pins(state: &dyn StateRead, path: &Path) -> Result<(), OfflineError> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let (mut out, mut after, mut line) = (BufWriter::with_capacity(1 << 20, file), None, Vec::new());
    loop {
        let pins = state.page(after.as_ref(), PAGE_MAX)?;
        for pin in &pins {
            line.clear();
            pin.write_json(&mut line);
            line.push(b'\n');
            out.write_all(&line)?;
        }
        match pins.last() {
            Some(last) => after = Some(last.cid),
            None => return Ok(out.into_inner().map_err(|e| e.into_error())?.sync_all()?),
        }
    }
}
