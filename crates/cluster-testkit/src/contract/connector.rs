//! What every [`IpfsConnector`] must do.

use bytes::Bytes;
use cluster_component::component::{Blocks, IpfsConnector};
use cluster_component::errors::{ClusterError, ConnectorError};
use cluster_component::ports::Block;
use cluster_types::{Cid, IpfsPinStatus, Pin, PinMode, PinOptions};
use futures::{StreamExt, TryStreamExt, stream};
use std::future::Future;
use std::sync::Arc;

/// A connector, and what must live as long as it.
pub type MadeConnector<G> = (Arc<dyn IpfsConnector>, G);

/// The suite of [`IpfsConnector`]: each connector that is made is of a daemon that holds nothing.
///
/// # Panics
/// When the connector does not do what it must.
pub async fn run<G, F>(make: impl Fn() -> F)
where
    F: Future<Output = MadeConnector<G>>,
{
    says_who_the_daemon_is(&*make().await.0).await;
    gives_back_the_blocks_that_it_was_given(&*make().await.0).await;
    refuses_blocks_whose_end_never_comes(&*make().await.0).await;
    holds_what_is_pinned_until_it_is_unpinned(make().await.0).await;
    holds_a_single_block_when_asked_for_that(make().await.0).await;
    holds_many_items_that_come_at_the_same_time(make().await.0).await;
    collects_what_is_not_held_and_nothing_else(&*make().await.0).await;
    resolves_paths(&*make().await.0).await;
}

/// Blocks of the texts `block <n>`, with the names that Kubo gives them as raw leaves.
const BLOCKS: [(&str, &str); 4] = [
    ("block 0", "bafkreifsqdkbv24zlprx5ptvstfbga3p56u5fgyziak2cnyhoal3xyhji4"),
    ("block 1", "bafkreigkxw67uawgckuwkls6jfs5xemawjpgr76nwtpljmtytevdsz6gp4"),
    ("block 2", "bafkreib4eaa2vthkwia4sw5p66n5cdnihlps5yt37bdho7elpdpf53louu"),
    ("block 3", "bafkreicwo5ck4xgs6z5kl3je2aplcyohipe323dc34wqpo7xb2th3zc2vm"),
];

fn block(at: usize) -> Block {
    let (text, cid) = BLOCKS[at];
    Block::claimed(cid.parse().expect("a CID"), Bytes::from_static(text.as_bytes()))
}

fn all_blocks() -> Vec<Block> {
    (0..BLOCKS.len()).map(block).collect()
}

fn stream_of(blocks: Vec<Block>) -> Blocks {
    // One that must not be polled after its end, as those of adders are.
    stream::unfold(blocks.into_iter(), |mut rest| async move { rest.next().map(|block| (Ok(block), rest)) }).boxed()
}

fn pin(cid: Cid, mode: PinMode) -> Pin {
    let mut pin = Pin::new(cid, PinOptions { mode, ..PinOptions::default() });
    pin.max_depth = mode.max_depth();
    pin
}

async fn listed(connector: &Arc<dyn IpfsConnector>, kind: IpfsPinStatus) -> Vec<Cid> {
    let pages: Vec<_> = Arc::clone(connector).pin_ls(&[kind]).try_collect().await.expect("a list");
    assert!(pages.iter().all(|page| !page.is_empty()), "an empty page");
    let mut cids: Vec<Cid> =
        pages.into_iter().flatten().inspect(|row| assert_eq!(row.status, kind)).map(|row| row.cid).collect();
    cids.sort();
    cids
}

async fn says_who_the_daemon_is(connector: &dyn IpfsConnector) {
    connector.ready().await.expect("ready");
    let id = connector.id().await.expect("an id");
    assert!(id.id.is_some());
    assert_eq!(connector.id().await.expect("an id").id, id.id);
    connector.connect_swarms(&[]).await.expect("nothing to connect to");
    connector.swarm_peers().await.expect("peers");
    let stat = connector.repo_stat().await.expect("a size");
    assert!(stat.repo_size <= stat.storage_max, "{stat:?}");
}

async fn gives_back_the_blocks_that_it_was_given(connector: &dyn IpfsConnector) {
    connector.block_put(stream_of(all_blocks())).await.expect("stored");
    // A second time is as good as the first.
    connector.block_put(stream_of(all_blocks())).await.expect("stored again");
    for block in all_blocks() {
        assert_eq!(connector.block_get(&block.cid).await, Ok(block.data));
    }
    let unknown = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy".parse().expect("a CID");
    let error = connector.block_get(&unknown).await.expect_err("not there");
    assert!(error.is_retryable(), "it can come: {error:?}");
}

async fn refuses_blocks_whose_end_never_comes(connector: &dyn IpfsConnector) {
    let cut = ClusterError::Body("the client went away".into());
    let blocks = stream::iter([Ok(block(0)), Err(cut)]).boxed();
    let error = connector.block_put(blocks).await.expect_err("half of the blocks are not all");
    assert!(matches!(&error, ConnectorError::Invalid(text) if text.contains("the client went away")), "{error:?}");
}

async fn holds_what_is_pinned_until_it_is_unpinned(connector: Arc<dyn IpfsConnector>) {
    connector.block_put(stream_of(all_blocks())).await.expect("stored");
    let wanted = pin(block(0).cid, PinMode::Recursive);
    assert_eq!(connector.pin_ls_cid(&wanted).await, Ok(IpfsPinStatus::Unpinned));

    connector.pin(&wanted, None).await.expect("pinned");
    connector.pin(&wanted, None).await.expect("pinned already");

    assert_eq!(connector.pin_ls_cid(&wanted).await, Ok(IpfsPinStatus::Recursive));
    assert_eq!(listed(&connector, IpfsPinStatus::Recursive).await, [wanted.cid]);
    assert_eq!(listed(&connector, IpfsPinStatus::Direct).await, []);

    connector.unpin(&wanted.cid).await.expect("unpinned");
    connector.unpin(&wanted.cid).await.expect("nothing left to unpin");

    assert_eq!(connector.pin_ls_cid(&wanted).await, Ok(IpfsPinStatus::Unpinned));
    assert_eq!(listed(&connector, IpfsPinStatus::Recursive).await, []);
}

async fn holds_a_single_block_when_asked_for_that(connector: Arc<dyn IpfsConnector>) {
    connector.block_put(stream_of(all_blocks())).await.expect("stored");
    let wanted = pin(block(1).cid, PinMode::Direct);

    connector.pin(&wanted, None).await.expect("pinned");

    assert_eq!(connector.pin_ls_cid(&wanted).await, Ok(IpfsPinStatus::Direct));
    assert_eq!(listed(&connector, IpfsPinStatus::Direct).await, [wanted.cid]);
    assert_eq!(listed(&connector, IpfsPinStatus::Recursive).await, []);
    connector.unpin(&wanted.cid).await.expect("unpinned");
    assert_eq!(listed(&connector, IpfsPinStatus::Direct).await, []);
}

async fn holds_many_items_that_come_at_the_same_time(connector: Arc<dyn IpfsConnector>) {
    connector.block_put(stream_of(all_blocks())).await.expect("stored");
    let pins: Vec<Pin> = all_blocks().iter().map(|block| pin(block.cid, PinMode::Recursive)).collect();

    let all = futures::future::join_all(pins.iter().map(|pin| connector.pin(pin, None))).await;

    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let mut wanted: Vec<Cid> = pins.iter().map(|pin| pin.cid).collect();
    wanted.sort();
    assert_eq!(listed(&connector, IpfsPinStatus::Recursive).await, wanted);
}

async fn collects_what_is_not_held_and_nothing_else(connector: &dyn IpfsConnector) {
    let kept = block(0);
    connector.block_put(stream_of(vec![kept.clone()])).await.expect("stored");
    connector.pin(&pin(kept.cid, PinMode::Recursive), None).await.expect("pinned");

    let rows = connector.repo_gc().await.expect("collected");
    assert_eq!(rows, []);
    assert_eq!(connector.block_get(&kept.cid).await, Ok(kept.data));

    connector.unpin(&kept.cid).await.expect("unpinned");
    let rows = connector.repo_gc().await.expect("collected");
    // Daemons know blocks by their hash, and name them anew.
    let hashes: Vec<_> = rows.iter().filter_map(|row| row.key).map(|cid| *cid.hash()).collect();
    assert_eq!(hashes, [*kept.cid.hash()]);
    connector.block_get(&kept.cid).await.expect_err("collected");
}

async fn resolves_paths(connector: &dyn IpfsConnector) {
    let cid = block(0).cid;
    assert_eq!(connector.resolve(&format!("/ipfs/{cid}")).await, Ok(cid));
    assert_eq!(connector.resolve(&cid.to_string()).await, Ok(cid));
    let error = connector.resolve("/ipfs/nonsense").await.expect_err("no path");
    assert!(matches!(error, ConnectorError::Invalid(_)), "{error:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FakeConnector;

    #[tokio::test]
    async fn the_fake_passes() {
        run(|| async { (Arc::new(FakeConnector::default()) as Arc<dyn IpfsConnector>, ()) }).await;
    }
}
