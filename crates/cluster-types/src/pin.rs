//! The pin: what the cluster promises about one CID, and the options it was asked for with.

use crate::{Cid, Multiaddr, PeerId, Timestamp};
use serde::{Deserialize, Serialize};
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

/// What a client may say about a pin. Field order is that of the reference's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// What is pinned.
    pub cid: Cid,
    /// What it was asked for with.
    pub options: PinOptions,
    /// What it is for.
    pub kind: PinType,
    /// Peers that must hold it; empty: every peer.
    pub allocations: Vec<PeerId>,
    /// How deep the daemon must hold it: −1 all, 0 the root block, 1 for shards.
    pub max_depth: i32,
    /// Another pin that this one belongs to.
    pub reference: Option<Cid>,
    /// When the cluster took it.
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
