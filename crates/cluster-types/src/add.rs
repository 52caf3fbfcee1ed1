//! Adding content: what a client may ask for, and what it is told.

use crate::{Cid, PeerId, PinOptions};
use serde::{Deserialize, Serialize};

/// The shape of a file's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddLayout {
    /// All leaves at the same depth.
    #[default]
    Balanced,
    /// Leaves near the root first, for streaming.
    Trickle,
}

/// What the body of an add holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddFormat {
    /// Files and directories.
    #[default]
    Unixfs,
    /// One CAR file.
    Car,
}

/// The parameters of an add, as `POST /add` takes them in its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddParams {
    /// Options of the pin that the add ends in.
    pub pin: PinOptions,
    /// Put all blocks at this peer only, then pin.
    pub local: bool,
    /// Shape of the trees.
    pub layout: AddLayout,
    /// How files are cut: `size-N`, `rabin…`, `buzhash`. Empty: `size-262144`.
    pub chunker: String,
    /// Leaves are bare bytes; `None`: only when `cid_version` is above 0.
    pub raw_leaves: Option<bool>,
    /// Take in hidden files. Only clients look at it.
    pub hidden: bool,
    /// Put everything into one directory.
    pub wrap: bool,
    /// Cut the DAG into shards.
    pub shard: bool,
    /// Emit progress lines.
    pub progress: bool,
    /// Version of the CIDs.
    pub cid_version: u64,
    /// Name of the hash function. Empty: `sha2-256`.
    pub hash: String,
    /// Send each output at once (the default) or all as one array at the end.
    pub stream_channels: bool,
    /// Refer to files in place instead of storing their bytes.
    pub nocopy: bool,
    /// Put blocks, pin nothing.
    pub no_pin: bool,
    /// What the body holds.
    pub format: AddFormat,
    /// What Kubo's `add` takes besides.
    pub beyond: AddBeyond,
}

/// Parameters of an add that the reference has not, named as Kubo's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddBeyond {
    /// Most bytes of blocks that are put into their CIDs; `None`: no block is.
    pub inline: Option<usize>,
    /// Links of a node of a file; `None`: 174.
    pub file_links_max: Option<usize>,
    /// Entries above which a directory is cut into shards, whatever its bytes.
    pub directory_links_max: Option<usize>,
    /// Links of a node of a directory that is cut into shards; `None`: 256.
    pub hamt_fanout: Option<u64>,
    /// Mode of every file and directory.
    pub mode: Option<u32>,
    /// Modification time of every entry: seconds since 1970, and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// Keep the modes that come with the entries.
    pub preserve_mode: bool,
    /// Keep the modification times that come with the entries.
    pub preserve_mtime: bool,
}

impl AddBeyond {
    /// Whether entries say more than their bytes and names.
    #[must_use]
    pub fn has_attributes(&self) -> bool {
        self.mode.is_some() || self.mtime.is_some() || self.preserve_mode || self.preserve_mtime
    }
}

impl Default for AddParams {
    fn default() -> Self {
        Self {
            pin: PinOptions::default(),
            local: false,
            layout: AddLayout::default(),
            chunker: String::new(),
            raw_leaves: None,
            hidden: false,
            wrap: false,
            shard: false,
            progress: false,
            cid_version: 0,
            hash: String::new(),
            stream_channels: true,
            nocopy: false,
            no_pin: false,
            format: AddFormat::default(),
            beyond: AddBeyond::default(),
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One line that an add tells: a finished entry, or progress within one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Added {
    /// The entry's path.
    pub name: String,
    /// Its CID; `None` on progress lines.
    pub cid: Option<Cid>,
    /// Bytes of it read so far, on progress lines.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes: u64,
    /// Bytes of its whole DAG.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: u64,
    /// Peers that its blocks went to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allocations: Vec<PeerId>,
}
