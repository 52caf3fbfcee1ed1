//! What became of a pin: at one peer ([`PinInfo`]) and over all of them ([`GlobalPinInfo`]).

use crate::text_map::or_default;
use crate::{Cid, Multiaddr, PeerId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// The state of an item at a peer, or a filter over states: bits that can be joined with `|`.
///
/// As a filter, [`TrackerStatus::UNDEFINED`] means everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TrackerStatus(pub u16);

impl TrackerStatus {
    /// Unknown; as a filter: everything.
    pub const UNDEFINED: Self = Self(0);
    /// The peer could not be asked, or its daemon or state failed.
    pub const CLUSTER_ERROR: Self = Self(2);
    /// Pinning failed.
    pub const PIN_ERROR: Self = Self(4);
    /// Unpinning failed.
    pub const UNPIN_ERROR: Self = Self(8);
    /// The daemon holds it.
    pub const PINNED: Self = Self(16);
    /// The daemon is fetching it.
    pub const PINNING: Self = Self(32);
    /// The daemon is removing it.
    pub const UNPINNING: Self = Self(64);
    /// Not in the pinset.
    pub const UNPINNED: Self = Self(128);
    /// In the pinset, for other peers.
    pub const REMOTE: Self = Self(256);
    /// Waiting to be pinned.
    pub const PIN_QUEUED: Self = Self(512);
    /// Waiting to be unpinned.
    pub const UNPIN_QUEUED: Self = Self(1024);
    /// A sharded item: its shards are what is pinned.
    pub const SHARDED: Self = Self(2048);
    /// The daemon should hold it and does not.
    pub const UNEXPECTEDLY_UNPINNED: Self = Self(4096);
    /// Any of the three errors.
    pub const ERROR: Self = Self(14);
    /// Either of the two queues.
    pub const QUEUED: Self = Self(1536);

    /// Whether an item of this state passes the filter.
    #[must_use]
    pub fn matches(self, filter: Self) -> bool {
        filter.0 == 0 || self.0 == 0 || self.0 & filter.0 != 0
    }

    /// Whether any bit is common.
    #[must_use]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Words of single states and of the two composites, which filters know too.
const WORDS: [(TrackerStatus, &str); 15] = [
    (TrackerStatus::UNDEFINED, "undefined"),
    (TrackerStatus::CLUSTER_ERROR, "cluster_error"),
    (TrackerStatus::PIN_ERROR, "pin_error"),
    (TrackerStatus::UNPIN_ERROR, "unpin_error"),
    (TrackerStatus::ERROR, "error"),
    (TrackerStatus::PINNED, "pinned"),
    (TrackerStatus::PINNING, "pinning"),
    (TrackerStatus::UNPINNING, "unpinning"),
    (TrackerStatus::UNPINNED, "unpinned"),
    (TrackerStatus::REMOTE, "remote"),
    (TrackerStatus::PIN_QUEUED, "pin_queued"),
    (TrackerStatus::UNPIN_QUEUED, "unpin_queued"),
    (TrackerStatus::QUEUED, "queued"),
    (TrackerStatus::SHARDED, "sharded"),
    (TrackerStatus::UNEXPECTEDLY_UNPINNED, "unexpectedly_unpinned"),
];

impl TrackerStatus {
    /// The word, if this is a single state or one of the composites.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        WORDS.iter().find(|(status, _)| *status == self).map(|(_, word)| *word)
    }

    /// Reads a filter: words separated by commas, spaces left out, unknown words passed over. Without a known word it
    /// is [`UNDEFINED`](Self::UNDEFINED).
    #[must_use]
    pub fn parse_filter(text: &str) -> Self {
        let text = text.replace(' ', "");
        let known = |word: &str| WORDS.iter().find(|(_, known)| *known == word).map(|(status, _)| *status);
        text.split(',').filter_map(known).fold(Self::UNDEFINED, |all, status| all | status)
    }
}

/// The word; for several states their words, separated by commas.
impl fmt::Display for TrackerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(word) = self.word() {
            return f.pad(word);
        }
        let single = WORDS.iter().filter(|(status, _)| status.0.count_ones() == 1 && status.intersects(*self));
        f.pad(&single.map(|(_, word)| *word).collect::<Vec<_>>().join(","))
    }
}

impl Serialize for TrackerStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TrackerStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::parse_filter(&std::borrow::Cow::<str>::deserialize(deserializer)?))
    }
}

impl std::ops::BitOr for TrackerStatus {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One item at one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinInfo {
    /// The item.
    pub cid: Cid,
    /// The pin's name.
    pub name: String,
    /// Which peer says so.
    pub peer: PeerId,
    /// The pin's allocations; `None` when the pin is not known.
    pub allocations: Option<Vec<PeerId>>,
    /// The pin's origins.
    pub origins: Option<Vec<Multiaddr>>,
    /// When the cluster took the pin.
    pub created: Timestamp,
    /// The pin's metadata.
    pub metadata: Option<BTreeMap<String, String>>,
    /// How it stands at this peer.
    pub status: PinInfoShort,
}

/// How an item stands at a peer: the part of [`PinInfo`] that differs from peer to peer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PinInfoShort {
    /// The peer's name.
    pub peername: String,
    /// The peer's IPFS daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipfs_peer_id: Option<PeerId>,
    /// Where that daemon can be reached.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub ipfs_peer_addresses: Vec<Multiaddr>,
    /// The state.
    pub status: TrackerStatus,
    /// Since when.
    pub timestamp: Timestamp,
    /// What went wrong, or empty.
    pub error: String,
    /// How often it was tried.
    pub attempt_count: u32,
    /// Whether it is in the queue that goes first.
    pub priority_pin: bool,
    /// How far the daemon is with pinning it, while it is and says so. The reference has no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<PinProgress>,
    /// When what failed is tried again. Peers of ours tell each other; clients are told by explanations alone.
    #[serde(skip)]
    pub retry_at: Option<Timestamp>,
}

/// How far a pin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PinProgress {
    /// Blocks fetched so far.
    pub blocks: u64,
    /// Bytes fetched so far; 0 if the daemon does not tell (Kubo does from 0.40 on).
    pub bytes: u64,
}

/// One item over all peers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GlobalPinInfo {
    /// The item; `None` until anything is known.
    pub cid: Option<Cid>,
    /// The pin's name.
    pub name: String,
    /// The pin's allocations.
    pub allocations: Option<Vec<PeerId>>,
    /// The pin's origins.
    pub origins: Option<Vec<Multiaddr>>,
    /// When the cluster took the pin.
    pub created: Timestamp,
    /// The pin's metadata.
    pub metadata: Option<BTreeMap<String, String>>,
    /// What each peer says.
    #[serde(with = "crate::text_map")]
    pub peer_map: BTreeMap<PeerId, PinInfoShort>,
}

impl GlobalPinInfo {
    /// Adds what one peer says. The shared fields are those of the last report that is neither an error of the
    /// cluster nor undefined; the first report sets them in any case.
    pub fn add(&mut self, info: PinInfo) {
        let status = info.status.status;
        let tells = status != TrackerStatus::CLUSTER_ERROR && status != TrackerStatus::UNDEFINED;
        if self.cid.is_none() || tells {
            self.cid = Some(info.cid);
            self.name = info.name;
            self.allocations = info.allocations;
            self.origins = info.origins;
            self.created = info.created;
            self.metadata = info.metadata;
        }
        self.peer_map.insert(info.peer, info.status);
    }
}
