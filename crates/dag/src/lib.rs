//! Pure DAG work: files and directories become blocks with the names that Kubo gives them.
//!
//! No I/O, no async, nothing of clusters. Reading order: [`pb`] (nodes as bytes), [`hash`] (names of blocks), [mod@file]
//! (a file, pushed in pieces; cut by `chunk`, written by
//! `leaf`, laid out here or by `trickle`), [`tree`] (directories, packed by `entries`), [`read`] (paths, listings, ranges), [`links`] (walks),
//! [`car`], [`shard`], [`data`] (dag-cbor and dag-json).
//!
//! ```
//! use dag::file::{FileBuilder, Options};
//!
//! let mut blocks = Vec::new();
//! let mut builder = FileBuilder::new(Options::default());
//! builder.push(b"hello\n", &mut |block| blocks.push(block));
//! let root = builder.finish(&mut |block| blocks.push(block));
//! assert_eq!(root.cid.to_string(), "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN");
//! ```

pub mod car;
mod chunk;
pub mod data;
mod entries;
pub mod file;
mod hamt;
pub mod hash;
mod leaf;
pub mod links;
pub mod options;
pub mod pb;
pub mod read;
pub mod shard;
pub mod tree;
mod trickle;

use bytes::Bytes;
use cid::Cid;

/// A block and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its name.
    pub cid: Cid,
    /// Its bytes.
    pub data: Bytes,
}

/// Codec of bare bytes.
pub const RAW: u64 = 0x55;

/// Codec of dag-pb nodes.
pub const DAG_PB: u64 = 0x70;
