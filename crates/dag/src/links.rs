//! Links of blocks of any codec that is known, and walks along them.

use crate::pb::Node;
use crate::{DAG_PB, RAW};
use bytes::Bytes;
use cid::Cid;
use ipld_core::codec::Links;
use serde_ipld_dagcbor::codec::DagCborCodec;
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// Codec of dag-cbor nodes.
pub const DAG_CBOR: u64 = 0x71;

/// Codec of cbor data, which knows of no links.
pub const CBOR: u64 = 0x51;

/// Codec of JSON data, which knows of no links.
pub const JSON: u64 = 0x0200;

/// Links of a walk that may wait to be followed: 1.5 GB, and as many as a block of 2 MiB has at each of 250 levels.
const WAITING_MAX: usize = 16 << 20;

/// Why links cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinksError {
    /// The bytes are not what the CID says.
    #[error("{0} is not the {1} node that its CID says")]
    Damaged(Cid, &'static str),
    /// The codec is not known, so that what belongs to it cannot be found.
    #[error("the codec 0x{1:x} of {0} is not known here: dag-pb, dag-cbor, cbor, json and raw are")]
    UnknownCodec(Cid, u64),
    /// More links wait than a walk may remember.
    #[error("the DAG below {0} is too wide to walk")]
    TooWide(Cid),
}

/// Where a block leads to.
///
/// # Errors
/// When that cannot be told.
pub fn links_of(cid: &Cid, data: &Bytes) -> Result<Vec<Cid>, LinksError> {
    match cid.codec() {
        // None of the three can have links.
        RAW | CBOR | JSON => Ok(Vec::new()),
        DAG_PB => {
            let node = Node::decode(data).map_err(|_| LinksError::Damaged(*cid, "dag-pb"))?;
            Ok(node.links.into_iter().map(|link| link.cid).collect())
        }
        DAG_CBOR => {
            let links = DagCborCodec::links(data).map_err(|_| LinksError::Damaged(*cid, "dag-cbor"))?;
            Ok(links.collect())
        }
        codec => Err(LinksError::UnknownCodec(*cid, codec)),
    }
}

/// A walk over a DAG, each block once. It says what it needs; the caller brings it.
///
/// ```
/// # use dag::links::Walk;
/// # fn block(_: &cid::Cid) -> bytes::Bytes { bytes::Bytes::new() }
/// # let root: cid::Cid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy".parse().unwrap();
/// let mut walk = Walk::new(root);
/// while let Some(cid) = walk.next() {
///     walk.supply(&cid, &block(&cid)).expect("a known codec");
/// }
/// ```
#[derive(Debug)]
pub struct Walk {
    root: Cid,
    /// 16 bytes a block, since a walk remembers every one of a large DAG; `None`: what comes again is visited again.
    seen: Option<HashSet<u128>>,
    waiting: Vec<Cid>,
}

/// A short name of a block: the beginning of its digest, together with the codec that says how it is read.
fn short(cid: &Cid) -> u128 {
    let digest = cid.hash().digest();
    let front = |bytes: &[u8]| bytes.first_chunk().map(|front| u128::from_le_bytes(*front));
    // Contents that are their own digest can begin alike.
    let own = (cid.hash().code() != 0).then(|| front(digest)).flatten();
    let name = own.or_else(|| front(&Sha256::digest(digest))).unwrap_or_default();
    name ^ u128::from(cid.codec())
}

impl Walk {
    /// From a root.
    #[must_use]
    pub fn new(root: Cid) -> Self {
        Self { root, seen: Some(HashSet::from([short(&root)])), waiting: vec![root] }
    }

    /// From a root; a block that is in several places is visited at each of them, with all that is below.
    #[must_use]
    pub fn with_duplicates(root: Cid) -> Self {
        Self { root, seen: None, waiting: vec![root] }
    }

    /// Whether it is to be visited.
    fn is_new(&mut self, cid: &Cid) -> bool {
        self.seen.as_mut().is_none_or(|seen| seen.insert(short(cid)))
    }

    /// Goes on from another root, passing over what was seen.
    pub fn also(&mut self, root: Cid) {
        if self.is_new(&root) {
            self.root = root;
            self.waiting.push(root);
        }
    }

    /// The next block, depth first. What has no links need not be supplied.
    #[allow(clippy::should_implement_trait)] // Not an iterator: between two calls the block is supplied.
    pub fn next(&mut self) -> Option<Cid> {
        self.waiting.pop()
    }

    /// Brings a block.
    ///
    /// # Errors
    /// When its links cannot be told, or when there are too many.
    pub fn supply(&mut self, cid: &Cid, data: &Bytes) -> Result<(), LinksError> {
        if cid.codec() == RAW {
            return Ok(());
        }
        // Backwards, so that the first link is followed first.
        for link in links_of(cid, data)?.into_iter().rev() {
            if self.is_new(&link) {
                self.waiting.push(link);
            }
        }
        if self.waiting.len() > WAITING_MAX { Err(LinksError::TooWide(self.root)) } else { Ok(()) }
    }
}
