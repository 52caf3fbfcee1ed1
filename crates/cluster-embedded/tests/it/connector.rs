//! Pins, collections and waiting for blocks.

use crate::support::{Made, bytes, disk_bytes, file, node, node_with, put, read, recursive, reopen, stream_of};
use async_trait::async_trait;
use cluster_component::component::{IpfsConnector, StateRead};
use cluster_component::errors::{ConnectorError, NetError, StateError};
use cluster_component::ports::{Block, BlockExchange};
use cluster_embedded::EmbeddedConfig;
use cluster_embedded::connector::Wanted;
use cluster_testkit::contract;
use cluster_types::msgpack::{Pack, Unpack};
use cluster_types::store::{DatastoreReadExt, Table};
use cluster_types::{Cid, IpfsPinStatus, PeerId, Pin, PinsetDigest};
use futures::{FutureExt, StreamExt, TryStreamExt};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn it_is_a_connector() {
    contract::connector::run(|| async {
        let made = node();
        (Arc::clone(&made.node) as Arc<dyn IpfsConnector>, made)
    })
    .await;
}

#[tokio::test]
async fn a_pin_whose_blocks_never_come_ends_after_its_time_and_can_be_tried_again() {
    let Made { node, clock, folder: _folder, .. } = node();
    let (root, blocks) = file(&bytes(1, 10_000));
    put(&node, &blocks[1..]).await;
    let pin = recursive(root);

    let mut work = node.pin(&pin, None);
    assert_eq!((&mut work).now_or_never(), None);
    let error = async {
        loop {
            clock.advance(Duration::from_secs(60));
            tokio::task::yield_now().await;
        }
    };
    let error =
        tokio::select! { done = work => done, () = error => unreachable!("it has no end") }.expect_err("too late");

    let missing = blocks[0].cid;
    assert!(matches!(error, ConnectorError::Stalled(_)) && error.is_retryable(), "{error:?}");
    let text = format!("{root} cannot be pinned: block {missing} did not come within 120 s");
    assert!(error.to_string().starts_with(&text), "{error}");
    assert_eq!(node.pin_ls_cid(&pin).await, Ok(IpfsPinStatus::Unpinned));

    put(&node, &blocks[..1]).await;
    node.pin(&pin, None).await.expect("all is here");
    assert_eq!(node.pin_ls_cid(&pin).await, Ok(IpfsPinStatus::Recursive));
}

#[tokio::test]
async fn a_pin_that_waits_goes_on_when_its_blocks_are_put() {
    let Made { node, folder: _folder, .. } = node();
    let (root, blocks) = file(&bytes(2, 20_000));
    let pin = recursive(root);
    let mut work = node.pin(&pin, None);
    assert_eq!((&mut work).now_or_never(), None);

    let (pinned, ()) = futures::join!(work, put(&node, &blocks));

    pinned.expect("pinned");
    assert_eq!(read(&node, root).await, bytes(2, 20_000));
}

/// A network of one peer that has these blocks.
struct Peer(BTreeMap<Cid, Block>);

#[async_trait]
impl BlockExchange for Peer {
    async fn get(&self, cid: &Cid) -> Result<Block, NetError> {
        self.0.get(cid).cloned().ok_or_else(|| NetError::NotFound(cid.to_string()))
    }
}

#[tokio::test]
async fn what_is_not_here_is_fetched_and_told() {
    let (root, blocks) = file(&bytes(3, 300_000));
    let peer = Peer(blocks.iter().map(|block| (block.cid, block.clone())).collect());
    let Made { node, store, folder: _folder, .. } = node_with(EmbeddedConfig::default(), Some(Arc::new(peer)), None);
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);

    let progress: cluster_component::component::ProgressSink = Arc::new(move |p| sink.lock().expect("told").push(p));
    node.pin(&recursive(root), Some(progress)).await.expect("fetched");

    assert_eq!(read(&node, root).await, bytes(3, 300_000));
    let told = told.lock().expect("told");
    assert!(told.windows(2).all(|pair| pair[0].blocks <= pair[1].blocks));
    assert_eq!(told.last().expect("progress").blocks, blocks.len() as u64);
    // A block has a row once it is synced.
    let rows = store.page(Table::BlockIndex, Bound::Unbounded, usize::MAX).expect("rows").len();
    assert_eq!(rows, blocks.len());
}

#[tokio::test]
async fn a_block_that_is_not_what_it_is_called_is_not_taken() {
    let (root, blocks) = file(&bytes(4, 500));
    let mut lie = blocks[0].clone();
    lie.data = bytes::Bytes::from_static(b"lie");
    let peer = Peer(BTreeMap::from([(root, lie)]));
    let Made { node, folder: _folder, .. } = node_with(EmbeddedConfig::default(), Some(Arc::new(peer)), None);

    let error = node.pin(&recursive(root), None).await.expect_err("a lie");
    assert!(matches!(error, ConnectorError::Invalid(_)), "{error:?}");
}

/// What crosses a wire is somebody else's word, whoever has hashed it there.
#[tokio::test]
async fn blocks_of_others_are_hashed_before_they_are_stored() {
    let Made { node, folder: _folder, .. } = node();
    let (root, blocks) = file(&bytes(5, 500));
    let sent = Block::verified(root, bytes::Bytes::from_static(b"lie")).to_msgpack();
    let came = Block::from_msgpack(&sent).expect("a block");

    let error = node.block_put(stream_of(&[blocks[0].clone(), came])).await.expect_err("a lie");
    assert!(matches!(error, ConnectorError::Invalid(_)), "{error:?}");

    // What was hashed here already is taken at its word: that is what the flag is for.
    put(&node, &[Block::verified(root, blocks[0].data.clone())]).await;
    assert_eq!(node.block_get(&root).await, Ok(blocks[0].data.clone()));
}

#[tokio::test]
async fn a_collection_gives_the_space_back_and_touches_nothing_that_is_held() {
    let made = node();
    let node = &made.node;
    let (kept, kept_blocks) = file(&bytes(5, 200_000));
    let (gone, gone_blocks) = file(&bytes(6, 2_000_000));
    put(node, &kept_blocks).await;
    put(node, &gone_blocks).await;
    node.pin(&recursive(kept), None).await.expect("pinned");
    node.pin(&recursive(gone), None).await.expect("pinned");
    assert_eq!(node.repo_gc().await, Ok(Vec::new()));
    let full = disk_bytes(&made);

    node.unpin(&gone).await.expect("unpinned");
    let rows = node.repo_gc().await.expect("collected");

    assert_eq!(rows.len(), gone_blocks.len());
    assert!(rows.iter().all(|row| row.error.is_empty()));
    let (freed, gone_bytes) = (full - disk_bytes(&made), gone_blocks.iter().map(|b| b.data.len() as u64).sum::<u64>());
    assert!(freed >= gone_bytes, "{freed} of {gone_bytes}");
    assert_eq!(read(node, kept).await, bytes(5, 200_000));
    node.block_get(&gone).await.expect_err("collected");
}

#[tokio::test]
async fn what_is_leased_is_not_collected_even_if_it_was_here_before() {
    let made = node();
    let (root, blocks) = file(&bytes(7, 5_000));
    put(&made.node, &blocks).await;

    let lease = made.node.lease();
    put(&made.node, &blocks).await;
    assert_eq!(made.node.repo_gc().await, Ok(Vec::new()));
    assert_eq!(read(&made.node, root).await, bytes(7, 5_000));

    drop(lease);
    assert_eq!(made.node.repo_gc().await.expect("collected").len(), blocks.len());
}

/// A pinset of one.
struct One(Pin);

impl StateRead for One {
    fn get(&self, _cid: &Cid) -> Result<Option<Pin>, StateError> {
        Ok(None)
    }

    fn contains(&self, _cid: &Cid) -> Result<bool, StateError> {
        Ok(false)
    }

    fn page(&self, after: Option<&Cid>, _limit: usize) -> Result<Vec<Pin>, StateError> {
        Ok(after.is_none().then(|| self.0.clone()).into_iter().collect())
    }

    fn list(self: Arc<Self>) -> cluster_component::PageStream<Pin, StateError> {
        futures::stream::empty().boxed()
    }

    fn len(&self) -> Result<u64, StateError> {
        Ok(1)
    }

    fn digest(&self) -> Result<PinsetDigest, StateError> {
        Ok(PinsetDigest::default())
    }
}

#[tokio::test]
async fn what_the_pinset_wants_here_is_not_collected_before_it_is_pinned() {
    let (root, blocks) = file(&bytes(8, 5_000));
    let me = PeerId::random();
    let collected = |allocations: Vec<PeerId>| {
        let (blocks, mut pin) = (blocks.clone(), recursive(root));
        async move {
            pin.allocations = allocations;
            let wanted = Wanted { pinset: Arc::new(One(pin)), me };
            let made = node_with(EmbeddedConfig::default(), None, Some(wanted));
            put(&made.node, &blocks).await;
            made.node.repo_gc().await.expect("collected").len()
        }
    };

    assert_eq!(collected(vec![me]).await, 0);
    assert_eq!(collected(vec![]).await, 0);
    assert_eq!(collected(vec![PeerId::random()]).await, blocks.len());
}

#[tokio::test]
async fn adds_and_collections_at_the_same_time_lose_nothing() {
    let made = node();
    let node = &made.node;
    let files: Vec<_> = (0..20).map(|seed| (seed, file(&bytes(100 + seed, 30_000)))).collect();

    let adds = futures::stream::iter(&files).for_each_concurrent(4, |(_, (root, blocks))| async move {
        let _lease = node.lease();
        put(node, blocks).await;
        node.pin(&recursive(*root), None).await.expect("pinned");
    });
    let collect = async {
        for _ in 0..30 {
            node.repo_gc().await.expect("collected");
        }
    };
    futures::join!(adds, collect);

    for (seed, (root, _)) in &files {
        assert_eq!(read(node, *root).await, bytes(100 + seed, 30_000));
    }
}

#[tokio::test]
async fn a_full_node_says_so_and_takes_nothing() {
    let config = EmbeddedConfig { storage_max: "100kB".into(), ..EmbeddedConfig::default() };
    let Made { node, folder: _folder, .. } = node_with(config, None, None);
    let (root, blocks) = file(&bytes(9, 200_000));

    let error = node.block_put(stream_of(&blocks)).await.expect_err("full");

    assert!(matches!(error, ConnectorError::Full(_)), "{error:?}");
    assert!(error.to_string().contains("storage_max"), "{error}");
    node.block_get(&root).await.expect_err("not there");
    assert!(node.repo_stat().await.expect("a size").repo_size <= 100_000);
}

#[tokio::test]
async fn parts_of_what_is_pinned_are_listed_as_indirect() {
    let Made { node, folder: _folder, .. } = node();
    let (root, blocks) = file(&bytes(10, 10_000));
    put(&node, &blocks).await;
    node.pin(&recursive(root), None).await.expect("pinned");

    let kinds = [IpfsPinStatus::Recursive, IpfsPinStatus::Indirect];
    let pages: Vec<_> = Arc::clone(&node).pin_ls(&kinds).try_collect().await.expect("listed");
    let rows: Vec<_> = pages.into_iter().flatten().collect();

    assert_eq!(rows.len(), blocks.len());
    assert_eq!(
        rows.iter().filter(|row| row.status == IpfsPinStatus::Recursive).map(|row| row.cid).collect::<Vec<_>>(),
        [root]
    );
}

#[tokio::test]
async fn pins_and_blocks_are_there_after_power_was_lost() {
    let Made { node, folder, store, .. } = node();
    let (root, blocks) = file(&bytes(11, 50_000));
    put(&node, &blocks).await;
    node.pin(&recursive(root), None).await.expect("pinned");
    let id = node.id().await.expect("an id");
    let lost = store.crash();
    drop(node);

    let again = reopen(folder, lost);

    assert_eq!(again.node.pin_ls_cid(&recursive(root)).await, Ok(IpfsPinStatus::Recursive));
    assert_eq!(read(&again.node, root).await, bytes(11, 50_000));
    assert_eq!(again.node.id().await.expect("an id"), id);
}

#[tokio::test]
async fn a_collection_waits_for_no_pin_and_a_pin_for_no_collection() {
    let Made { node, folder: _folder, .. } = node();
    let (root, blocks) = file(&bytes(12, 10_000));
    put(&node, &blocks[..3]).await;
    let pin = recursive(root);
    let mut work = node.pin(&pin, None);
    assert_eq!((&mut work).now_or_never(), None);

    node.repo_gc().await.expect("collected");

    put(&node, &blocks).await;
    work.await.expect("pinned");
    assert_eq!(read(&node, root).await, bytes(12, 10_000));
}
