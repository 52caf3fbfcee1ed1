//! The engine's types: names of members, what is proposed, and how entries are written.

use bytes::{BufMut, Bytes, BytesMut};
use cluster_component::component::PinsetChange;
use cluster_types::{Cid, PeerId, Pin, peer_id};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

openraft::declare_raft_types!(
    /// What the engine is made of.
    pub(crate) TypeConfig:
        D = Proposal,
        R = (),
        NodeId = Member,
        Node = (),
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = crate::snapshot::SnapshotFile,
        AsyncRuntime = openraft::TokioRuntime,
        Responder = openraft::impls::OneshotResponder<TypeConfig>,
);

pub(crate) type LogId = openraft::LogId<Member>;
pub(crate) type Membership = openraft::StoredMembership<Member, ()>;
pub(crate) type StorageError = openraft::StorageError<Member>;
pub(crate) type Engine = openraft::Raft<TypeConfig>;

/// A member: a peer, with a name for nobody, which the engine needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Member(Option<PeerId>);

impl Member {
    /// The member of this name.
    pub(crate) const fn new(peer: PeerId) -> Self {
        Self(Some(peer))
    }

    /// Its peer; `None` for nobody.
    pub(crate) fn peer(&self) -> Option<PeerId> {
        self.0
    }
}

impl Default for Member {
    /// Nobody.
    fn default() -> Self {
        Self(None)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(peer) => peer.fmt(f),
            None => f.write_str("nobody"),
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text, since it is a key of maps too.
impl Serialize for Member {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(peer) => serializer.collect_str(peer),
            None => serializer.serialize_str(""),
        }
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        peer_id::parse(&text).map(Self::new).map_err(serde::de::Error::custom)
    }
}

/// The suite of the engine names its members by numbers; 0 is nobody, as by default.
#[cfg(test)]
impl From<u64> for Member {
    fn from(number: u64) -> Self {
        if number == 0 {
            return Self(None);
        }
        let mut bytes = vec![0x12, 32];
        bytes.extend_from_slice(&[number as u8; 32]);
        Self(PeerId::from_bytes(&bytes).ok())
    }
}

/// One change, as it stands in an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The stored form of a pin.
    Put(Vec<u8>),
    /// A CID.
    Remove(Cid),
}

/// Changes of one peer that were proposed together. The number rises with each group of the same peer: a group that was
/// proposed again, since its answer was lost, takes effect once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) from: Member,
    pub(crate) number: u64,
    /// As [`write`](Self::write) writes them.
    pub(crate) changes: Bytes,
}

const PUT: u8 = 1;
const REMOVE: u8 = 2;

impl Group {
    /// Adds a change to the text of a group.
    pub(crate) fn write(out: &mut BytesMut, change: &Change) {
        let (kind, bytes) = match change {
            Change::Put(bytes) => (PUT, bytes.clone()),
            Change::Remove(cid) => (REMOVE, cid.to_bytes()),
        };
        out.put_u8(kind);
        out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        out.put_slice(&bytes);
    }

    /// The changes. What makes no sense is left out, at every peer alike, and logged.
    pub(crate) fn read(&self) -> Vec<PinsetChange> {
        let (mut rest, mut changes) = (&self.changes[..], Vec::new());
        while let Some((kind, bytes)) = next(&mut rest) {
            let change = match kind {
                PUT => Pin::from_proto(bytes, None).map(|pin| PinsetChange::Pinned(Arc::new(pin))).map_err(text),
                REMOVE => Cid::from_bytes(bytes).map(PinsetChange::Unpinned).map_err(text),
                other => Err(format!("kind {other}")),
            };
            match change {
                Ok(change) => changes.push(change),
                Err(error) => tracing::warn!(from = %self.from, error, "a change makes no sense and is left out"),
            }
        }
        changes
    }
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (kind, after) = rest.split_first()?;
    let (length, after) = after.split_first_chunk::<4>()?;
    let (bytes, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some((*kind, bytes))
}

/// What an entry of the log proposes: groups of one or more peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proposal {
    pub(crate) groups: Vec<Group>,
}

/// Version of everything that is written here, in the log and on the wire.
pub(crate) const FORMAT: u8 = 1;

/// A value as it is stored and sent: the version, a checksum, and DAG-CBOR.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Bytes, FormError> {
    let mut out = vec![FORMAT, 0, 0, 0, 0];
    serde_ipld_dagcbor::to_writer(&mut out, value).map_err(|e| FormError::Unwritable(e.to_string()))?;
    let sum = crc32fast::hash(&out[5..]).to_be_bytes();
    out[1..5].copy_from_slice(&sum);
    Ok(out.into())
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, FormError> {
    serde_ipld_dagcbor::from_slice(body_of(bytes)?).map_err(|e| FormError::Unreadable(e.to_string()))
}

/// Whether these are bytes as [`encode`] wrote them.
pub(crate) fn check_form(bytes: &[u8]) -> Result<(), FormError> {
    body_of(bytes).map(drop)
}

fn body_of(bytes: &[u8]) -> Result<&[u8], FormError> {
    let (version, rest) = bytes.split_first().ok_or(FormError::Cut)?;
    if *version != FORMAT {
        return Err(FormError::Version(*version));
    }
    let (sum, body) = rest.split_first_chunk::<4>().ok_or(FormError::Cut)?;
    if crc32fast::hash(body) != u32::from_be_bytes(*sum) {
        return Err(FormError::Checksum);
    }
    Ok(body)
}

/// Why bytes are no value of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    #[error(
        "it is of format {0}, and this version reads format {FORMAT}: export the pinset with the version that wrote it"
    )]
    Version(u8),
    #[error("it is cut short")]
    Cut,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it is missing")]
    Missing,
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("it cannot be written: {0}")]
    Unwritable(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_testkit::contract::{cid, pin};

    #[test]
    fn what_is_written_is_read_back_and_damage_is_noticed() {
        let mut changes = BytesMut::new();
        Group::write(&mut changes, &Change::Put(pin(1, "one").to_proto()));
        Group::write(&mut changes, &Change::Remove(cid(2)));
        let group = Group { from: Member::new(PeerId::random()), number: 7, changes: changes.freeze() };
        let proposal = Proposal { groups: vec![group.clone()] };

        let bytes = encode(&proposal).expect("written");
        assert_eq!(decode::<Proposal>(&bytes), Ok(proposal));
        let read = group.read();
        assert!(matches!(&read[0], PinsetChange::Pinned(pin) if pin.options.name == "one"));
        assert_eq!(read[1], PinsetChange::Unpinned(cid(2)));

        let mut damaged = bytes.to_vec();
        *damaged.last_mut().expect("not empty") ^= 1;
        assert_eq!(decode::<Proposal>(&damaged), Err(FormError::Checksum));
        assert_eq!(decode::<Proposal>(&[9, 0, 0, 0, 0]), Err(FormError::Version(9)));
        assert_eq!(decode::<Proposal>(&bytes[..4]), Err(FormError::Cut));
    }

    #[test]
    fn members_are_keys_of_maps_and_nobody_is_one() {
        let map = std::collections::BTreeMap::from([(Member::default(), ()), (Member::new(PeerId::random()), ())]);
        assert_eq!(decode::<std::collections::BTreeMap<Member, ()>>(&encode(&map).expect("written")), Ok(map));
    }
}
