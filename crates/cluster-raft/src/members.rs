//! Members: taking in and putting out, at the leader.
//!
//! A new member is asked who it is before anything changes, learns what there is while it has no vote, and gets its vote
//! once it is in step. So a peer that cannot be reached costs the cluster nothing.

use crate::proposer::Patience;
use crate::types::{Engine, Member};
use crate::wire::{Answer, AskError, Courier, Hello, Message, ask};
use openraft::ChangeMembers;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A learner that is so many entries behind or fewer is in step.
const IN_STEP: u64 = 128;

/// How often a learner is looked after.
const LOOK: Duration = Duration::from_millis(100);

/// Why the members were not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemberError {
    #[error("{0} cannot be reached, and was not taken in: {1}")]
    Unreachable(Member, AskError),
    #[error(
        "{peer} is a member of another cluster ({members}), and was not taken in: remove its state first, with \
         ipfs-cluster-service state cleanup at that peer"
    )]
    Foreign { peer: Member, members: String },
    #[error("not taken in: {0}")]
    Other(AskError),
    #[error(
        "{0} was a member, and has lost what it had confirmed; the others could not put it out first: {1}. Start more of \
         them, and try again"
    )]
    Lost(Member, Box<MemberError>),
    #[error("{0} stopped taking in what there is, and was not taken in")]
    Stuck(Member),
    #[error("{0} is the last member: a cluster cannot be without any")]
    Last(Member),
    #[error("the members could not be changed: {0}")]
    Engine(String),
    #[error("no majority of the members confirmed the change of the members in time; it may be made yet")]
    NoMajority,
}

/// Changes members, one change at a time.
pub(crate) struct Members {
    pub(crate) me: Member,
    pub(crate) engine: Engine,
    pub(crate) courier: Arc<dyn Courier>,
    pub(crate) patience: Patience,
    pub(crate) one_at_a_time: tokio::sync::Mutex<()>,
}

impl Members {
    fn voters(&self) -> BTreeSet<Member> {
        self.engine.metrics().borrow().membership_config.voter_ids().collect()
    }

    fn nodes(&self) -> BTreeSet<Member> {
        self.engine.metrics().borrow().membership_config.nodes().map(|(member, ())| *member).collect()
    }

    pub(crate) async fn add(&self, member: Member) -> Result<(), MemberError> {
        let _alone = self.one_at_a_time.lock().await;
        let hello = self.hello(member).await;
        if self.voters().contains(&member) {
            // One that is away is a member all the same.
            return match hello {
                Ok(hello) if hello.members.is_empty() => self.replace(member).await,
                _ => Ok(()),
            };
        }
        let (hello, ours) = (hello?, self.nodes());
        if !hello.members.is_empty() && hello.members.is_disjoint(&ours) {
            let members = hello.members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(MemberError::Foreign { peer: member, members });
        }
        self.take_in(member).await
    }

    /// A member lost what it had, and with it what it had confirmed and whom it had voted for: a majority without it
    /// must put it out before it is taken in. Of two, the other one has all that was ever confirmed.
    async fn replace(&self, member: Member) -> Result<(), MemberError> {
        tracing::warn!(%member, "a member has nothing any more, and is taken in anew");
        if self.voters().len() > 2 {
            let put_out = self.change(ChangeMembers::RemoveVoters([member].into()), false).await;
            put_out.map_err(|error| MemberError::Lost(member, Box::new(error)))?;
            return self.take_in(member).await;
        }
        self.welcome(member).await?;
        self.until_in_step(member).await
    }

    async fn welcome(&self, member: Member) -> Result<(), MemberError> {
        match ask(&*self.courier, member, &Message::Welcome, self.patience.network).await {
            Ok(Answer::Done) => Ok(()),
            Ok(_) => Err(MemberError::Engine(format!("{member} answered something else than it was asked"))),
            Err(error) => Err(MemberError::Unreachable(member, error)),
        }
    }

    async fn take_in(&self, member: Member) -> Result<(), MemberError> {
        self.welcome(member).await?;
        let learner = ChangeMembers::AddNodes([(member, ())].into());
        self.change(learner, true).await?;
        if let Err(error) = self.until_in_step(member).await {
            // Should this fail too, it stays a learner: that costs messages, and no vote.
            let removed = self.change(ChangeMembers::RemoveNodes([member].into()), true).await;
            if let Err(error) = removed {
                tracing::warn!(%member, %error, "a learner that is not in step stays a learner");
            }
            return Err(error);
        }
        self.change(ChangeMembers::AddVoterIds([member].into()), true).await
    }

    async fn hello(&self, member: Member) -> Result<Hello, MemberError> {
        match ask(&*self.courier, member, &Message::Hello, self.patience.network).await {
            Ok(Answer::Hello(hello)) => Ok(hello),
            Ok(Answer::Refused(reason)) => Err(MemberError::Engine(format!("{member}: {reason}"))),
            Ok(_) => Err(MemberError::Engine(format!("{member} answered something else than it was asked"))),
            Err(error @ AskError::Other { .. }) => Err(MemberError::Other(error)),
            Err(error) => Err(MemberError::Unreachable(member, error)),
        }
    }

    /// Waits while something moves at the learner, by our knowledge or by its own word.
    async fn until_in_step(&self, member: Member) -> Result<(), MemberError> {
        let mut last = (None, 0);
        let mut moved = Instant::now();
        loop {
            let metrics = self.engine.metrics().borrow().clone();
            let matched = metrics.replication.as_ref().and_then(|to| to.get(&member).copied()).flatten();
            let target = metrics.last_log_index.unwrap_or(0);
            if matched.is_some_and(|id| id.index + IN_STEP >= target) {
                return Ok(());
            }
            if metrics.current_leader != Some(self.me) {
                return Err(MemberError::Engine("this peer is no longer the leader".into()));
            }
            let progress = self.hello(member).await.map_or(last.1, |hello| hello.progress);
            if (matched, progress) != last {
                last = (matched, progress);
                moved = Instant::now();
            } else if moved.elapsed() > self.patience.network {
                return Err(MemberError::Stuck(member));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) async fn remove(&self, member: Member) -> Result<(), MemberError> {
        let _alone = self.one_at_a_time.lock().await;
        let voters = self.voters();
        if !self.nodes().contains(&member) {
            return Ok(());
        }
        if voters.len() == 1 && voters.contains(&member) {
            return Err(MemberError::Last(member));
        }
        if voters.contains(&member) {
            self.change(ChangeMembers::RemoveVoters([member].into()), false).await?;
        } else {
            self.change(ChangeMembers::RemoveNodes([member].into()), true).await?;
        }
        if member != self.me {
            // It may never hear of it otherwise, since nobody sends it entries any more.
            let _best_effort = ask(&*self.courier, member, &Message::Removed, self.patience.network).await;
        }
        Ok(())
    }

    /// A leader that died between the two steps of a change left both sets of members in force: ends that.
    pub(crate) async fn finish_joint(&self) {
        let metrics = self.engine.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        if metrics.current_leader != Some(self.me) || membership.get_joint_config().len() < 2 {
            return;
        }
        let Ok(_alone) = self.one_at_a_time.try_lock() else { return };
        let Some(goal) = membership.get_joint_config().last().cloned() else { return };
        match self.change(ChangeMembers::ReplaceAllVoters(goal), false).await {
            Ok(()) => tracing::info!("a change of the members that was cut short is finished"),
            Err(error) => tracing::warn!(%error, "a change of the members is not finished yet"),
        }
    }

    async fn change(&self, change: ChangeMembers<Member, ()>, retain: bool) -> Result<(), MemberError> {
        match tokio::time::timeout(self.patience.network, self.engine.change_membership(change, retain)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(MemberError::Engine(error.to_string())),
            Err(_) => Err(MemberError::NoMajority),
        }
    }
}
