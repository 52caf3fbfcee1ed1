//! What members say to each other, and the port by which it travels: bytes there and bytes back, as one row of the RPC
//! table carries them.

use crate::types::{FormError, Group, LogId, Member, TypeConfig, decode, encode};
use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::errors::{NetError, OTHER_CONSENSUS, TAKES_NO_MESSAGES};
use cluster_component::rpc::{Consensus, Rpc, RpcErrorKind, Target};
use cluster_types::PeerId;
use openraft::SnapshotMeta;
use openraft::error::{Fatal, RaftError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Takes a message to a member and brings its answer. A simulation gives one that loses, delays and parts.
#[async_trait]
pub trait Courier: Send + Sync + 'static {
    /// Asks. *Cancel safety:* dropped, the message may have arrived or not.
    ///
    /// # Errors
    /// When no answer came; the message may have arrived all the same.
    async fn ask(&self, peer: &PeerId, message: Bytes) -> Result<Bytes, NetError>;
}

/// Takes messages by the RPC table.
#[derive(Debug, Clone)]
pub struct RpcCourier(pub Rpc);

#[async_trait]
impl Courier for RpcCourier {
    async fn ask(&self, peer: &PeerId, message: Bytes) -> Result<Bytes, NetError> {
        let asked = self.0.call::<Consensus::Message>(Target::Peer(*peer), message).await;
        asked.map_err(|error| {
            // Members trust each other, and know the row.
            let other = matches!(error.kind, RpcErrorKind::Unauthorized | RpcErrorKind::NoSuchMethod);
            if other || error.message.contains(TAKES_NO_MESSAGES) {
                return NetError::Unsupported { peer: *peer, names: format!("raft ({})", error.message) };
            }
            NetError::Unreachable { peer: *peer, reason: error.message }
        })
    }
}

/// What a member asks of another.
#[derive(Serialize, Deserialize)]
pub(crate) enum Message {
    /// Who are you?
    Hello,
    /// The engine: take these entries.
    Append(AppendEntriesRequest<TypeConfig>),
    /// The engine: vote for me.
    Vote(VoteRequest<Member>),
    /// A piece of the snapshot of this number, counted by the sender.
    Piece { snapshot: u64, piece: u32, data: Bytes },
    /// So many pieces were sent: take up the snapshot.
    Install { snapshot: u64, pieces: u32, vote: openraft::Vote<Member>, meta: SnapshotMeta<Member, ()> },
    /// To the leader: propose these changes.
    Propose(Group),
    /// To the leader: take in a member.
    AddPeer(Member),
    /// To the leader: put out a member.
    RemovePeer(Member),
    /// To the leader: what must be applied for a read to see everything acknowledged so far?
    ReadIndex,
    /// You are no longer a member.
    Removed,
    /// To one that has nothing: you are about to be taken in, and nobody counts on what you may have said before.
    Welcome,
}

/// What it is answered.
#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Done.
    Done,
    /// Who I am.
    Hello(Hello),
    /// The engine's.
    Append(Result<AppendEntriesResponse<Member>, RaftError<Member>>),
    /// The engine's.
    Vote(Result<VoteResponse<Member>, RaftError<Member>>),
    /// The engine's.
    Installed(Result<SnapshotResponse<Member>, Fatal<Member>>),
    /// Committed, or to be read, up to here.
    Index(Option<LogId>),
    /// Ask this one, if anybody.
    NotLeader(Option<Member>),
    /// No, since.
    Refused(String),
}

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Whom it knows as members; empty before it was taken in anywhere.
    pub(crate) members: BTreeSet<Member>,
    /// Rises while it takes in entries and snapshots.
    pub(crate) progress: u64,
}

/// Why a member could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Net(NetError),
    #[error(
        "{peer} {} as the cluster, raft of this version: {answer}. Give all its peers the same section `consensus` of \
         service.json, and move pins by state export and state import",
        OTHER_CONSENSUS
    )]
    Other { peer: Member, answer: NetError },
    #[error("{0} did not answer in time")]
    Late(Member),
    #[error("the answer of {0}: {1}")]
    Form(Member, FormError),
    #[error("{0} is nobody's name")]
    Nobody(Member),
}

impl AskError {
    fn of(peer: Member, error: NetError) -> Self {
        match error {
            NetError::Unsupported { .. } => Self::Other { peer, answer: error },
            other => Self::Net(other),
        }
    }
}

/// Asks a member and reads its answer, within a time.
pub(crate) async fn ask(
    courier: &dyn Courier,
    member: Member,
    message: &Message,
    within: std::time::Duration,
) -> Result<Answer, AskError> {
    let peer = member.peer().ok_or(AskError::Nobody(member))?;
    let bytes = encode(message).map_err(|error| AskError::Form(member, error))?;
    let answer = tokio::time::timeout(within, courier.ask(&peer, bytes)).await.map_err(|_| AskError::Late(member))?;
    let answer = answer.map_err(|error| AskError::of(member, error))?;
    decode(&answer).map_err(|error| AskError::Form(member, error))
}
