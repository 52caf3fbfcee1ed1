//! Snapshots: the whole pinset at one moment, in pieces, so that neither making, sending nor taking one needs memory for
//! more than a piece.
//!
//! ```text
//! raft_meta  "snapshot"                                  → which one counts
//!            "s" │ number, 8 bytes │ piece, 4 bytes      → checksum, 4 bytes │ pins, each with its length before it
//! ```

use crate::types::{FormError, Member, TypeConfig, decode, encode};
use bytes::{BufMut, Bytes, BytesMut};
use cluster_component::component::State;
use cluster_component::errors::StateError;
use cluster_types::Pin;
use cluster_types::store::{Batch, Datastore, DatastoreReadExt, StoreError, Table};
use openraft::SnapshotMeta;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// About how many bytes a piece has.
const PIECE_BYTES: usize = 256 << 10;

const POINTER: &str = "snapshot";

/// What is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{what} of raft snapshot {number}: {error}")]
    Damaged { number: u64, what: String, error: FormError },
    #[error("raft snapshot {0} was replaced by a newer one meanwhile")]
    Replaced(u64),
}

/// The pieces of one snapshot, in the store where they are.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    store: Arc<dyn Datastore>,
    number: u64,
    pub(crate) pieces: u32,
}

/// Which snapshot counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pointer {
    number: u64,
    pieces: u32,
    meta: SnapshotMeta<Member, ()>,
}

fn piece_key(number: u64, piece: u32) -> Vec<u8> {
    let mut key = vec![b's'];
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(&piece.to_be_bytes());
    key
}

fn damaged(number: u64, what: impl Into<String>, error: FormError) -> SnapshotError {
    SnapshotError::Damaged { number, what: what.into(), error }
}

impl SnapshotFile {
    /// Adds a piece.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<(), StoreError> {
        let mut row = Vec::with_capacity(data.len() + 4);
        row.extend_from_slice(&crc32fast::hash(data).to_be_bytes());
        row.extend_from_slice(data);
        let mut batch = Batch::new();
        batch.put(Table::RaftMeta, piece_key(self.number, self.pieces), row);
        self.store.write(batch)?;
        self.pieces += 1;
        Ok(())
    }

    /// One of its pieces.
    pub(crate) fn piece(&self, piece: u32) -> Result<Bytes, SnapshotError> {
        let row = self.store.get(Table::RaftMeta, &piece_key(self.number, piece))?;
        let row = row.ok_or(SnapshotError::Replaced(self.number))?;
        let of = |error| damaged(self.number, format!("piece {piece}"), error);
        let (sum, data) = row.split_first_chunk::<4>().ok_or_else(|| of(FormError::Cut))?;
        if crc32fast::hash(data) != u32::from_be_bytes(*sum) {
            return Err(of(FormError::Checksum));
        }
        Ok(row.slice(4..))
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// When a piece is missing or damaged.
    pub(crate) fn check(&self) -> Result<(), SnapshotError> {
        (0..self.pieces).try_for_each(|piece| match self.piece(piece) {
            // Where it was replaced just now after all, another one is made for nothing.
            Err(SnapshotError::Replaced(_)) => Err(damaged(self.number, format!("piece {piece}"), FormError::Missing)),
            other => other.map(drop),
        })
    }

    /// The pins, read piece by piece.
    pub(crate) fn pins(&self) -> impl Iterator<Item = Result<Pin, StateError>> + '_ {
        let mut ahead: VecDeque<Result<Pin, StateError>> = VecDeque::new();
        let mut piece = 0;
        std::iter::from_fn(move || {
            while ahead.is_empty() && piece < self.pieces {
                match self.piece(piece) {
                    Ok(data) => ahead.extend(pins_of(&data, self.number, piece)),
                    Err(error) => ahead.push_back(Err(unreadable(self.number, piece, &error.to_string()))),
                }
                piece += 1;
            }
            ahead.pop_front()
        })
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Removes its pieces. Nobody may take it for the one that counts.
    pub(crate) fn remove(&self) -> Result<(), StoreError> {
        for piece in 0..self.pieces {
            let mut batch = Batch::new();
            batch.delete(Table::RaftMeta, piece_key(self.number, piece));
            self.store.write(batch)?;
        }
        Ok(())
    }
}

fn unreadable(number: u64, piece: u32, reason: &str) -> StateError {
    StateError::Damaged { cid: format!("(raft snapshot {number}, piece {piece})"), reason: reason.to_owned() }
}

fn pins_of(data: &[u8], number: u64, piece: u32) -> Vec<Result<Pin, StateError>> {
    let (mut rest, mut pins) = (data, Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let Some((bytes, after)) = after.split_at_checked(u32::from_be_bytes(*length) as usize) else {
            pins.push(Err(unreadable(number, piece, "it is cut short")));
            break;
        };
        pins.push(Pin::from_proto(bytes, None).map_err(|e| unreadable(number, piece, &e.to_string())));
        rest = after;
    }
    pins
}

/// The snapshots of a peer: one that counts, and those that are being made or received.
#[derive(Debug)]
pub(crate) struct Snapshots {
    store: Arc<dyn Datastore>,
    current: Mutex<Option<Pointer>>,
    next: AtomicU64,
}

impl Snapshots {
    /// Finds the one that counts, and removes what is left of others.
    pub(crate) fn open(store: Arc<dyn Datastore>) -> Result<Self, SnapshotError> {
        let row = store.get(Table::RaftMeta, POINTER.as_bytes())?;
        let read = |row: Bytes| decode::<Pointer>(&row).map_err(|error| damaged(0, "the pointer", error));
        let current = row.map(read).transpose()?;
        let counts = current.as_ref().map(|pointer| pointer.number);
        let mut stray = Batch::new();
        let mut last = counts.unwrap_or(0);
        store.scan_prefix(Table::RaftMeta, b"s", &mut |key, _| {
            let number = key.get(1..9).and_then(|n| n.try_into().ok()).map(u64::from_be_bytes);
            if let Some(number) = number.filter(|_| key.len() == 13) {
                last = last.max(number);
                if Some(number) != counts {
                    stray.delete(Table::RaftMeta, key.to_vec());
                }
            }
            ControlFlow::Continue(())
        })?;
        if !stray.is_empty() {
            store.write(stray)?;
        }
        Ok(Self { store, current: Mutex::new(current), next: AtomicU64::new(last + 1) })
    }

    /// An empty one, to be filled.
    pub(crate) fn begin(&self) -> SnapshotFile {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        SnapshotFile { store: Arc::clone(&self.store), number, pieces: 0 }
    }

    /// The one that counts.
    pub(crate) fn current(&self) -> Option<(SnapshotMeta<Member, ()>, SnapshotFile)> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let pointer = current.as_ref()?;
        let store = Arc::clone(&self.store);
        Some((pointer.meta.clone(), SnapshotFile { store, number: pointer.number, pieces: pointer.pieces }))
    }

    /// Makes one of the state as it is. `describe` says of what moment, from the state's mark.
    pub(crate) fn build(
        &self,
        state: &dyn State,
        describe: impl FnOnce(u64, Option<Bytes>) -> Result<SnapshotMeta<Member, ()>, SnapshotError>,
    ) -> Result<openraft::Snapshot<TypeConfig>, SnapshotError> {
        let mut file = self.begin();
        let mut piece = BytesMut::with_capacity(PIECE_BYTES + 4_096);
        let mark = state.freeze(&mut |_, stored| {
            piece.put_u32(u32::try_from(stored.len()).unwrap_or(u32::MAX));
            piece.put_slice(stored);
            if piece.len() >= PIECE_BYTES {
                file.append(&piece)?;
                piece.clear();
            }
            Ok(())
        })?;
        if !piece.is_empty() {
            file.append(&piece)?;
        }
        let meta = describe(file.number, mark)?;
        self.take_up(meta.clone(), &file)?;
        Ok(openraft::Snapshot { meta, snapshot: Box::new(file) })
    }

    /// From now on this one counts, durably, unless a later one does already.
    pub(crate) fn take_up(&self, meta: SnapshotMeta<Member, ()>, file: &SnapshotFile) -> Result<(), SnapshotError> {
        // The pieces before what names them.
        self.store.sync()?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|pointer| pointer.meta.last_log_id > meta.last_log_id) {
            return Ok(file.remove()?);
        }
        let pointer = Pointer { number: file.number, pieces: file.pieces, meta };
        let row = encode(&pointer).map_err(|error| damaged(file.number, "the pointer", error))?;
        let mut batch = Batch::new();
        batch.put(Table::RaftMeta, POINTER, row);
        self.store.write(batch)?;
        self.store.sync()?;
        if let Some(old) = current.replace(pointer) {
            SnapshotFile { store: Arc::clone(&self.store), number: old.number, pieces: old.pieces }.remove()?;
        }
        Ok(())
    }

    /// A snapshot that was received, as one of this store. One of another store is copied.
    pub(crate) fn adopt(&self, file: SnapshotFile) -> Result<SnapshotFile, SnapshotError> {
        if Arc::ptr_eq(&file.store, &self.store) {
            return Ok(file);
        }
        let mut own = self.begin();
        for piece in 0..file.pieces {
            own.append(&file.piece(piece)?)?;
        }
        Ok(own)
    }
}
