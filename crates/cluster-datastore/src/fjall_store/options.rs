//! How much memory, disk and how many threads a store may take, and what each table is tuned for.

use cluster_types::store::Table;
use fjall::{KeyspaceCreateOptions, KvSeparationOptions};

const MIB: u64 = 1024 * 1024;

/// Bounds of a [`FjallStore`](super::FjallStore). The defaults keep a peer with a million pins near 100 MB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FjallOptions {
    /// Bytes of the cache for blocks read, all tables together. Default 32 MiB.
    pub cache_bytes: u64,
    /// Bytes that a large table collects in memory before they are written out as a file; small tables collect a
    /// quarter of it. Up to five such buffers can exist for a moment when writing out does not keep up; then writers
    /// wait. Fixed when a table is first written. Default 16 MiB, at least 1 MiB.
    pub memtable_bytes: u64,
    /// Bytes of journals kept, as a bound of what a reopen after a kill must read. At least 64 MiB, and one file of
    /// 64 MiB more can exist for a moment. Default 64 MiB.
    pub journal_bytes: u64,
    /// Files kept open. Default 128, at least 10.
    pub open_files_max: usize,
    /// Threads that write out and compact. Default 2: with one, a long compaction would hold up writing out.
    pub threads: usize,
}

impl Default for FjallOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 32 * MIB,
            memtable_bytes: 16 * MIB,
            journal_bytes: 64 * MIB,
            open_files_max: 128,
            threads: 2,
        }
    }
}

impl FjallOptions {
    /// The engine's builder for a folder.
    pub(super) fn builder(&self, path: &std::path::Path) -> fjall::DatabaseBuilder<fjall::Database> {
        fjall::Database::builder(path)
            .cache_size(self.cache_bytes)
            .max_journaling_size(self.journal_bytes.max(64 * MIB))
            .max_cached_files(Some(self.open_files_max.max(10)))
            .worker_threads(self.threads.max(1))
    }

    /// How a table is laid out when it is first written.
    pub(super) fn table(&self, table: Table) -> KeyspaceCreateOptions {
        let large = self.memtable_bytes.max(MIB);
        let base = KeyspaceCreateOptions::default();
        match shape(table) {
            Shape::Large => base.max_memtable_size(large),
            Shape::Small => base.max_memtable_size((large / 4).max(MIB)),
            // Blocks reach 1 MiB and are written once: kept apart, compaction moves their places and not their bytes.
            Shape::Blocks => base
                .max_memtable_size(large)
                .with_kv_separation(Some(KvSeparationOptions::default().separation_threshold(4096))),
        }
    }
}

/// What a table holds.
enum Shape {
    /// Many small rows.
    Large,
    /// Few rows, or rows that come and go.
    Small,
    /// Rows of up to a mebibyte.
    Blocks,
}

fn shape(table: Table) -> Shape {
    match table {
        Table::CrdtBlocks | Table::RaftLog => Shape::Blocks,
        Table::CrdtElements | Table::Status | Table::BlockIndex | Table::Pins => Shape::Large,
        _ => Shape::Small,
    }
}
