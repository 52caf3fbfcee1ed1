//! What can go wrong in each interface, told apart by what the caller can do about it.

use cluster_types::PeerId;
use cluster_types::store::StoreError;

/// The text that the reference answers when a pin is not there; clients compare it.
pub const NOT_PINNED: &str = "pin is not part of the pinset";

/// How a consensus says that it is none of those whose members send each other messages.
pub const TAKES_NO_MESSAGES: &str = "takes no messages";

/// How it is said that a peer has another consensus; known by this text, which is all that comes over the wire.
pub const OTHER_CONSENSUS: &str = "has not the same consensus";

/// Why a component did not start.
#[derive(Debug, thiserror::Error)]
#[error("{component} did not start: {reason}")]
pub struct StartError {
    /// Which component.
    pub component: &'static str,
    /// Why, and what to do.
    pub reason: String,
}

/// Why the pinset could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The store failed.
    #[error("error reading the pinset: {0}")]
    Store(#[from] StoreError),
    /// A stored pin does not make sense.
    #[error("the stored pin of {cid} is damaged: {reason}")]
    Damaged {
        /// Whose, as far as it is known.
        cid: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a change did not become part of the pinset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsensusError {
    /// The store failed: the change may or may not be there after a restart.
    #[error("the change could not be made durable: {0}")]
    Store(#[from] StoreError),
    /// Too many changes wait: try again.
    #[error("{0}")]
    Busy(String),
    /// The consensus is not running (yet, or any more).
    #[error("consensus is shutdown")]
    NotRunning,
    /// It cannot do this, ever.
    #[error("{0}")]
    Unsupported(String),
    /// There is no leader to do it.
    #[error("timed out waiting for leader: {0}")]
    NoLeader(String),
}

/// Why the IPFS daemon did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectorError {
    /// It could not be reached, or the exchange broke: try again later.
    #[error("{0}")]
    Unavailable(String),
    /// It answered with an error.
    #[error("{0}")]
    Refused(String),
    /// Nothing moved for so long that it was given up: try again later.
    #[error("{0}")]
    Stalled(String),
    /// What was asked makes no sense: mend the request.
    #[error("{0}")]
    Invalid(String),
    /// The configuration forbids it, or this daemon cannot do it.
    #[error("{0}")]
    Forbidden(String),
    /// No room is left.
    #[error("{0}")]
    Full(String),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
}

impl ConnectorError {
    /// Whether the same request can succeed later without anybody's doing.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Refused(_) | Self::Stalled(_) | Self::Full(_) | Self::NotFound(_))
    }
}

/// Why the tracker could not answer or take an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackerError {
    /// The pinset could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The index could not be read or written.
    #[error("error reading the status index: {0}")]
    Store(#[from] StoreError),
    /// The daemon could not be asked.
    #[error("could not get pinset from IPFS: {0}")]
    Daemon(ConnectorError),
    /// The pin is not there.
    #[error("{}", NOT_PINNED)]
    NotPinned,
    /// The queue is full.
    #[error("pin/unpin operation queue is full. Try increasing max_pin_queue_size")]
    QueueFull,
    /// The tracker is not running (yet, or any more).
    #[error("the pin tracker is not running")]
    NotRunning,
}

/// Why no peers could be chosen for a pin. The text is the reference's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocationError {
    /// Fewer peers than needed have valid metrics.
    #[error(
        "not enough peers to allocate CID. Needed at least: {needed}. Wanted at most: {wanted}. \
         Available candidates: {available}. See logs for more info."
    )]
    TooFewPeers {
        /// Peers still needed for the minimum.
        needed: i64,
        /// Peers that would be taken at most.
        wanted: i64,
        /// Peers there are.
        available: usize,
    },
    /// The factors make no sense.
    #[error("{0}")]
    BadFactors(String),
}

/// Why an order to the cluster was not carried out. Nothing was changed unless the text says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The order makes no sense: mend it.
    #[error("{0}")]
    Invalid(String),
    /// The pin is not there.
    #[error("{}", NOT_PINNED)]
    NotPinned,
    /// This peer only follows.
    #[error("this peer is configured to be in follower mode. Write operations are disabled")]
    Follower,
    /// No peers could be chosen.
    #[error(transparent)]
    Allocation(#[from] AllocationError),
    /// The pinset could not be changed.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
    /// The pinset could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The tracker failed.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// The daemon failed.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    /// Another peer, or this one by way of the switchboard, failed.
    #[error(transparent)]
    Rpc(#[from] crate::rpc::RpcError),
    /// What was sent to be added is broken.
    #[error("{0}")]
    Body(String),
    /// The peer is stopping.
    #[error("cluster is shutdown")]
    Shutdown,
}

/// Why the network did not carry a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The peer could not be reached.
    #[error("failed to dial {peer}: {reason}")]
    Unreachable {
        /// Which peer.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// The peer was reached and does not speak the protocol.
    #[error("{peer} does not speak {names}")]
    Unsupported {
        /// Which peer.
        peer: PeerId,
        /// What it was asked for.
        names: String,
    },
    /// A block was asked for that nobody gave.
    #[error("block {0} was not found")]
    NotFound(String),
    /// The connection broke, or the network is not running.
    #[error("{0}")]
    Closed(String),
}

/// An error of the operating system in the words that users of the reference know: `no such file or directory`.
#[must_use]
pub fn io_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let Some((words, _)) = text.split_once(" (os error ") else { return text };
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
