//! What can go wrong with blocks.

use cid::Cid;
use cluster_component::errors::ConnectorError;
use cluster_types::store::StoreError;
use std::io;
use std::path::Path;

/// Why blocks could not be stored, read or collected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// No room: nothing was stored.
    #[error("{0}")]
    Full(String),
    /// The device or the operating system failed.
    #[error("the blocks of the embedded IPFS node cannot be used: {0}")]
    Io(String),
    /// What is stored for a block is not the block.
    #[error("the stored block {0} is damaged: unpin what it belongs to, run `ipfs-cluster-ctl ipfs gc`, and pin again")]
    Damaged(Cid),
    /// A block that was brought is not what its name says, or is too large.
    #[error("{0}")]
    Invalid(String),
    /// Something else must end first: try again later.
    #[error("{0}")]
    Busy(String),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] StoreError),
}

impl BlockError {
    pub(super) fn io(what: &Path, error: &io::Error) -> Self {
        let text = format!("{}: {error}", what.display());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full(format!("no room is left on the device: {text} (free some, or unpin and run gc)"))
            }
            _ => Self::Io(text),
        }
    }
}

impl From<BlockError> for ConnectorError {
    fn from(error: BlockError) -> Self {
        let text = error.to_string();
        match error {
            BlockError::Full(_) | BlockError::Index(StoreError::Full(_)) => Self::Full(text),
            BlockError::Invalid(_) => Self::Invalid(text),
            BlockError::Damaged(_) => Self::Refused(text),
            BlockError::Io(_) | BlockError::Busy(_) | BlockError::Index(_) => Self::Unavailable(text),
        }
    }
}
