//! The engine's way to other members.

use crate::snapshot::{SnapshotError, SnapshotFile};
use crate::types::{Member, StorageError, TypeConfig};
use crate::wire::{Answer, AskError, Courier, Message, ask};
use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, RemoteError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{AnyError, OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot, StorageIOError, Vote};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Taking up a large snapshot takes a member that long at the most.
const INSTALL_MAX: Duration = Duration::from_secs(600);

/// A piece that was not answered is sent again after so long.
const PIECE_AGAIN: Duration = Duration::from_millis(200);

/// A member that takes no piece for so long is given up: the engine begins anew with it, with the snapshot of then.
const PIECE_MAX: Duration = Duration::from_secs(60);

/// Makes links.
#[derive(Clone)]
pub(crate) struct Network(pub(crate) Arc<dyn Courier>);

/// To one member.
pub(crate) struct Link {
    courier: Arc<dyn Courier>,
    target: Member,
}

type RpcError = RPCError<Member, (), RaftError<Member>>;
type SendError = StreamingError<TypeConfig, Fatal<Member>>;

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: Member, _node: &()) -> Link {
        Link { courier: Arc::clone(&self.0), target }
    }
}

/// An answer that belongs to another question.
#[derive(Debug, thiserror::Error)]
#[error("{0} answered something else than it was asked: {1}")]
struct Odd(Member, String);

impl Link {
    async fn ask(&self, message: Message, within: Duration) -> Result<Answer, AskError> {
        ask(&*self.courier, self.target, &message, within).await
    }

    fn odd(&self, answer: &Answer) -> NetworkError {
        let text = match answer {
            Answer::Refused(reason) => reason.clone(),
            _ => "another kind of answer".to_owned(),
        };
        NetworkError::new(&Odd(self.target, text))
    }

    async fn send_snapshot(
        &self,
        vote: Vote<Member>,
        snapshot: Snapshot<TypeConfig>,
        within: Duration,
    ) -> Result<SnapshotResponse<Member>, SendError> {
        let (file, meta) = (*snapshot.snapshot, snapshot.meta);
        let number = file.number();
        for piece in 0..file.pieces {
            self.send_piece(&file, piece, within).await?;
        }
        let install = Message::Install { snapshot: number, pieces: file.pieces, vote, meta };
        match self.ask(install, INSTALL_MAX).await.map_err(unreachable)? {
            Answer::Installed(Ok(response)) => Ok(response),
            Answer::Installed(Err(fatal)) => Err(RemoteError::new(self.target, fatal).into()),
            other => Err(self.odd(&other).into()),
        }
    }

    /// One piece, again and again while it is not answered: what the member has of the snapshot stays there.
    async fn send_piece(&self, file: &SnapshotFile, piece: u32, within: Duration) -> Result<(), SendError> {
        let (until, number) = (Instant::now() + PIECE_MAX, file.number());
        loop {
            let data = file.piece(piece).map_err(reading)?;
            match self.ask(Message::Piece { snapshot: number, piece, data }, within).await {
                Ok(Answer::Done) => return Ok(()),
                Ok(other) => return Err(self.odd(&other).into()),
                Err(error) if Instant::now() >= until => return Err(unreachable(error)),
                Err(error) => {
                    tracing::debug!(%error, snapshot = number, piece, "a piece of a snapshot is sent again");
                    tokio::time::sleep(PIECE_AGAIN).await;
                }
            }
        }
    }
}

fn unreachable(error: AskError) -> SendError {
    Unreachable::new(&error).into()
}

/// One that was replaced meanwhile, or is damaged, is asked for again: a damaged one is made anew then.
fn reading(error: SnapshotError) -> SendError {
    match error {
        SnapshotError::Replaced(_) | SnapshotError::Damaged { .. } => NetworkError::new(&error).into(),
        other => StorageError::from(StorageIOError::read_snapshot(None, AnyError::new(&other))).into(),
    }
}

impl RaftNetwork<TypeConfig> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Member>, RpcError> {
        match self.ask(Message::Append(rpc), option.hard_ttl()).await {
            Ok(Answer::Append(result)) => result.map_err(|e| RPCError::RemoteError(RemoteError::new(self.target, e))),
            Ok(other) => Err(self.odd(&other).into()),
            Err(error) => Err(Unreachable::new(&error).into()),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest<Member>, option: RPCOption) -> Result<VoteResponse<Member>, RpcError> {
        match self.ask(Message::Vote(rpc), option.hard_ttl()).await {
            Ok(Answer::Vote(result)) => result.map_err(|e| RPCError::RemoteError(RemoteError::new(self.target, e))),
            Ok(other) => Err(self.odd(&other).into()),
            Err(error) => Err(Unreachable::new(&error).into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<Member>,
        snapshot: Snapshot<TypeConfig>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Member>, SendError> {
        // Order: an end of the replication before more work for it.
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot, option.hard_ttl()) => sent,
        }
    }

    /// A member that is away is tried again soon: a cluster of three has no quorum to spare.
    fn backoff(&self) -> openraft::network::Backoff {
        openraft::network::Backoff::new(std::iter::repeat(Duration::from_millis(200)))
    }
}
