//! The pin: what the cluster promises about one CID, and the options it was asked for with.

use crate::text_map::or_default;
use crate::{Cid, Multiaddr, PeerId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// How much of a DAG a pin holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinMode {
    /// The whole DAG.
    #[default]
    Recursive,
    /// The root block only.
    Direct,
}

impl PinMode {
    /// The depth that a pin of this mode is stored with: −1 for all, 0 for the root block.
    #[must_use]
    pub fn max_depth(self) -> i32 {
        match self {
            PinMode::Recursive => -1,
            PinMode::Direct => 0,
        }
    }

    /// The mode that a stored depth stands for; any depth but 0 is recursive, as the reference reads it.
    #[must_use]
    pub fn from_max_depth(depth: i32) -> Self {
        if depth == 0 { PinMode::Direct } else { PinMode::Recursive }
    }
}

/// What a pin is for. The numbers are the bits that peers exchange and that filters are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum PinType {
    /// No valid type.
    Bad = 1,
    /// Content that a user pinned: `pin`.
    #[default]
    Data = 2,
    /// A sharded item as a whole: `meta-pin`.
    Meta = 4,
    /// The root of the shards of an item: `clusterdag-pin`.
    ClusterDag = 8,
    /// One shard of an item: `shard-pin`.
    Shard = 16,
}

impl PinType {
    /// The bit.
    #[must_use]
    pub fn bit(self) -> u64 {
        self as u64
    }

    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PinType::Bad => "bad-type",
            PinType::Data => "pin",
            PinType::Meta => "meta-pin",
            PinType::ClusterDag => "clusterdag-pin",
            PinType::Shard => "shard-pin",
        }
    }
}

impl PinType {
    /// Every type, by its bit.
    pub const ALL: [PinType; 5] = [PinType::Bad, PinType::Data, PinType::Meta, PinType::ClusterDag, PinType::Shard];

    /// The type of a word; a word that is none is [`PinType::Bad`].
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).unwrap_or(PinType::Bad)
    }
}

fn bad() -> PinType {
    PinType::Bad
}

impl Serialize for PinType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_str().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PinType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_word(&std::borrow::Cow::<str>::deserialize(deserializer)?))
    }
}

/// A choice of pin types, as lists are filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinTypeFilter(u64);

/// No word of a filter names a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid filter value")]
pub struct PinTypeFilterError;

impl PinTypeFilter {
    /// Every type.
    pub const ALL: Self = Self(30);

    /// Reads names separated by commas, as the reference: an empty one means all, unknown ones are passed over.
    ///
    /// # Errors
    /// When there is a name and none is known.
    pub fn parse(text: &str) -> Result<Self, PinTypeFilterError> {
        let bits = |word: &str| match word {
            "" | "all" => Self::ALL.0,
            word => match PinType::from_word(word) {
                PinType::Bad => 0,
                kind => kind.bit(),
            },
        };
        match text.split(',').map(bits).fold(0, |all, bits| all | bits) {
            0 => Err(PinTypeFilterError),
            bits => Ok(Self(bits)),
        }
    }

    /// Whether every type passes, those that are none included.
    #[must_use]
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }

    /// Whether a type passes.
    #[must_use]
    pub fn matches(self, kind: PinType) -> bool {
        self.0 & kind.bit() != 0
    }
}

/// What a client may say about a pin. Field order is that of the reference's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PinOptions {
    /// Fewest peers that must hold it; −1: every peer; 0: the peer's default.
    pub replication_factor_min: i32,
    /// Most peers that shall hold it; −1: every peer; 0: the peer's default.
    pub replication_factor_max: i32,
    /// A name for people; need not be unique.
    pub name: String,
    /// How much of the DAG.
    pub mode: PinMode,
    /// Size of a shard in bytes, for sharded adds; 0: none given.
    pub shard_size: u64,
    /// Peers that the client would like to hold it. Never stored.
    pub user_allocations: Option<Vec<PeerId>>,
    /// When it may be removed; [`Timestamp::ZERO`]: never.
    pub expire_at: Timestamp,
    /// Free words of the client.
    pub metadata: Option<BTreeMap<String, String>>,
    /// The pin whose place this one takes.
    pub pin_update: Option<Cid>,
    /// Where its content can be fetched from; each address ends in `/p2p/<id>`.
    pub origins: Option<Vec<Multiaddr>>,
}

/// A pin as the cluster keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// What it was asked for with.
    #[serde(flatten)]
    pub options: PinOptions,
    /// What is pinned.
    pub cid: Cid,
    /// What it is for.
    #[serde(rename = "type", default = "bad")]
    pub kind: PinType,
    /// Peers that must hold it; empty: every peer.
    #[serde(default, deserialize_with = "or_default")]
    pub allocations: Vec<PeerId>,
    /// How deep the daemon must hold it: −1 all, 0 the root block, 1 for shards.
    #[serde(default)]
    pub max_depth: i32,
    /// Another pin that this one belongs to.
    #[serde(default)]
    pub reference: Option<Cid>,
    /// When the cluster took it.
    #[serde(default)]
    pub timestamp: Timestamp,
}

impl Pin {
    /// A data pin of `cid` with these options, not yet allocated.
    #[must_use]
    pub fn new(cid: Cid, options: PinOptions) -> Self {
        let max_depth = options.mode.max_depth();
        Self {
            cid,
            options,
            kind: PinType::Data,
            allocations: Vec::new(),
            max_depth,
            reference: None,
            timestamp: Timestamp::ZERO,
        }
    }

    /// Whether every peer shall hold it.
    #[must_use]
    pub fn is_everywhere(&self) -> bool {
        self.options.replication_factor_min == -1 && self.options.replication_factor_max == -1
    }

    /// Whether this peer need not hold it.
    #[must_use]
    pub fn is_remote_to(&self, peer: &PeerId) -> bool {
        !self.is_everywhere() && !self.allocations.contains(peer)
    }

    /// Whether it has expired at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        !self.options.expire_at.is_zero() && self.options.expire_at < now
    }
}
