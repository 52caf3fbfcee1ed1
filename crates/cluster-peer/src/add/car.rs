//! Adding CAR files: their blocks go to the peers as they are, and their roots are pinned.

use super::entries::Entries;
use bytes::Bytes;
use cluster_component::component::{Part, PartKind};
use cluster_component::errors::ClusterError;
use cluster_types::Cid;
use dag::car::read::{CarError, Item, Reader};
use dag::pb::{Node, UnixFs};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::BTreeMap;

/// Most roots of one file.
const ROOTS_MAX: usize = 1_000;

impl Entries<'_> {
    /// Reads every CAR file; returns their roots. A root whose block is not in its file is fetched when it is pinned.
    pub(super) async fn cars(
        &mut self,
        mut parts: BoxStream<'static, Result<Part, ClusterError>>,
    ) -> Result<Vec<Cid>, ClusterError> {
        let mut roots = Vec::new();
        while let Some(part) = parts.next().await {
            let part = part?;
            let PartKind::File(bytes) = part.kind else {
                return Err(ClusterError::Body("expected CAR file is not of type file".into()));
            };
            roots.extend(self.car(&part.path, bytes).await?);
        }
        Ok(roots)
    }

    async fn car(
        &mut self,
        name: &str,
        mut file: BoxStream<'static, Result<Bytes, ClusterError>>,
    ) -> Result<Vec<Cid>, ClusterError> {
        let wrong = |error: CarError| ClusterError::Body(error.to_string());
        // The roots in order, and the bytes of the files that they are, where that is known.
        let (mut reader, mut roots, mut sizes) = (Reader::default(), Vec::new(), BTreeMap::new());
        let mut bytes = 0;
        while let Some(piece) = file.next().await {
            let mut blocks = Vec::new();
            reader
                .push(&piece?, &mut |item| match item {
                    Item::Roots(listed) => roots = listed,
                    Item::Block(block) => blocks.push(block),
                })
                .map_err(wrong)?;
            if roots.len() > ROOTS_MAX {
                let count = roots.len();
                return Err(ClusterError::Body(format!("the CAR file has {count} roots: {ROOTS_MAX} may be in one")));
            }
            for block in blocks.iter().filter(|block| roots.contains(&block.cid)) {
                sizes.insert(block.cid, file_size(block));
            }
            bytes += blocks.iter().map(|block| block.data.len() as u64).sum::<u64>();
            self.send(blocks).await?;
        }
        reader.finish().map_err(wrong)?;
        if roots.is_empty() {
            return Err(ClusterError::Body("empty car, no roots".into()));
        }
        for root in &roots {
            self.tell_of(name, Cid(*root), bytes, sizes.get(root).copied().unwrap_or(0)).await?;
        }
        Ok(roots.into_iter().map(Cid).collect())
    }
}

/// Bytes of the file that a root is; of others 0, as the reference tells them.
fn file_size(root: &dag::Block) -> u64 {
    let node = (root.cid.codec() == dag::DAG_PB).then(|| Node::decode(&root.data).ok()).flatten();
    node.and_then(|node| UnixFs::decode(&node.data).ok()).and_then(|file| file.file_size).unwrap_or(0)
}
