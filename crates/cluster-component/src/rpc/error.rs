//! Errors of calls: a kind that says what the caller can do, and the text as the callee worded it.

use crate::errors::{
    ClusterError, ConnectorError, ConsensusError, NOT_PINNED, OTHER_CONSENSUS, StateError, TrackerError,
};

/// What the caller can do about an [`RpcError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RpcErrorKind {
    /// Nothing: the callee does not let this peer ask that.
    Unauthorized,
    /// Nothing: the callee does not know the method.
    NoSuchMethod,
    /// Ask again later: the callee is starting or stopping.
    NotReady,
    /// Ask again later: the callee could not be reached.
    Unreachable,
    /// Mend the request.
    Invalid,
    /// The thing asked for is not there.
    NotFound,
    /// It failed, as the text says.
    Failed,
}

impl RpcErrorKind {
    /// A word for it, where errors are counted or told apart by programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::NoSuchMethod => "no_such_method",
            Self::NotReady => "not_ready",
            Self::Unreachable => "unreachable",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Failed => "failed",
        }
    }
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RpcError {
    /// What the caller can do.
    pub kind: RpcErrorKind,
    /// What happened.
    pub message: String,
}

impl RpcError {
    /// An error of this kind.
    pub fn new(kind: RpcErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<ClusterError> for RpcError {
    fn from(error: ClusterError) -> Self {
        let kind = match &error {
            ClusterError::Rpc(inner) => return inner.clone(),
            ClusterError::NotPinned | ClusterError::Tracker(TrackerError::NotPinned) => RpcErrorKind::NotFound,
            ClusterError::Invalid(_) | ClusterError::Body(_) => RpcErrorKind::Invalid,
            ClusterError::Shutdown => RpcErrorKind::NotReady,
            _ => RpcErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

macro_rules! through_cluster_error {
    ($($error:ty),*) => { $(
        impl From<$error> for RpcError {
            fn from(error: $error) -> Self {
                ClusterError::from(error).into()
            }
        }
    )* };
}
through_cluster_error!(TrackerError, ConnectorError, ConsensusError, StateError);

impl RpcError {
    /// Whether it says that a pin is not there; by its text, which is all that comes over the wire.
    #[must_use]
    pub fn is_not_pinned(&self) -> bool {
        self.message == NOT_PINNED
    }

    /// Whether it says that a peer has another consensus than the one that asked, or than the one that was to take it in.
    #[must_use]
    pub fn is_other_consensus(&self) -> bool {
        self.message.contains(OTHER_CONSENSUS)
    }
}
