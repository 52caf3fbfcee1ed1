//! What travels: a delta (protocol buffers) in the data of a dag-pb node whose links are the heads it was made upon.
//!
//! Written byte for byte as go-ds-crdt does; read as leniently: links with or without name and size, data before links.

use cluster_types::Cid;
use sha2::{Digest, Sha256};
use unsigned_varint::{decode, encode};

/// Codec of dag-pb, multihash code of SHA2-256.
const DAG_PB: u64 = 0x70;
const SHA2_256: u64 = 0x12;

/// Most links of a node that is taken in.
const LINKS_MAX: usize = 100_000;

/// An addition, or with `id` a removal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// `/` and the base32 text of the pinned CID.
    pub key: String,
    /// In removals: the block key of the node that added it.
    pub id: String,
    /// In additions: the stored pin.
    pub value: Vec<u8>,
}

/// What a node changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// Additions.
    pub elements: Vec<Element>,
    /// Removals.
    pub tombstones: Vec<Element>,
    /// The node's height.
    pub priority: u64,
}

/// A node: a delta on top of heads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// What it changes.
    pub delta: Delta,
    /// What it was made upon.
    pub links: Vec<Cid>,
}

/// Why bytes are no such node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// They are not protocol buffers, or end too early.
    #[error("the block is malformed")]
    Malformed,
    /// It has no delta.
    #[error("the block holds no delta")]
    NoDelta,
    /// A link is no CID.
    #[error("the block links to something that is no CID")]
    BadLink,
    /// It links to more nodes than is allowed.
    #[error("the block has more than {LINKS_MAX} links")]
    TooManyLinks,
}

/// The CID of a block of this kind.
#[must_use]
pub fn cid_of(block: &[u8]) -> Cid {
    let digest = Sha256::digest(block);
    let hash = multihash::Multihash::wrap(SHA2_256, &digest).expect("32 bytes fit into a multihash");
    Cid::from(cid_v1(hash))
}

fn cid_v1(hash: multihash::Multihash<64>) -> cid::Cid {
    cid::Cid::new_v1(DAG_PB, hash)
}

/// The CID of a node whose multihash is known.
#[must_use]
pub fn cid_of_multihash(bytes: &[u8]) -> Option<Cid> {
    multihash::Multihash::from_bytes(bytes).ok().map(|hash| Cid::from(cid_v1(hash)))
}

impl Delta {
    /// Bytes that the delta takes without its priority: what the limit of a delta counts.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let field = |len: usize| 1 + varint_len(len as u64) + len;
        let sum = |list: &[Element]| list.iter().map(|e| field(e.encoded_len())).sum::<usize>();
        sum(&self.elements) + sum(&self.tombstones)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for (field, list) in [(1, &self.elements), (2, &self.tombstones)] {
            for element in list {
                key(out, field, 2);
                varint(out, element.encoded_len() as u64);
                element.encode(out);
            }
        }
        if self.priority > 0 {
            key(out, 3, 0);
            varint(out, self.priority);
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, DeltaError> {
        let mut delta = Self::default();
        let mut fields = Fields(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Field::Bytes(bytes)) => delta.elements.push(Element::decode(bytes)?),
                (2, Field::Bytes(bytes)) => delta.tombstones.push(Element::decode(bytes)?),
                (3, Field::Number(priority)) => delta.priority = priority,
                _ => {}
            }
        }
        Ok(delta)
    }
}

impl Element {
    /// Bytes that the element takes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let field = |len: usize| if len == 0 { 0 } else { 1 + varint_len(len as u64) + len };
        field(self.key.len()) + field(self.id.len()) + field(self.value.len())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for (field, bytes) in [(1, self.key.as_bytes()), (2, self.id.as_bytes()), (3, &self.value)] {
            if !bytes.is_empty() {
                key(out, field, 2);
                varint(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, DeltaError> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| DeltaError::Malformed);
        let mut element = Self::default();
        let mut fields = Fields(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Field::Bytes(bytes)) => element.key = text(bytes)?,
                (2, Field::Bytes(bytes)) => element.id = text(bytes)?,
                (3, Field::Bytes(bytes)) => element.value = bytes.to_vec(),
                _ => {}
            }
        }
        Ok(element)
    }
}

impl Node {
    /// The block: links first, then data; each link with an empty name and the size 0 written out, as go-ds-crdt.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut delta = Vec::with_capacity(self.delta.encoded_len() + 16);
        self.delta.encode(&mut delta);
        let mut out = Vec::with_capacity(delta.len() + self.links.len() * 48 + 16);
        for link in &self.links {
            let hash = link.to_bytes();
            key(&mut out, 2, 2);
            varint(&mut out, (1 + varint_len(hash.len() as u64) + hash.len() + 4) as u64);
            key(&mut out, 1, 2);
            varint(&mut out, hash.len() as u64);
            out.extend_from_slice(&hash);
            out.extend_from_slice(&[0x12, 0, 0x18, 0]);
        }
        key(&mut out, 1, 2);
        varint(&mut out, delta.len() as u64);
        out.extend_from_slice(&delta);
        out
    }

    /// Reads a block.
    ///
    /// # Errors
    /// When it is no node with a delta.
    pub fn decode(block: &[u8]) -> Result<Self, DeltaError> {
        let (mut links, mut delta) = (Vec::new(), None);
        let mut fields = Fields(block);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Field::Bytes(bytes)) => delta = Some(Delta::decode(bytes)?),
                (2, Field::Bytes(_)) if links.len() == LINKS_MAX => return Err(DeltaError::TooManyLinks),
                (2, Field::Bytes(bytes)) => links.push(link(bytes)?),
                _ => {}
            }
        }
        Ok(Self { delta: delta.ok_or(DeltaError::NoDelta)?, links })
    }
}

fn link(bytes: &[u8]) -> Result<Cid, DeltaError> {
    let mut fields = Fields(bytes);
    while let Some((number, value)) = fields.next()? {
        if let (1, Field::Bytes(bytes)) = (number, value) {
            return Cid::from_bytes(bytes).map_err(|_| DeltaError::BadLink);
        }
    }
    Err(DeltaError::BadLink)
}

/// The announcement of heads: `CRDTBroadcast`.
#[must_use]
pub fn encode_heads(heads: &[Cid]) -> Vec<u8> {
    let mut out = Vec::new();
    for head in heads {
        let bytes = head.to_bytes();
        key(&mut out, 1, 2);
        varint(&mut out, (1 + varint_len(bytes.len() as u64) + bytes.len()) as u64);
        key(&mut out, 1, 2);
        varint(&mut out, bytes.len() as u64);
        out.extend_from_slice(&bytes);
    }
    out
}

/// Reads an announcement.
///
/// # Errors
/// When it is none.
pub fn decode_heads(bytes: &[u8]) -> Result<Vec<Cid>, DeltaError> {
    let mut heads = Vec::new();
    let mut fields = Fields(bytes);
    while let Some((number, value)) = fields.next()? {
        if let (1, Field::Bytes(bytes)) = (number, value) {
            heads.push(link(bytes)?);
        }
        if heads.len() > LINKS_MAX {
            return Err(DeltaError::TooManyLinks);
        }
    }
    Ok(heads)
}

fn key(out: &mut Vec<u8>, field: u64, kind: u64) {
    varint(out, field << 3 | kind);
}

fn varint(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(encode::u64(number, &mut encode::u64_buffer()));
}

fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u64, DeltaError> {
        let (number, rest) = decode::u64(self.0).map_err(|_| DeltaError::Malformed)?;
        self.0 = rest;
        Ok(number)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], DeltaError> {
        let count = usize::try_from(count).map_err(|_| DeltaError::Malformed)?;
        let (head, rest) = self.0.split_at_checked(count).ok_or(DeltaError::Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, DeltaError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.number()?;
        let field = match key & 7 {
            0 => Field::Number(self.number()?),
            1 => self.take(8).map(|_| Field::Other)?,
            2 => {
                let count = self.number()?;
                Field::Bytes(self.take(count)?)
            }
            5 => self.take(4).map(|_| Field::Other)?,
            _ => return Err(DeltaError::Malformed),
        };
        Ok(Some((key >> 3, field)))
    }
}
