//! Our layout of the replica on disk.
//!
//! ```text
//! crdt_meta      "version"             → 1
//!                "next"                → number of the next node, 8 bytes big-endian
//!                "count"               → pins that are listed, 8 bytes big-endian
//!                "digest"              → what stands for those pins, 32 bytes; written with the first change
//!                "dirty"               → empty: blocks may be missing below the heads
//!                "h" + CID             → height of this head, 8 bytes big-endian
//! crdt_index     multihash of a node   → number, 8 bytes big-endian, and 1 if it is processed, else 0
//! crdt_nodes     number                → multihash
//! crdt_blocks    number                → block
//! crdt_elements  sort key of a CID     → row (below); elements whose key is no CID: 0xff and the key's text
//! crdt_tombs     multihash + key       → empty: this node's addition of the key is removed
//!
//! row:  varint priority │ varint number of adders │ varint each adder's node number │ value to the end
//! ```
//!
//! A row holds everything that is live of an element, in one place; go-ds-crdt keeps five or six keys for it. A node
//! is named by a number, since its 34-byte hash would be repeated in every row.

use super::delta::cid_of_multihash;
use cluster_types::Cid;
use data_encoding::BASE32_NOPAD;
use unsigned_varint::{decode, encode};

/// The version of this layout.
pub const VERSION: u8 = 1;

/// Before the text of an element's key that is no CID. No sort key of a CID begins with it.
const FOREIGN: u8 = 0xff;

/// A node's number.
pub type NodeNumber = u64;

/// The row key of an element, by its key's text.
#[must_use]
pub fn row_key(text: &str) -> Vec<u8> {
    match cid_of_key(text) {
        Some(cid) => cid.sort_key(),
        None => [&[FOREIGN], text.as_bytes()].concat(),
    }
}

/// The text of an element's key, by its row key.
#[must_use]
pub fn key_text(row_key: &[u8]) -> Option<String> {
    match row_key.split_first()? {
        (&FOREIGN, text) => String::from_utf8(text.to_vec()).ok(),
        _ => Cid::from_sort_key(row_key).ok().map(|cid| key_of_cid(&cid)),
    }
}

/// Whether a row that [`row_key`] named is about a CID.
#[must_use]
pub fn is_pin(row_key: &[u8]) -> bool {
    row_key.first() != Some(&FOREIGN)
}

/// The CID that a row is about, unless its element is none of ours.
#[must_use]
pub fn cid_of_row_key(row_key: &[u8]) -> Option<Cid> {
    if is_pin(row_key) { Cid::from_sort_key(row_key).ok() } else { None }
}

/// The element key of a pinned CID.
#[must_use]
pub fn key_of_cid(cid: &Cid) -> String {
    format!("/{}", cid.to_key_text())
}

/// The pinned CID of an element key.
#[must_use]
pub fn cid_of_key(text: &str) -> Option<Cid> {
    let bytes = BASE32_NOPAD.decode(text.strip_prefix('/')?.as_bytes()).ok()?;
    Cid::from_bytes(&bytes).ok()
}

/// The block key of a node, by which removals name it.
#[must_use]
pub fn block_key(multihash: &[u8]) -> String {
    format!("/{}", BASE32_NOPAD.encode(multihash))
}

/// The multihash of the node that a block key names.
#[must_use]
pub fn multihash_of_block_key(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE32_NOPAD.decode(text.strip_prefix('/').unwrap_or(text).as_bytes()).ok()?;
    cid_of_multihash(&bytes).map(|_| bytes)
}

/// The key of a tombstone.
#[must_use]
pub fn tomb_key(multihash: &[u8], row_key: &[u8]) -> Vec<u8> {
    [multihash, row_key].concat()
}

/// A live element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// Height of the node whose value counts.
    pub priority: u64,
    /// The nodes that added it and were not removed, ascending.
    pub adders: Vec<NodeNumber>,
    /// The value.
    pub value: Vec<u8>,
}

impl Row {
    /// The row's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.value.len() + 8 + self.adders.len() * 4);
        let mut buffer = encode::u64_buffer();
        out.extend_from_slice(encode::u64(self.priority, &mut buffer));
        out.extend_from_slice(encode::u64(self.adders.len() as u64, &mut buffer));
        for adder in &self.adders {
            out.extend_from_slice(encode::u64(*adder, &mut buffer));
        }
        out.extend_from_slice(&self.value);
        out
    }

    /// Reads a row; `None` if it is damaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (priority, rest) = decode::u64(bytes).ok()?;
        let (count, mut rest) = decode::u64(rest).ok()?;
        let mut adders = Vec::new();
        for _ in 0..count {
            let (adder, after) = decode::u64(rest).ok()?;
            adders.push(adder);
            rest = after;
        }
        Some(Self { priority, adders, value: rest.to_vec() })
    }
}

/// The value of an element, by its row; `None` if the row is damaged. What a state reads pins with.
#[must_use]
pub fn element_value(row: &[u8]) -> Option<&[u8]> {
    let (_, rest) = decode::u64(row).ok()?;
    let (count, mut rest) = decode::u64(rest).ok()?;
    for _ in 0..count {
        rest = decode::u64(rest).ok()?.1;
    }
    Some(rest)
}
