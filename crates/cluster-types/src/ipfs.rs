//! What an IPFS daemon says of itself and of its pins.

use crate::{Cid, Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

/// Who a daemon is and where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IpfsId {
    /// Its identity; `None` when it could not be asked.
    pub id: Option<PeerId>,
    /// Its addresses.
    pub addresses: Vec<Multiaddr>,
}

/// How a daemon holds a CID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum IpfsPinStatus {
    /// The daemon's answer was not understood.
    #[default]
    Unknown,
    /// The root block only.
    Direct,
    /// The whole DAG.
    Recursive,
    /// As a part of another pin.
    Indirect,
    /// Not at all.
    Unpinned,
}

impl IpfsPinStatus {
    /// Reads the daemon's word; "indirect through …" and the like are told by their beginning.
    #[must_use]
    pub fn from_daemon(word: &str) -> Self {
        if word.starts_with("indirect") {
            Self::Indirect
        } else if word.starts_with("recursive") {
            Self::Recursive
        } else if word == "direct" {
            Self::Direct
        } else {
            Self::Unknown
        }
    }

    /// Whether a pin of this depth is held as it should be.
    #[must_use]
    pub fn satisfies(self, max_depth: i32) -> bool {
        if max_depth == 0 { self == Self::Direct } else { self == Self::Recursive }
    }
}

/// One row of a daemon's list of pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpfsPin {
    /// What it holds.
    pub cid: Cid,
    /// How.
    pub status: IpfsPinStatus,
}

/// How full a daemon's repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RepoStat {
    /// Bytes in use.
    pub repo_size: u64,
    /// Bytes it may use.
    pub storage_max: u64,
}

/// One row of a garbage collection: a removed CID, or what went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RepoGcKey {
    /// What was removed.
    pub key: Option<Cid>,
    /// What went wrong, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}
