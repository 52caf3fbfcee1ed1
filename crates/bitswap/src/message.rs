//! What peers say to each other, and its form on the wire.

use crate::Version;
use bytes::Bytes;
use cid::Cid;
use multihash_codetable::{Code, MultihashDigest};
use prost::Message as _;

/// The largest block, in bytes, as the specification: larger ones are neither sent nor taken.
pub const BLOCK_MAX: usize = 2 << 20;

/// The codes of the hash that CIDs of version 0 have.
const SHA2_256: u64 = 0x12;
const DAG_PB: u64 = 0x70;

/// What is wanted of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// Its bytes.
    Block,
    /// Whether the peer has it.
    Have,
}

/// One line of a wantlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Of which block.
    pub cid: Cid,
    /// Higher is more urgent.
    pub priority: i32,
    /// It is no longer wanted.
    pub cancel: bool,
    /// What is wanted.
    pub want: Want,
    /// Whether the peer shall say that it does not have it.
    pub send_dont_have: bool,
}

/// Whether a peer has a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It has.
    Have,
    /// It has not.
    DontHave,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The wants are all that there are: what was wanted before and is not among them no longer is.
    pub full: bool,
    /// Wants, and cancellations.
    pub wants: Vec<Entry>,
    /// Blocks. Those of a decoded message are named by their own bytes.
    pub blocks: Vec<(Cid, Bytes)>,
    /// Who has what.
    pub presences: Vec<(Cid, Presence)>,
    /// Bytes that wait to be sent.
    pub pending_bytes: i32,
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no message of bitswap: {0}")]
pub struct Malformed(String);

#[derive(Clone, PartialEq, prost::Message)]
struct WireMessage {
    #[prost(message, optional, tag = "1")]
    wantlist: Option<WireWantlist>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    blocks: Vec<Bytes>,
    #[prost(message, repeated, tag = "3")]
    payload: Vec<WireBlock>,
    #[prost(message, repeated, tag = "4")]
    presences: Vec<WirePresence>,
    #[prost(int32, tag = "5")]
    pending_bytes: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireWantlist {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<WireEntry>,
    #[prost(bool, tag = "2")]
    full: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireEntry {
    #[prost(bytes = "bytes", tag = "1")]
    cid: Bytes,
    #[prost(int32, tag = "2")]
    priority: i32,
    #[prost(bool, tag = "3")]
    cancel: bool,
    #[prost(int32, tag = "4")]
    want: i32,
    #[prost(bool, tag = "5")]
    send_dont_have: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireBlock {
    #[prost(bytes = "bytes", tag = "1")]
    prefix: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WirePresence {
    #[prost(bytes = "bytes", tag = "1")]
    cid: Bytes,
    #[prost(int32, tag = "2")]
    presence: i32,
}

impl Message {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.full && self.wants.is_empty() && self.blocks.is_empty() && self.presences.is_empty()
    }

    /// The message as a peer of a version understands it: an older one is asked for blocks where it cannot be asked
    /// whether it has them.
    #[must_use]
    pub fn encode(&self, version: Version) -> Vec<u8> {
        let entries = self.wants.iter().map(|entry| WireEntry {
            cid: Bytes::from(entry.cid.to_bytes()),
            priority: entry.priority,
            cancel: entry.cancel,
            want: i32::from(entry.want == Want::Have && version >= Version::V1_2_0),
            send_dont_have: entry.send_dont_have && version >= Version::V1_2_0,
        });
        let mut wire = WireMessage {
            wantlist: Some(WireWantlist { entries: entries.collect(), full: self.full }),
            pending_bytes: self.pending_bytes,
            ..WireMessage::default()
        };
        if version == Version::V1_0_0 {
            wire.blocks = self.blocks.iter().map(|(_, data)| data.clone()).collect();
        } else {
            let block = |(cid, data): &(Cid, Bytes)| WireBlock { prefix: prefix(cid).into(), data: data.clone() };
            wire.payload = self.blocks.iter().map(block).collect();
        }
        if version >= Version::V1_2_0 {
            let presence = |(cid, presence): &(Cid, Presence)| WirePresence {
                cid: Bytes::from(cid.to_bytes()),
                presence: i32::from(*presence == Presence::DontHave),
            };
            wire.presences = self.presences.iter().map(presence).collect();
        }
        wire.encode_to_vec()
    }

    /// Reads a message. Blocks get the CIDs that their bytes have.
    ///
    /// # Errors
    /// When the bytes are no message, a CID in it is none, a block is too large, or its hash function is unknown.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let wire = WireMessage::decode(bytes).map_err(|error| Malformed(error.to_string()))?;
        let wantlist = wire.wantlist.unwrap_or_default();
        let wants = wantlist.entries.iter().map(WireEntry::read).collect::<Result<_, _>>()?;
        let old = wire.blocks.into_iter().map(|data| block(Kind::V0, data));
        let new = wire.payload.into_iter().map(|WireBlock { prefix, data }| block(Kind::of(&prefix)?, data));
        let blocks = old.chain(new).collect::<Result<_, _>>()?;
        let presence = |presence: WirePresence| Ok((cid(&presence.cid)?, Presence::of(presence.presence)?));
        Ok(Self {
            full: wantlist.full,
            wants,
            blocks,
            presences: wire.presences.into_iter().map(presence).collect::<Result<_, Malformed>>()?,
            pending_bytes: wire.pending_bytes,
        })
    }
}

impl WireEntry {
    fn read(&self) -> Result<Entry, Malformed> {
        let want = match self.want {
            0 => Want::Block,
            1 => Want::Have,
            other => return Err(Malformed(format!("a want of the unknown kind {other}"))),
        };
        let (cancel, send_dont_have) = (self.cancel, self.send_dont_have);
        Ok(Entry { cid: cid(&self.cid)?, priority: self.priority, cancel, want, send_dont_have })
    }
}

impl Presence {
    fn of(number: i32) -> Result<Self, Malformed> {
        match number {
            0 => Ok(Self::Have),
            1 => Ok(Self::DontHave),
            other => Err(Malformed(format!("a presence of the unknown kind {other}"))),
        }
    }
}

/// Whether these bytes are the block of this name; `false` also if its hash function is unknown.
#[must_use]
pub fn is_named(cid: &Cid, data: &[u8]) -> bool {
    Code::try_from(cid.hash().code()).is_ok_and(|function| function.digest(data) == *cid.hash())
}

fn cid(bytes: &[u8]) -> Result<Cid, Malformed> {
    Cid::try_from(bytes).map_err(|error| Malformed(format!("a CID that is none: {error}")))
}

/// The CID without its digest: version, codec, hash function and length of the digest.
fn prefix(cid: &Cid) -> Vec<u8> {
    let mut out = Vec::new();
    let length = u64::from(cid.hash().size());
    for number in [u64::from(cid.version()), cid.codec(), cid.hash().code(), length] {
        out.extend_from_slice(unsigned_varint::encode::u64(number, &mut unsigned_varint::encode::u64_buffer()));
    }
    out
}

/// Of what kind the CID of a block is.
enum Kind {
    V0,
    V1 { codec: u64, hash: u64 },
}

impl Kind {
    fn of(prefix: &[u8]) -> Result<Self, Malformed> {
        let mut numbers = [0_u64; 4];
        let mut rest = prefix;
        for number in &mut numbers {
            (*number, rest) =
                unsigned_varint::decode::u64(rest).map_err(|error| Malformed(format!("a block's prefix: {error}")))?;
        }
        match numbers {
            [0, DAG_PB, SHA2_256, 32] => Ok(Self::V0),
            [1, codec, hash, _] => Ok(Self::V1 { codec, hash }),
            [version, ..] => Err(Malformed(format!("a block of the unknown CID version {version}"))),
        }
    }
}

fn block(kind: Kind, data: Bytes) -> Result<(Cid, Bytes), Malformed> {
    if data.len() > BLOCK_MAX {
        return Err(Malformed(format!("a block of {} bytes, more than {BLOCK_MAX}", data.len())));
    }
    let cid = match kind {
        Kind::V0 => Cid::new_v0(Code::Sha2_256.digest(&data)).map_err(|error| Malformed(error.to_string()))?,
        Kind::V1 { codec, hash } => {
            let function =
                Code::try_from(hash).map_err(|_| Malformed(format!("the unknown hash function {hash:#x}")))?;
            Cid::new_v1(codec, function.digest(&data))
        }
    };
    Ok((cid, data))
}

#[cfg(test)]
mod tests;
