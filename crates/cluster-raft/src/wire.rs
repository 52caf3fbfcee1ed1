//! What members say to each other, and the port by which it travels: bytes there and bytes back, as one row of the RPC
//! table carries them.

use crate::types::{FormError, Group, LogId, Member, TypeConfig, decode, encode};
use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::errors::NetError;
use cluster_component::rpc::{Consensus, Rpc, Target};
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
        asked.map_err(|error| NetError::Unreachable { peer: *peer, reason: error.message })
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
    /// The pieces are all there: take up the snapshot.
    Install { snapshot: u64, vote: openraft::Vote<Member>, meta: SnapshotMeta<Member, ()> },
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
    Net(#[from] NetError),
    #[error("{0} did not answer in time")]
    Late(Member),
    #[error("the answer of {0}: {1}")]
    Form(Member, FormError),
    #[error("{0} is nobody's name")]
    Nobody(Member),
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
    let answer =
        tokio::time::timeout(within, courier.ask(&peer, bytes)).await.map_err(|_| AskError::Late(member))??;
    decode(&answer).map_err(|error| AskError::Form(member, error))
}
