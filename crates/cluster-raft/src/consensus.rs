//! The component: orders in, acknowledgements out once a majority has them on disk, changes told to whoever listens.

use crate::config::RaftConfig;
use crate::log::LogStore;
use crate::machine::{Machine, SharedMachine};
use crate::members::Members;
use crate::network::Network;
use crate::offline;
use crate::proposer::{Order, Patience, Proposer, QUEUE_MAX, leader, until_led_by_other, wait_for_leader};
use crate::snapshot::SnapshotFile;
use crate::types::{Change, Engine, LogId, Member, decode, encode};
use crate::wire::{Answer, AskError, Courier, Hello, Message, ask};
use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::component::{Component, Consensus, Leadership, PinsetChange, State, StateRead};
use cluster_component::errors::{ConsensusError, StartError};
use cluster_component::ports::Clock;
use cluster_component::tasks::TaskScope;
use cluster_types::store::Datastore;
use cluster_types::{Cid, PeerId, Pin};
use futures::StreamExt;
use futures::stream::BoxStream;
use openraft::LogIdOptionExt;
use openraft::error::Fatal;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

/// Changes that a listener may be behind before it is told to compare everything. Room for all is taken at once, about
/// 150 bytes each.
const CHANGES_BEHIND_MAX: usize = 4_096;

/// How often it is looked whether a change of the members was cut short.
const UPKEEP: Duration = Duration::from_secs(1);

/// What the component is made of.
#[allow(missing_debug_implementations)] // Its parts are traits that need not show themselves.
pub struct Parts {
    /// This peer.
    pub me: PeerId,
    /// Where log and snapshots live.
    pub store: Arc<dyn Datastore>,
    /// The pinset.
    pub state: Arc<dyn State>,
    /// The way to other members.
    pub courier: Arc<dyn Courier>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Members by which this peer is taken in; empty: it founds a cluster, unless it is in one.
    pub join: Vec<PeerId>,
    /// Where backups go when the state is removed; `None`: nowhere.
    pub backups: Option<PathBuf>,
}

/// Consensus by Raft.
pub struct RaftConsensus {
    config: RaftConfig,
    parts: Parts,
    changes: broadcast::Sender<PinsetChange>,
    running: Mutex<Option<Running>>,
    /// This peer was told that it is no member any more.
    removed: AtomicBool,
    /// This peer has nothing yet, and waits to be taken in. Should it have been a member before, it may have said things
    /// that it knows nothing of any more: it says nothing until a leader, who does not count on those, welcomes it.
    waits: AtomicBool,
    /// It was logged that another cluster's leader takes this peer for a member.
    told_of_foreign: AtomicBool,
    receiving: tokio::sync::Mutex<Option<Receiving>>,
}

#[derive(Clone)]
struct Running {
    engine: Engine,
    log: LogStore,
    machine: Arc<Machine>,
    orders: mpsc::Sender<Order>,
    changes_of_members: mpsc::Sender<ChangeOfMembers>,
    /// The end of the log when this peer was started.
    restored: Option<LogId>,
}

/// What is to become of the members.
#[derive(Debug, Clone, Copy)]
enum MemberChange {
    Add(Member),
    Remove(Member),
}

/// With who waits for it.
type ChangeOfMembers = (MemberChange, oneshot::Sender<Answer>);

/// Changes of the members that may wait for the one that is made.
const CHANGES_OF_MEMBERS_MAX: usize = 64;

/// A snapshot that is coming in. A new one takes its place: only one leader sends, one at a time.
struct Receiving {
    snapshot: u64,
    next: u32,
    file: Box<SnapshotFile>,
}

impl fmt::Debug for RaftConsensus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftConsensus").field("me", &self.parts.me).finish_non_exhaustive()
    }
}

impl RaftConsensus {
    /// A consensus that is not started.
    #[must_use]
    pub fn new(config: RaftConfig, parts: Parts) -> Self {
        let (changes, _) = broadcast::channel(CHANGES_BEHIND_MAX);
        Self {
            config,
            parts,
            changes,
            running: Mutex::new(None),
            removed: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            told_of_foreign: AtomicBool::new(false),
            receiving: tokio::sync::Mutex::new(None),
        }
    }

    fn running(&self) -> Result<Running, ConsensusError> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.clone().ok_or(ConsensusError::NotRunning)
    }

    fn patience(&self) -> Patience {
        Patience {
            leader: self.config.wait_for_leader_timeout.get(),
            network: self.config.network_timeout.get(),
            retries: u32::try_from(self.config.commit_retries).unwrap_or(u32::MAX),
            retry_delay: self.config.commit_retry_delay.get(),
        }
    }

    fn me(&self) -> Member {
        Member::new(self.parts.me)
    }

    async fn change(&self, change: Change) -> Result<(), ConsensusError> {
        let (answer, answered) = oneshot::channel();
        self.running()?.orders.try_send(Order::Own(change, answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                ConsensusError::Busy(format!("{QUEUE_MAX} changes wait to be confirmed already: try again"))
            }
            mpsc::error::TrySendError::Closed(_) => ConsensusError::NotRunning,
        })?;
        answered.await.unwrap_or(Err(ConsensusError::NotRunning))
    }

    /// Has the leader change the members, wherever it is. A peer that is no member yet knows no leader: it asks those by
    /// whom it is to be taken in, who know.
    async fn at_leader(&self, change: MemberChange) -> Result<(), ConsensusError> {
        let running = self.running()?;
        let patience = self.patience();
        let mut said = "context deadline exceeded".to_owned();
        let (mut told, mut others) = (None, 0);
        let until = Instant::now() + patience.leader;
        for attempt in 0.. {
            if attempt > usize::try_from(patience.retries).unwrap_or(usize::MAX) && Instant::now() >= until {
                break;
            }
            let outside = self.parts.join.get(attempt % self.parts.join.len().max(1)).copied().map(Member::new);
            let known = told.take().or_else(|| leader(&running.engine)).or(outside);
            let asked = match known {
                Some(member) => member,
                None => match wait_for_leader(&running.engine, patience.leader).await? {
                    Some(leader) => leader,
                    None => return Err(ConsensusError::NoLeader(said)),
                },
            };
            let answer = if asked == self.me() {
                change_members(&running, change).await
            } else {
                let message = match change {
                    MemberChange::Add(member) => Message::AddPeer(member),
                    MemberChange::Remove(member) => Message::RemovePeer(member),
                };
                // The leader waits for a learner as long as that moves.
                match ask(&*self.parts.courier, asked, &message, MEMBERS_MAX).await {
                    Ok(answer) => answer,
                    Err(error @ AskError::Other { .. }) if others + 1 >= self.parts.join.len() => {
                        return Err(ConsensusError::Unsupported(error.to_string()));
                    }
                    Err(error) => {
                        others += usize::from(matches!(error, AskError::Other { .. }));
                        // The leader that is known may be gone: the others are about to elect another.
                        said = error.to_string();
                        tokio::time::sleep(patience.retry_delay).await;
                        continue;
                    }
                }
            };
            match answer {
                Answer::Done => return Ok(()),
                Answer::NotLeader(leader) => {
                    said = format!("{asked} is not the leader");
                    told = leader;
                }
                Answer::Refused(reason) => return Err(ConsensusError::Busy(reason)),
                _ => said = format!("{asked} answered something else than it was asked"),
            }
            tokio::time::sleep(patience.retry_delay).await;
        }
        Err(ConsensusError::NoLeader(said))
    }

    /// How far this peer must be to have everything that was acknowledged anywhere before this call.
    async fn read_index(&self, running: &Running) -> Result<Option<LogId>, ConsensusError> {
        let patience = self.patience();
        let until = Instant::now() + patience.leader;
        loop {
            let Some(leader) = wait_for_leader(&running.engine, patience.leader).await? else {
                return Err(ConsensusError::NoLeader("context deadline exceeded".into()));
            };
            let answer = if leader == self.me() {
                read_index_here(running, patience.network).await
            } else {
                // Order: an answer before another leader: the one that is known after a start may be long gone.
                tokio::select! {
                    biased;
                    answer = ask(&*self.parts.courier, leader, &Message::ReadIndex, patience.network) => {
                        answer.unwrap_or_else(|error| Answer::Refused(error.to_string()))
                    }
                    () = until_led_by_other(&running.engine, leader) => Answer::NotLeader(None),
                }
            };
            let said = match answer {
                Answer::Index(index) => return Ok(index),
                Answer::Refused(reason) => reason,
                _ => format!("{leader} is no longer the leader"),
            };
            if Instant::now() >= until {
                return Err(ConsensusError::NoLeader(said));
            }
            tokio::time::sleep(patience.retry_delay).await;
        }
    }

    async fn answer(&self, message: Message) -> Result<Answer, ConsensusError> {
        let running = self.running()?;
        let refused = |error: &dyn fmt::Display| Answer::Refused(error.to_string());
        if let Some(reason) = self.objection(&running, &message) {
            return Ok(Answer::Refused(reason));
        }
        Ok(match message {
            Message::Hello => Answer::Hello(hello(&running)),
            Message::Welcome => {
                self.waits.store(false, Ordering::SeqCst);
                Answer::Done
            }
            Message::Append(rpc) => Answer::Append(running.engine.append_entries(rpc).await),
            Message::Vote(rpc) => Answer::Vote(running.engine.vote(rpc).await),
            Message::Piece { snapshot, piece, data } => self.take_piece(&running, snapshot, piece, &data).await,
            Message::Install { snapshot, pieces, vote, meta } => {
                let received = self.receiving.lock().await.take_if(|receiving| receiving.snapshot == snapshot);
                // One without pieces is that of an empty pinset.
                let file = match received {
                    Some(receiving) => receiving.file,
                    None => Box::new(running.machine.snapshots().begin()),
                };
                if file.pieces != pieces {
                    // This peer was started anew meanwhile, or another leader sends.
                    give_up(&file);
                    return Ok(refused(&format!(
                        "of {pieces} pieces of snapshot {snapshot}, {} are here",
                        file.pieces
                    )));
                }
                Answer::Installed(
                    running.engine.install_full_snapshot(vote, openraft::Snapshot { meta, snapshot: file }).await,
                )
            }
            Message::Propose(group) => {
                let (answer, answered) = oneshot::channel();
                match running.orders.try_send(Order::Forwarded(group, answer)) {
                    Ok(()) => answered.await.unwrap_or(Answer::NotLeader(None)),
                    Err(_) => refused(&"too many changes wait at the leader"),
                }
            }
            Message::AddPeer(member) if leader(&running.engine) == Some(self.me()) => {
                change_members(&running, MemberChange::Add(member)).await
            }
            Message::RemovePeer(member) if leader(&running.engine) == Some(self.me()) => {
                change_members(&running, MemberChange::Remove(member)).await
            }
            Message::ReadIndex if leader(&running.engine) == Some(self.me()) => {
                read_index_here(&running, self.config.network_timeout.get()).await
            }
            Message::AddPeer(_) | Message::RemovePeer(_) | Message::ReadIndex => {
                Answer::NotLeader(leader(&running.engine))
            }
            Message::Removed => {
                self.removed.store(true, Ordering::SeqCst);
                Answer::Done
            }
        })
    }

    async fn take_piece(&self, running: &Running, snapshot: u64, piece: u32, data: &[u8]) -> Answer {
        let mut receiving = self.receiving.lock().await;
        if piece == 0 {
            // A link that breaks again and again must not leave a snapshot on the disk each time.
            receiving.take().iter().for_each(|before| give_up(&before.file));
            *receiving = Some(Receiving { snapshot, next: 0, file: Box::new(running.machine.snapshots().begin()) });
        }
        match receiving.as_mut().filter(|receiving| receiving.snapshot == snapshot) {
            Some(receiving) if receiving.next == piece => match receiving.file.append(data) {
                Ok(()) => {
                    receiving.next += 1;
                    running.machine.note_piece();
                    Answer::Done
                }
                Err(error) => Answer::Refused(error.to_string()),
            },
            // It was sent again, since the answer was lost.
            Some(receiving) if receiving.next > piece => Answer::Done,
            _ => Answer::Refused(format!("piece {piece} of snapshot {snapshot} does not follow what is here")),
        }
    }

    /// Why this peer does not hear a message of a leader or of who wants to be one, if it does not.
    fn objection(&self, running: &Running, message: &Message) -> Option<String> {
        let sender = match message {
            Message::Append(rpc) => rpc.vote.leader_id().voted_for(),
            Message::Vote(rpc) => rpc.vote.leader_id().voted_for(),
            Message::Install { vote, .. } => vote.leader_id().voted_for(),
            Message::Piece { .. } => None,
            _ => return None,
        };
        if self.waits.load(Ordering::SeqCst) {
            return Some("this peer has nothing, and waits to be taken in".into());
        }
        let alone = running.engine.metrics().borrow().membership_config.voter_ids().eq([self.me()]);
        let contradicts = || match message {
            Message::Append(rpc) => {
                let ids = rpc.prev_log_id.iter().chain(rpc.entries.iter().map(|entry| &entry.log_id));
                contradicts(running, ids.copied())
            }
            _ => false,
        };
        if !alone && !contradicts() {
            return None;
        }
        let sender = sender.map_or_else(|| "a peer".to_owned(), |sender| sender.to_string());
        let reason = format!(
            "{sender} takes this peer for a member of its cluster, which it is not: it is one of another cluster, whose \
             pins it keeps. To move it there: state export, daemon --bootstrap with the address of a member, and add the \
             pins that were exported"
        );
        if !self.told_of_foreign.swap(true, Ordering::SeqCst) {
            tracing::error!("{reason}");
        }
        Some(reason)
    }

    /// Founds the cluster that the configuration names, if there is none and this peer does not wait to be taken in.
    async fn found(&self, engine: &Engine) -> Result<(), String> {
        if !self.parts.join.is_empty() || engine.is_initialized().await.map_err(|e| e.to_string())? {
            return Ok(());
        }
        let peers = self.config.init_peers().into_iter().chain([self.parts.me]);
        let members: BTreeMap<Member, ()> = peers.map(|peer| (Member::new(peer), ())).collect();
        tracing::info!(members = ?members.keys().collect::<Vec<_>>(), "a new cluster begins with these members");
        engine.initialize(members).await.map_err(|e| e.to_string())
    }

    /// Why there is no leader, and what to do.
    fn no_leader(&self, running: &Running) -> String {
        let metrics = running.engine.metrics().borrow().clone();
        let voters: Vec<String> = metrics.membership_config.voter_ids().map(|voter| voter.to_string()).collect();
        let needed = voters.len() / 2 + 1;
        let within = self.config.wait_for_leader_timeout;
        if voters.is_empty() {
            format!(
                "this peer waits to be taken in by a cluster, and was not within {within}: start it with --bootstrap"
            )
        } else {
            format!(
                "no leader was elected within {within}: {needed} of the members {} must run, have the same \
                 cluster.secret and reach each other. If they are lost for good: state export, then state import --alone, \
                 at one of those that are left",
                voters.join(", ")
            )
        }
    }
}

/// Logs who leads, whenever that changes.
async fn tell_of_leaders(engine: Engine) {
    let (mut metrics, mut last) = (engine.metrics(), None);
    loop {
        let (leader, term) = {
            let now = metrics.borrow_and_update();
            (now.current_leader, now.current_term)
        };
        if leader != last {
            match leader {
                Some(leader) => tracing::info!(%leader, term, "raft has a leader"),
                None => tracing::warn!(term, "raft has no leader: nothing can be changed until one is elected"),
            }
            last = leader;
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

/// Why the engine ended, unless it was to.
fn why_ended(state: &Result<(), Fatal<Member>>) -> Option<String> {
    match state {
        Ok(()) | Err(Fatal::Stopped) => None,
        Err(Fatal::StorageError(error)) => Some(format!("{error}. {}", offline::ADVICE)),
        Err(Fatal::Panicked) => Some("raft ended by a fault of this program: start it again".into()),
    }
}

/// Whether what was applied here is another entry than one of these: no leader of this cluster has such, since what was
/// confirmed stays. When the last one that both have is the same, so are those before it.
fn contradicts(running: &Running, ids: impl Iterator<Item = LogId>) -> bool {
    let Some(applied) = running.engine.metrics().borrow().last_applied else { return false };
    let Some(last) = ids.take_while(|id| id.index <= applied.index).last() else { return false };
    let here = if last.index == applied.index { Some(applied) } else { running.log.id_at(last.index).ok().flatten() };
    // Not here any more: nothing to compare.
    here.is_some_and(|here| here != last)
}

/// Removes what came of a snapshot that will not be taken up.
fn give_up(file: &SnapshotFile) {
    if let Err(error) = file.remove() {
        tracing::warn!(%error, "pieces of a snapshot that was given up stay on the disk until the next start");
    }
}

/// The longest that taking in a member may take.
const MEMBERS_MAX: Duration = Duration::from_secs(3_600);

/// Has a change of the members made. It is made to its end, also when who asked for it goes away meanwhile.
async fn change_members(running: &Running, change: MemberChange) -> Answer {
    let (answer, answered) = oneshot::channel();
    match running.changes_of_members.try_send((change, answer)) {
        Ok(()) => answered.await.unwrap_or(Answer::NotLeader(None)),
        Err(_) => Answer::Refused("too many changes of the members wait: try again".into()),
    }
}

/// Makes one change of the members after the other.
async fn make_changes_of_members(members: Arc<Members>, mut waiting: mpsc::Receiver<ChangeOfMembers>) {
    while let Some((change, answer)) = waiting.recv().await {
        let changed = match change {
            MemberChange::Add(member) => members.add(member).await,
            MemberChange::Remove(member) => members.remove(member).await,
        };
        let made = changed.map_or_else(|error| Answer::Refused(error.to_string()), |()| Answer::Done);
        let _nobody_waits = answer.send(made);
    }
}

/// The leader makes sure that it still leads.
///
/// openraft takes a leader that was started anew for the leader that it was, in the same term, and then tells the index
/// up to which it knows the log to be committed. What was acknowledged after that was last written down lies behind it,
/// but not behind the end that the log had.
async fn read_index_here(running: &Running, within: Duration) -> Answer {
    match tokio::time::timeout(within, running.engine.get_read_log_id()).await {
        Ok(Ok((index, _))) => Answer::Index(index.max(running.restored)),
        Ok(Err(error)) => Answer::Refused(error.to_string()),
        Err(_) => Answer::Refused("no majority of the members answered the leader in time".into()),
    }
}

fn hello(running: &Running) -> Hello {
    let metrics = running.engine.metrics().borrow().clone();
    let members = metrics.membership_config.nodes().map(|(member, ())| *member).collect();
    let applied = metrics.last_applied.map_or(0, |id| id.index);
    Hello { members, progress: applied + running.machine.received.load(Ordering::Relaxed) }
}

#[async_trait]
impl Component for RaftConsensus {
    fn key(&self) -> &'static str {
        "raft"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        let failed = |reason: String| StartError { component: "raft", reason };
        let damaged = |reason: &dyn fmt::Display| failed(format!("{reason}. Nothing was changed. {}", offline::ADVICE));
        let log = LogStore::new(Arc::clone(&self.parts.store));
        let state = Arc::clone(&self.parts.state);
        let machine = Machine::open(&self.parts.store, state, self.changes.clone()).map_err(|e| damaged(&e))?;
        let machine = Arc::new(machine);
        log.check(machine.mark().applied).map_err(|e| damaged(&e))?;
        let courier = Arc::clone(&self.parts.courier);
        let now = u64::try_from(self.parts.clock.now().wall.unix_nanos() / 1_000).unwrap_or(0);
        let number = log.first_number(now).map_err(|e| damaged(&e))?;
        let restored = log.state().map_err(|e| damaged(&e))?.last_log_id;
        let engine = Engine::new(
            self.me(),
            Arc::new(self.config.engine()),
            Network(Arc::clone(&courier)),
            log.clone(),
            SharedMachine(Arc::clone(&machine)),
        );
        let engine = engine.await.map_err(|e| damaged(&e))?;
        self.found(&engine).await.map_err(failed)?;
        let founded = engine.is_initialized().await.map_err(|e| failed(e.to_string()))?;
        self.waits.store(!founded, Ordering::SeqCst);
        let (orders, waiting) = mpsc::channel(QUEUE_MAX);
        let (me, patience) = (self.me(), self.patience());
        let proposer = Proposer {
            me,
            engine: engine.clone(),
            courier: Arc::clone(&courier),
            patience,
            machine: Arc::clone(&machine),
            number,
        };
        tasks.spawn_until_stopped("raft-proposer", proposer.run(waiting));
        let one_at_a_time = tokio::sync::Mutex::default();
        let members = Arc::new(Members { me, engine: engine.clone(), courier, patience, one_at_a_time });
        let upkeep = Arc::clone(&members);
        tasks.spawn_until_stopped("raft-upkeep", async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                upkeep.finish_joint().await;
            }
        });
        let (changes_of_members, waiting) = mpsc::channel(CHANGES_OF_MEMBERS_MAX);
        tasks.spawn_until_stopped("raft-members", make_changes_of_members(members, waiting));
        tasks.spawn_until_stopped("raft-leader", tell_of_leaders(engine.clone()));
        let running = Running { engine, log, machine, orders, changes_of_members, restored };
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(())
    }

    async fn shutdown(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return };
        if let Err(error) = running.engine.shutdown().await {
            tracing::error!(%error, "raft did not end in order");
        }
    }
}

#[async_trait]
impl Consensus for RaftConsensus {
    async fn ready(&self) -> Result<(), ConsensusError> {
        let running = self.running()?;
        let within = self.config.wait_for_leader_timeout.get();
        if wait_for_leader(&running.engine, within).await?.is_none() {
            return Err(ConsensusError::NoLeader(self.no_leader(&running)));
        }
        let me = self.me();
        let mut metrics = running.engine.metrics();
        let voter = metrics.wait_for(|now| now.membership_config.voter_ids().any(|voter| voter == me));
        if tokio::time::timeout(within, voter).await.is_err() {
            let text = format!("error waiting to become a Voter: this peer was not taken in within {within:?}");
            return Err(ConsensusError::NoLeader(text));
        }
        // The leader that was known before the start may be gone, and nobody be elected.
        self.wait_for_sync().await.map_err(|error| match error {
            ConsensusError::NoLeader(said) => ConsensusError::NoLeader(format!("{}. {said}", self.no_leader(&running))),
            other => other,
        })
    }

    async fn log_pin(&self, pin: Pin) -> Result<(), ConsensusError> {
        self.change(Change::Put(pin.to_proto())).await
    }

    async fn log_unpin(&self, cid: &Cid) -> Result<(), ConsensusError> {
        self.change(Change::Remove(*cid)).await
    }

    fn state(&self) -> Arc<dyn StateRead> {
        Arc::clone(&self.parts.state) as Arc<dyn StateRead>
    }

    fn changes(&self) -> BoxStream<'static, PinsetChange> {
        futures::stream::unfold(self.changes.subscribe(), |mut changes| async move {
            match changes.recv().await {
                Ok(change) => Some((change, changes)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((PinsetChange::Resync, changes)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
        .boxed()
    }

    async fn peers(&self) -> Result<BTreeSet<PeerId>, ConsensusError> {
        let running = self.running()?;
        let metrics = running.engine.metrics().borrow().clone();
        let mut peers: BTreeSet<PeerId> = metrics.membership_config.nodes().filter_map(|(m, ())| m.peer()).collect();
        if peers.is_empty() {
            peers.insert(self.parts.me); // Not taken in anywhere yet.
        } else if self.removed.load(Ordering::SeqCst) {
            peers.remove(&self.parts.me);
        }
        Ok(peers)
    }

    async fn add_peer(&self, peer: PeerId) -> Result<(), ConsensusError> {
        self.at_leader(MemberChange::Add(Member::new(peer))).await
    }

    async fn remove_peer(&self, peer: &PeerId) -> Result<(), ConsensusError> {
        self.at_leader(MemberChange::Remove(Member::new(*peer))).await
    }

    fn leadership(&self) -> Leadership {
        let Ok(running) = self.running() else { return Leadership::Electing };
        let metrics = running.engine.metrics().borrow().clone();
        // A leader that no majority has heard for this long leads nobody.
        let silent = u128::from(metrics.millis_since_quorum_ack.unwrap_or(0));
        let alone = silent > 2 * self.config.election_timeout.get().as_millis();
        match metrics.current_leader.and_then(|leader| leader.peer()) {
            Some(leader) if leader == self.parts.me && alone => Leadership::Electing,
            Some(leader) => Leadership::Peer(leader),
            None => Leadership::Electing,
        }
    }

    /// As the reference: the network lets in whom it knows, and all of those are trusted.
    fn trusts(&self, _: &PeerId) -> bool {
        true
    }

    fn set_trust(&self, _: &PeerId, _: bool) {}

    async fn wait_for_sync(&self) -> Result<(), ConsensusError> {
        let running = self.running()?;
        let index = self.read_index(&running).await?.index();
        let seen = running.engine.wait(Some(SYNC_MAX)).applied_index_at_least(index, "everything acknowledged").await;
        seen.map(drop).map_err(|error| ConsensusError::Busy(format!("error waiting for consensus updates: {error}")))
    }

    async fn clean(&self) -> Result<(), ConsensusError> {
        if self.running().is_ok() {
            return Err(ConsensusError::Unsupported("consensus component is not shutdown".into()));
        }
        let failed = |error: offline::OfflineError| ConsensusError::Busy(error.to_string());
        if let Some(folder) = &self.parts.backups {
            let keep = usize::try_from(self.config.backups_rotate).unwrap_or(1);
            offline::backup(&*self.parts.state, folder, keep).map_err(failed)?;
        }
        offline::clean(&*self.parts.store, &*self.parts.state).map_err(failed)
    }

    /// The engine ends for good when the disk fails it, or gives back something else than was written.
    async fn broken(&self) -> String {
        let Ok(running) = self.running() else { return std::future::pending().await };
        let mut metrics = running.engine.metrics();
        let ended = metrics.wait_for(|now| now.running_state.is_err()).await;
        match ended.map_or_else(|_| why_ended(&Err(Fatal::Panicked)), |now| why_ended(&now.running_state)) {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    async fn message(&self, message: Bytes) -> Result<Bytes, ConsensusError> {
        let unreadable =
            |error: crate::types::FormError| ConsensusError::Unsupported(format!("a raft message: {error}"));
        let answer = self.answer(decode(&message).map_err(unreadable)?).await?;
        encode(&answer).map_err(unreadable)
    }
}

/// The longest that this peer may take to be in step, a snapshot of millions of pins included.
const SYNC_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_component::errors::NetError;
    use cluster_datastore::MemoryStore;
    use cluster_peer::state::mapstate::MapState;
    use cluster_testkit::contract::{cid, pin};
    use cluster_testkit::{ManualClock, TokioSpawn};
    use cluster_types::store::{DatastoreReadExt, Table};
    use openraft::{CommittedLeaderId, SnapshotMeta, Vote};
    use std::ops::ControlFlow;

    /// Nobody is there.
    struct Nobody;

    #[async_trait]
    impl Courier for Nobody {
        async fn ask(&self, peer: &PeerId, _: Bytes) -> Result<Bytes, NetError> {
            Err(NetError::Unreachable { peer: *peer, reason: "nobody is there".into() })
        }
    }

    /// A member of a cluster of two, the other one of which is not there.
    fn member() -> Arc<RaftConsensus> {
        let parts = Parts {
            me: Member::from(1).peer().expect("a peer"),
            store: Arc::new(MemoryStore::new()),
            state: Arc::new(MapState::new()),
            courier: Arc::new(Nobody),
            clock: Arc::new(ManualClock::default()),
            join: Vec::new(),
            backups: None,
        };
        let other = Member::from(2).to_string();
        let config = RaftConfig { init_peerset: vec![other], ..RaftConfig::default() };
        Arc::new(RaftConsensus::new(config, parts))
    }

    /// What another leader asks for when it has sent a snapshot.
    fn install(snapshot: u64, pieces: u32) -> Message {
        let leader = CommittedLeaderId::new(9, Member::from(2));
        let meta = SnapshotMeta {
            last_log_id: Some(LogId::new(leader, 50)),
            snapshot_id: r#"{"number":1,"groups":{}}"#.into(),
            ..SnapshotMeta::default()
        };
        Message::Install { snapshot, pieces, vote: Vote::new_committed(9, Member::from(2)), meta }
    }

    /// This peer was started anew between the last piece and the order to take the snapshot up: nothing in the place of
    /// all pins would be what it takes up.
    #[tokio::test(start_paused = true)]
    async fn a_snapshot_whose_pieces_are_not_here_is_not_taken_up() {
        let consensus = member();
        let tasks = TaskScope::new(Arc::new(TokioSpawn));
        let mark = encode(&crate::machine::Mark::default()).expect("written");
        consensus.parts.state.apply(&[PinsetChange::Pinned(Arc::new(pin(1, "p")))], mark).expect("pinned");
        Arc::clone(&consensus).start(&tasks).await.expect("started");

        let answer = consensus.answer(install(7, 3)).await.expect("answered");

        assert!(matches!(&answer, Answer::Refused(text) if text.contains("of 3 pieces of snapshot 7, 0 are here")));
        assert_eq!(consensus.state().contains(&cid(1)), Ok(true));
        consensus.shutdown().await;
        tasks.stop().await;
    }

    /// Each try of a link that breaks again and again left as many pieces as had come.
    #[tokio::test(start_paused = true)]
    async fn a_snapshot_that_is_given_up_leaves_nothing_on_the_disk() {
        let consensus = member();
        let tasks = TaskScope::new(Arc::new(TokioSpawn));
        Arc::clone(&consensus).start(&tasks).await.expect("started");
        let pieces = || {
            let mut count = 0;
            let scanned = consensus.parts.store.scan_prefix(Table::RaftMeta, b"s", &mut |key, _| {
                count += usize::from(key.len() == 13);
                ControlFlow::Continue(())
            });
            scanned.map(|()| count)
        };
        for snapshot in 1..=3 {
            for piece in 0..2 {
                let sent = Message::Piece { snapshot, piece, data: Bytes::from_static(b"") };
                assert!(matches!(consensus.answer(sent).await, Ok(Answer::Done)));
            }
            assert_eq!(pieces(), Ok(2), "of snapshot {snapshot}");
        }

        let answer = consensus.answer(install(3, 9)).await.expect("answered");

        assert!(matches!(answer, Answer::Refused(_)));
        assert_eq!(pieces(), Ok(0));
        consensus.shutdown().await;
        tasks.stop().await;
    }
}
