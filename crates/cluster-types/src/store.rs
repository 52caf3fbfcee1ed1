//! The datastore as every layer sees it: tables of sorted rows, batches that are atomic, and an explicit sync.
//!
//! The traits stand here, below everything, because decisions (`cluster-core`) read through them too. The stores
//! themselves are in `cluster-datastore`.

use bytes::Bytes;
use std::fmt;
use std::ops::{Bound, ControlFlow};

/// A table: rows of its own, sorted by their keys' bytes. A key has 1 to 65,535 bytes.
///
/// The list is central so that no two components can take the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Table {
    /// CRDT: heads, counters, format version.
    CrdtMeta,
    /// CRDT: number of a DAG node → its CID and height.
    CrdtNodes,
    /// CRDT: multihash of a DAG node → its number and whether it is processed.
    CrdtIndex,
    /// CRDT: number of a DAG node → its block.
    CrdtBlocks,
    /// CRDT: key of an element → winning value, priority and the nodes that added it.
    CrdtElements,
    /// CRDT: tombstones.
    CrdtTombs,
    /// Tracker: sort key of a CID → status row.
    Status,
    /// Tracker: what needs attention, in the order of the queue.
    Attention,
    /// Embedded node: multihash of a block → segment, offset and length.
    BlockIndex,
    /// Embedded node: pinned roots.
    BlockPins,
    /// Embedded node: segments, counters, format version.
    BlockMeta,
    /// Raft: log entries.
    RaftLog,
    /// Raft: vote, membership, snapshots.
    RaftMeta,
    /// State `dsstate` under a consensus that has no store of its own for pins: sort key of a CID → pin.
    Pins,
}

impl Table {
    /// Every table, in the order of declaration.
    pub const ALL: &'static [Table] = &[
        Table::CrdtMeta,
        Table::CrdtNodes,
        Table::CrdtIndex,
        Table::CrdtBlocks,
        Table::CrdtElements,
        Table::CrdtTombs,
        Table::Status,
        Table::Attention,
        Table::BlockIndex,
        Table::BlockPins,
        Table::BlockMeta,
        Table::RaftLog,
        Table::RaftMeta,
        Table::Pins,
    ];

    /// The name on disk; never changes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Table::CrdtMeta => "crdt_meta",
            Table::CrdtNodes => "crdt_nodes",
            Table::CrdtIndex => "crdt_index",
            Table::CrdtBlocks => "crdt_blocks",
            Table::CrdtElements => "crdt_elements",
            Table::CrdtTombs => "crdt_tombs",
            Table::Status => "status",
            Table::Attention => "attention",
            Table::BlockIndex => "block_index",
            Table::BlockPins => "block_pins",
            Table::BlockMeta => "block_meta",
            Table::RaftLog => "raft_log",
            Table::RaftMeta => "raft_meta",
            Table::Pins => "pins",
        }
    }
}

/// One change of a [`Batch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Set the row.
    Put {
        /// Its table.
        table: Table,
        /// Its key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Remove the row, if it is there.
    Delete {
        /// Its table.
        table: Table,
        /// Its key.
        key: Bytes,
    },
}

impl Change {
    /// The table that it changes.
    #[must_use]
    pub fn table(&self) -> Table {
        match self {
            Change::Put { table, .. } | Change::Delete { table, .. } => *table,
        }
    }
}

/// Changes that take effect together, in order: of two changes of one row the later counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The changes.
    pub changes: Vec<Change>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds "set this row".
    pub fn put(&mut self, table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push(Change::Put { table, key: key.into(), value: value.into() });
    }

    /// Adds "remove this row".
    pub fn delete(&mut self, table: Table, key: impl Into<Bytes>) {
        self.changes.push(Change::Delete { table, key: key.into() });
    }

    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }
}

/// What a visitor of [`DatastoreRead::scan`] answers: go on, or stop here.
pub type Visit = ControlFlow<()>;

/// A row as [`DatastoreReadExt::page`] returns it: key and value.
pub type Row = (Bytes, Bytes);

/// Reading from a datastore. Reads see every batch whose [`Datastore::write`] has returned.
pub trait DatastoreRead: Send + Sync {
    /// The value of one row.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Visits the rows between the bounds in ascending order of their keys until the visitor breaks.
    ///
    /// The rows are those of one moment: writes during the scan are not seen by it.
    ///
    /// # Errors
    /// When the store cannot be read; rows before the fault have been visited.
    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), StoreError>;

    /// The last row of a table, by key.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn last(&self, table: Table) -> Result<Option<Row>, StoreError>;
}

/// What follows from [`DatastoreRead`] for every store.
pub trait DatastoreReadExt: DatastoreRead {
    /// Up to `limit` rows from the bound on. Fewer than `limit` means that there are no more.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn page(&self, table: Table, from: Bound<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        if limit == 0 {
            return Ok(rows);
        }
        self.scan(table, from, Bound::Unbounded, &mut |key, value| {
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            if rows.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(rows)
    }

    /// Visits the rows whose key begins with `prefix`, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn scan_prefix(
        &self,
        table: Table,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), StoreError> {
        let end = behind_prefix(prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.scan(table, Bound::Included(prefix), to, visit)
    }
}

/// The first key behind all that begin with a prefix; `None` if there is none. A store that has it steps over nothing
/// that was deleted there.
fn behind_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

impl<T: DatastoreRead + ?Sized> DatastoreReadExt for T {}

/// A datastore: visible at once, durable at [`sync`](Datastore::sync).
pub trait Datastore: DatastoreRead {
    /// Applies a batch whole or not at all. Visible to readers when this returns; **not yet durable**.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing of the batch is visible.
    fn write(&self, batch: Batch) -> Result<(), StoreError>;

    /// Makes everything written before this call durable: it survives the loss of power.
    ///
    /// # Errors
    /// When the device refused; the caller must treat everything since the last sync as not durable.
    fn sync(&self) -> Result<(), StoreError>;

    /// Bytes that the store takes on disk, 0 for stores in memory.
    fn disk_bytes(&self) -> u64;
}

impl fmt::Debug for dyn Datastore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Datastore")
    }
}

/// Why a store refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No room on the device: nothing was written; free some and try again.
    #[error("the datastore's device is full: {0}")]
    Full(String),
    /// The device or the operating system failed.
    #[error("the datastore cannot be used: {0}")]
    Io(String),
    /// What is stored does not make sense.
    #[error("the datastore holds damaged data: {0}")]
    Corrupt(String),
    /// Another process holds it, or it was closed.
    #[error("the datastore is not open: {0}")]
    Closed(String),
}
