//! A node in a folder of its own, and DAGs to put into it.

use bytes::Bytes;
use cluster_component::component::{Blocks, IpfsConnector};
use cluster_component::ports::{Block, BlockExchange};
use cluster_datastore::MemoryStore;
use cluster_embedded::connector::Wanted;
use cluster_embedded::{Embedded, EmbeddedConfig, Parts};
use cluster_testkit::ManualClock;
use cluster_types::{Cid, Pin, PinOptions};
use dag::file::{FileBuilder, Options};
use dag::options::Chunker;
use futures::{StreamExt, stream};
use std::sync::Arc;
use tempfile::TempDir;

/// A node, and what it is made of.
pub(crate) struct Made {
    pub(crate) node: Arc<Embedded>,
    pub(crate) folder: TempDir,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) fn node() -> Made {
    node_with(EmbeddedConfig::default(), None, None)
}

pub(crate) fn node_with(
    config: EmbeddedConfig,
    exchange: Option<Arc<dyn BlockExchange>>,
    wanted: Option<Wanted>,
) -> Made {
    open(config, tempfile::tempdir().expect("temp folder"), Arc::new(MemoryStore::new()), exchange, wanted)
}

/// Opens the node of a folder anew, as after the process ended.
pub(crate) fn reopen(folder: TempDir, store: MemoryStore) -> Made {
    reopen_with(EmbeddedConfig::default(), folder, Arc::new(store))
}

pub(crate) fn reopen_with(config: EmbeddedConfig, folder: TempDir, store: Arc<MemoryStore>) -> Made {
    open(config, folder, store, None, None)
}

fn open(
    config: EmbeddedConfig,
    folder: TempDir,
    store: Arc<MemoryStore>,
    exchange: Option<Arc<dyn BlockExchange>>,
    wanted: Option<Wanted>,
) -> Made {
    let clock = Arc::new(ManualClock::default());
    let parts = Parts {
        folder: folder.path().to_path_buf(),
        store: Arc::clone(&store) as _,
        clock: Arc::clone(&clock) as _,
        exchange,
        wanted,
    };
    let node = Arc::new(Embedded::open(config, parts).expect("opened"));
    Made { node, folder, store, clock }
}

/// Bytes that look like chance, the same for the same seed.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        out.extend_from_slice(&x.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(length);
    out
}

/// A file's root and blocks, cut into pieces of 1,000 bytes; leaves are dag-pb nodes.
pub(crate) fn file(content: &[u8]) -> (Cid, Vec<Block>) {
    let options = Options { chunker: Chunker::Size(1_000), ..Options::default() };
    let mut blocks = Vec::new();
    let mut builder = FileBuilder::new(options);
    let mut out = |block: dag::Block| blocks.push(Block::claimed(Cid(block.cid), block.data));
    builder.push(content, &mut out);
    let root = builder.finish(&mut out);
    (Cid(root.cid), blocks)
}

pub(crate) fn stream_of(blocks: &[Block]) -> Blocks {
    let blocks: Vec<Block> = blocks.to_vec();
    stream::iter(blocks).map(Ok).boxed()
}

pub(crate) async fn put(node: &Embedded, blocks: &[Block]) {
    node.block_put(stream_of(blocks)).await.expect("stored");
}

pub(crate) fn recursive(cid: Cid) -> Pin {
    let mut pin = Pin::new(cid, PinOptions::default());
    pin.max_depth = -1;
    pin
}

/// Reads a file of the node whole.
pub(crate) async fn read(node: &Embedded, root: Cid) -> Vec<u8> {
    let pieces: Vec<_> = node.content().read(root, 0..u64::MAX).collect().await;
    let pieces: Result<Vec<Bytes>, _> = pieces.into_iter().collect();
    pieces.expect("read").concat()
}

/// Bytes of the segments on disk.
pub(crate) fn disk_bytes(made: &Made) -> u64 {
    let entries = std::fs::read_dir(made.folder.path().join("segments")).expect("a folder");
    entries.map(|entry| entry.expect("an entry").metadata().expect("metadata").len()).sum()
}
