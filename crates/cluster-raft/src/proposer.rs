//! Proposing: everything that waits becomes one group, the groups that wait at the leader become one entry, and one sync
//! at each member covers them all. A group grows by itself while the one before it is under way.
//!
//! A follower sends its next group as soon as the leader has confirmed the one before: until that shows here too, which
//! takes another message of the leader, only those wait who ordered it. It does not send two at a time: they could change
//! places on the way, and of two groups the one with the lower number would be taken for a copy of what was done already.

use crate::machine::Machine;
use crate::types::{Change, Engine, Group, LogId, Member, Proposal};
use crate::wire::{Answer, Courier, Message, ask};
use bytes::BytesMut;
use cluster_component::errors::ConsensusError;
use openraft::error::{ClientWriteError, RaftError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Most orders of one group.
const GROUP_MAX: usize = 2_000;

/// About how many bytes of changes one entry has.
const GROUP_BYTES: usize = 512 << 10;

/// Orders that may wait.
pub(crate) const QUEUE_MAX: usize = 50_000;

/// Groups that are confirmed and do not show here yet. When there are so many, the next one waits.
const UNSEEN_MAX: usize = 8;

type Waiting = Vec<oneshot::Sender<Result<(), ConsensusError>>>;

/// What the task is told.
pub(crate) enum Order {
    /// A change that was asked for at this peer.
    Own(Change, oneshot::Sender<Result<(), ConsensusError>>),
    /// A group of another peer, which takes this one for the leader.
    Forwarded(Group, oneshot::Sender<Answer>),
}

/// How long what is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) leader: Duration,
    pub(crate) network: Duration,
    pub(crate) retries: u32,
    pub(crate) retry_delay: Duration,
}

pub(crate) struct Proposer {
    pub(crate) me: Member,
    pub(crate) engine: Engine,
    pub(crate) courier: Arc<dyn Courier>,
    pub(crate) patience: Patience,
    pub(crate) machine: Arc<Machine>,
    /// Of the last group; later than that of every group of ours that any log can have.
    pub(crate) number: u64,
}

/// What was gathered.
#[derive(Default)]
struct Gathered {
    changes: BytesMut,
    answers: Waiting,
    forwarded: Vec<(Group, oneshot::Sender<Answer>)>,
    bytes: usize,
}

impl Gathered {
    fn take(&mut self, order: Order) {
        match order {
            Order::Own(change, answer) => {
                let before = self.changes.len();
                Group::write(&mut self.changes, &change);
                self.bytes += self.changes.len() - before;
                self.answers.push(answer);
            }
            Order::Forwarded(group, answer) => {
                self.bytes += group.changes.len();
                self.forwarded.push((group, answer));
            }
        }
    }

    fn is_full(&self) -> bool {
        self.answers.len() + self.forwarded.len() >= GROUP_MAX || self.bytes >= GROUP_BYTES
    }
}

impl Proposer {
    /// Works until nobody is left to order anything.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut unseen = JoinSet::new();
        while let Some(first) = orders.recv().await {
            let mut gathered = Gathered::default();
            gathered.take(first);
            while !gathered.is_full()
                && let Ok(order) = orders.try_recv()
            {
                gathered.take(order);
            }
            self.commit(gathered, &mut unseen).await;
        }
    }

    async fn commit(&mut self, gathered: Gathered, unseen: &mut JoinSet<()>) {
        let own = (!gathered.answers.is_empty()).then(|| {
            self.number = self.number.max(self.machine.last_group(self.me)) + 1;
            Group { from: self.me, number: self.number, changes: gathered.changes.freeze() }
        });
        let mut done = None;
        if leader(&self.engine) == Some(self.me) {
            let others = gathered.forwarded.iter().map(|(group, _)| group.clone());
            let written = self.write(own.iter().cloned().chain(others).collect()).await;
            let failed = |error: &Failed| match error {
                Failed::NotLeader => Answer::NotLeader(leader(&self.engine).filter(|leader| *leader != self.me)),
                other => Answer::Refused(other.to_string()),
            };
            for (_, answer) in gathered.forwarded {
                let said = written.as_ref().map_or_else(failed, |index| Answer::Index(Some(*index)));
                let _gave_up = answer.send(said); // Whoever asked may have gone.
            }
            done = written.ok();
        } else {
            let leader = leader(&self.engine);
            gathered.forwarded.into_iter().for_each(|(_, answer)| drop(answer.send(Answer::NotLeader(leader))));
        }
        let Some(own) = own else { return };
        let result = match done {
            Some(_) => Ok(Confirmed::Here),
            None => self.keep_trying(own).await,
        };
        match result {
            Ok(Confirmed::Elsewhere(index)) => self.answer_once_seen(index, gathered.answers, unseen).await,
            Ok(Confirmed::Here) => answer(gathered.answers, &Ok(())),
            Err(error) => answer(gathered.answers, &Err(error)),
        }
    }

    /// Answers when what is committed shows here too; meanwhile the next group is on its way.
    async fn answer_once_seen(&self, index: Option<LogId>, answers: Waiting, unseen: &mut JoinSet<()>) {
        while unseen.try_join_next().is_some() {}
        if unseen.len() >= UNSEEN_MAX {
            unseen.join_next().await;
        }
        let (engine, within) = (self.engine.clone(), self.patience.network);
        unseen.spawn(async move {
            see(&engine, index, within).await;
            answer(answers, &Ok(()));
        });
    }

    /// Proposes a group of ours again and again, wherever the leader is, for as long as a leader is waited for and at
    /// least as often as the configuration says.
    async fn keep_trying(&self, group: Group) -> Result<Confirmed, ConsensusError> {
        let until = Instant::now() + self.patience.leader;
        let mut tries = 0;
        loop {
            let Some(leader) = wait_for_leader(&self.engine, self.patience.leader).await? else {
                return Err(ConsensusError::NoLeader("context deadline exceeded".into()));
            };
            let failed = if leader == self.me {
                match self.write(vec![group.clone()]).await {
                    Ok(_) => return Ok(Confirmed::Here),
                    Err(Failed::Stopped) => return Err(ConsensusError::NotRunning),
                    Err(other) => other,
                }
            } else {
                match self.forward(leader, &group).await {
                    Ok(index) => return Ok(Confirmed::Elsewhere(index)),
                    Err(failed) => failed,
                }
            };
            tries += 1;
            if tries > self.patience.retries && Instant::now() >= until {
                return Err(ConsensusError::Busy(failed.to_string()));
            }
            tracing::debug!(error = %failed, %leader, "a change was not confirmed; trying again");
            tokio::time::sleep(self.patience.retry_delay).await;
        }
    }

    /// Puts groups into the log, here at the leader.
    async fn write(&self, groups: Vec<Group>) -> Result<LogId, Failed> {
        // Order: an answer before the end of leadership, and that before the end of the time for it.
        tokio::select! {
            biased;
            written = self.engine.client_write(Proposal { groups }) => match written {
                Ok(response) => Ok(response.log_id),
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(Failed::NotLeader),
                Err(RaftError::Fatal(openraft::error::Fatal::Stopped)) => Err(Failed::Stopped),
                Err(other) => Err(Failed::Other(other.to_string())),
            },
            () = until_led_by_other(&self.engine, self.me) => Err(Failed::NotLeader),
            () = tokio::time::sleep(self.patience.network) => Err(Failed::NoMajority),
        }
    }

    async fn forward(&self, leader: Member, group: &Group) -> Result<Option<LogId>, Failed> {
        let message = Message::Propose(group.clone());
        // Order: an answer before another leader.
        let answer = tokio::select! {
            biased;
            answer = ask(&*self.courier, leader, &message, self.patience.network) => answer,
            () = until_led_by_other(&self.engine, leader) => return Err(Failed::NotLeader),
        };
        match answer {
            Ok(Answer::Index(index)) => Ok(index),
            Ok(Answer::NotLeader(_)) => Err(Failed::NotLeader),
            Ok(Answer::Refused(reason)) => Err(Failed::Other(reason)),
            Ok(_) => Err(Failed::Other(format!("{leader} answered something else than it was asked"))),
            Err(error) => Err(Failed::Other(error.to_string())),
        }
    }
}

/// Where a group was put into the log.
enum Confirmed {
    /// At this peer, which leads and shows it.
    Here,
    /// At another, up to this index.
    Elsewhere(Option<LogId>),
}

fn answer(waiting: Waiting, result: &Result<(), ConsensusError>) {
    waiting.into_iter().for_each(|answer| drop(answer.send(result.clone())));
}

/// Waits until what is committed shows here too. It is committed whether it does in time or not.
async fn see(engine: &Engine, index: Option<LogId>, within: Duration) {
    let index = index.map(|id| id.index);
    if let Err(error) = engine.wait(Some(within)).applied_index_at_least(index, "its own change").await {
        tracing::warn!(%error, "a change is made, and does not show here yet");
    }
}

/// Why a try failed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the leader changed")]
    NotLeader,
    #[error("no majority of the members confirmed the change in time; it may be made yet")]
    NoMajority,
    #[error("raft is stopped")]
    Stopped,
    #[error("{0}")]
    Other(String),
}

/// Who leads, as far as this peer knows.
pub(crate) fn leader(engine: &Engine) -> Option<Member> {
    engine.metrics().borrow().current_leader
}

/// Returns when this peer knows of another leader than this one.
pub(crate) async fn until_led_by_other(engine: &Engine, than: Member) {
    let mut metrics = engine.metrics();
    // An error means that the engine ended; then the other branch says so.
    let ended = metrics.wait_for(|now| now.current_leader.is_some_and(|leader| leader != than)).await.is_err();
    if ended {
        std::future::pending::<()>().await;
    }
}

/// The leader, once there is one; `None` if there is none in time.
pub(crate) async fn wait_for_leader(engine: &Engine, within: Duration) -> Result<Option<Member>, ConsensusError> {
    let mut metrics = engine.metrics();
    match tokio::time::timeout(within, metrics.wait_for(|now| now.current_leader.is_some())).await {
        Ok(Ok(metrics)) => Ok(metrics.current_leader),
        Ok(Err(_)) => Err(ConsensusError::NotRunning),
        Err(_) => Ok(None),
    }
}
