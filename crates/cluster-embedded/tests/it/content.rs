//! Files, directories and CAR files as a gateway reads them.

use crate::support::{Made, bytes, file, node, put};
use bytes::Bytes;
use cluster_component::content::{CarScope, Content, ContentEntry, ContentKind, Duplicates, EntityBytes};
use cluster_component::errors::ConnectorError;
use cluster_component::ports::Block;
use cluster_types::Cid;
use dag::hash::Naming;
use dag::tree::{Directory, Entry};
use futures::TryStreamExt;
use std::sync::Arc;

/// A directory `d` with the file `sub/f`, of these bytes.
async fn with_directory(made: &Made, content: &[u8]) -> (Cid, Cid, Arc<dyn Content>) {
    let (root, mut blocks) = file(content);
    let mut tree = Directory::default();
    tree.put("d/sub/f", Entry { cid: *root, tsize: content.len() as u64 }).expect("put");
    let mut made_blocks = |block: dag::Block| blocks.push(Block::claimed(Cid(block.cid), block.data));
    let top = tree.finish_entry("d", Naming::default(), &mut made_blocks, &mut |_, _| {}).expect("ok").expect("there");
    put(&made.node, &blocks).await;
    (Cid(top.cid), root, made.node.content())
}

async fn all(bytes: cluster_component::content::ContentBytes) -> Result<Vec<u8>, ConnectorError> {
    Ok(bytes.try_collect::<Vec<Bytes>>().await?.concat())
}

#[tokio::test]
async fn paths_listings_and_ranges_are_read() {
    let made = node();
    let text = bytes(1, 3_000_000);
    let (top, root, content) = with_directory(&made, &text).await;

    let found = content.resolve(&top, "sub/f").await.expect("there");
    assert_eq!((found.cid, found.passed.len(), found.passed[0]), (root, 3, top));
    assert_eq!(content.kind(&top).await, Ok(ContentKind::Directory));
    assert_eq!(content.kind(&root).await, Ok(ContentKind::File(3_000_000)));
    let entries: Vec<Vec<ContentEntry>> =
        Arc::clone(&content).list(found.passed[1]).try_collect().await.expect("listed");
    assert_eq!(entries.concat().iter().map(|e| (e.name.as_str(), e.cid)).collect::<Vec<_>>(), [("f", root)]);
    assert!(all(Arc::clone(&content).read(root, 0..u64::MAX)).await.expect("whole") == text);
    assert!(all(Arc::clone(&content).read(root, 999..1_234_567)).await.expect("part") == text[999..1_234_567]);

    let error = content.resolve(&top, "sub/none").await.expect_err("not there");
    assert!(matches!(&error, ConnectorError::NotFound(text) if text.starts_with("no link named \"none\" under")));
}

#[tokio::test]
async fn a_car_file_has_the_way_and_the_dag_each_block_once() {
    let made = node();
    let (top, root, content) = with_directory(&made, &bytes(2, 5_000)).await;
    let car = |names: &str, scope| all(Arc::clone(&content).car(top, names.into(), scope, Duplicates::LeftOut));

    let whole = car("", CarScope::All).await.expect("whole");
    let file = car("sub/f", CarScope::All).await.expect("with the way");
    let block = car("", CarScope::Block).await.expect("one block");
    let entity = car("", CarScope::Entity(None)).await.expect("the directory alone");

    // The same blocks, under another root.
    assert_eq!(whole.len() - dag::car::header(&top).len(), file.len() - dag::car::header(&root).len());
    assert_eq!(
        block,
        [&dag::car::header(&top)[..], &dag::car::section(&top, &content.block(&top).await.expect("there"))].concat()
    );
    assert_eq!(block, entity);
    let part = car("sub/f", CarScope::Entity(Some(EntityBytes { from: 0, to: Some(9) }))).await.expect("a part");
    assert!(part.len() < file.len() - 3_000, "{} of {}", part.len(), file.len());
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let made = node();
    let (root, blocks) = file(&bytes(3, 5_000));
    put(&made.node, &blocks[1..]).await;
    let content = made.node.content();

    let error = all(Arc::clone(&content).read(root, 0..u64::MAX)).await.expect_err("a hole");
    assert!(matches!(&error, ConnectorError::NotFound(text) if text.contains(&blocks[0].cid.to_string())), "{error:?}");
    assert!(all(content.read(root, 1_000..5_000)).await.expect("without the hole") == bytes(3, 5_000)[1_000..]);
}
