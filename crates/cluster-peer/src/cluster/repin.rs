//! Moving pins away from peers: from one that is put out, and from those that are gone.
//!
//! Which peer acts for a pin is decided without asking anybody: the member that is closest to its CID. Moving never
//! leaves a pin with fewer peers than its minimum, and a peer that answers when it is called is not gone.

use super::MainCluster;
use super::allocation::Choice;
use cluster_component::errors::ClusterError;
use cluster_component::ports::sleep;
use cluster_component::rpc::{Cluster as ClusterRpc, RpcErrorKind, Target};
use cluster_core::allocate::Shortage;
use cluster_core::allocate::closest::is_closest;
use cluster_core::allocate::replace::Loss;
use cluster_types::{Cid, PeerId, Pin, PinType};
use futures::StreamExt;
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a peer that fell silent may take to answer a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How a look over the pinset went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Healed {
    /// Pins that were given to other peers.
    pub(super) moved: usize,
    /// Pins that stay with fewer peers than their minimum, since there are no others, or nobody knows for sure.
    pub(super) short: usize,
}

impl MainCluster {
    /// Gives pins that are held by too few members to others.
    pub(super) async fn heal(&self) -> Result<Healed, ClusterError> {
        let (mut choice, mut healed, mut answers) = (self.choice().await?, Healed::default(), BTreeMap::new());
        // Under raft a peer is a member while it does not run, too.
        let (me, there) = (self.parts.rpc.me(), self.parts.monitor.latest("ping"));
        choice.members.retain(|peer| *peer == me || there.contains_key(peer));
        let mut actors = choice.members.clone();
        actors.retain(|peer| self.parts.consensus.trusts(peer));
        let mut pages = Arc::clone(&self.state).list();
        while let Some(page) = pages.next().await {
            let mut moves = Vec::new();
            for pin in page? {
                let gone: BTreeSet<PeerId> =
                    pin.allocations.iter().filter(|peer| !choice.members.contains(peer)).copied().collect();
                let is_mine = is_closest(&me, &actors, &pin.cid);
                if !is_movable(&pin) || !is_mine || !loss(&choice, &pin, &gone).is_too_few() {
                    continue;
                }
                if self.any_answers(&gone, &mut answers).await {
                    healed.short += 1;
                    continue;
                }
                match self.replaced(&choice, &pin, &gone)? {
                    Ok(allocations) => moves.push(Pin { allocations, ..pin }),
                    Err(_) => healed.short += 1,
                }
            }
            healed.moved += moves.len();
            self.log_all(moves).await?;
        }
        Ok(healed)
    }

    /// Moves every pin of a peer to others. Unless the peer is gone already, nothing is changed when any of them would be
    /// left with too few. Returns how many were moved.
    pub(super) async fn vacate(&self, peer: PeerId, is_gone: bool) -> Result<usize, ClusterError> {
        let mut choice = self.choice().await?;
        choice.members.remove(&peer);
        let gone = BTreeSet::from([peer]);
        if !is_gone {
            self.check_vacate(&choice, &gone, peer).await?;
        }
        let (mut moved, mut pages) = (0, Arc::clone(&self.state).list());
        while let Some(page) = pages.next().await {
            let mut moves = Vec::new();
            for pin in page?.into_iter().filter(|pin| pin.allocations.contains(&peer) && is_movable(pin)) {
                let allocations = match self.replaced(&choice, &pin, &gone)? {
                    Ok(allocations) => allocations,
                    Err(_) => loss(&choice, &pin, &gone).left_with(&self.free_peers(&choice, &pin)?),
                };
                moves.push(Pin { allocations, ..pin });
            }
            moved += moves.len();
            self.log_all(moves).await?;
        }
        Ok(moved)
    }

    async fn check_vacate(&self, choice: &Choice, gone: &BTreeSet<PeerId>, peer: PeerId) -> Result<(), ClusterError> {
        let (mut stuck, mut example, mut pages) = (0_usize, None::<Cid>, Arc::clone(&self.state).list());
        while let Some(page) = pages.next().await {
            for pin in page?.into_iter().filter(|pin| pin.allocations.contains(&peer) && is_movable(pin)) {
                if self.replaced(choice, &pin, gone)?.is_err() {
                    stuck += 1;
                    example.get_or_insert(pin.cid);
                }
            }
        }
        let Some(cid) = example else { return Ok(()) };
        Err(ClusterError::Invalid(format!(
            "cannot remove {peer}: {stuck} pins (such as {cid}) would be held by fewer peers than their minimal \
             replication factor. Add a peer, or lower their factor, and try again. Nothing was changed"
        )))
    }

    fn replaced(
        &self,
        choice: &Choice,
        pin: &Pin,
        gone: &BTreeSet<PeerId>,
    ) -> Result<Result<Vec<PeerId>, Shortage>, ClusterError> {
        Ok(loss(choice, pin, gone).replaced(&self.free_peers(choice, pin)?))
    }

    /// Logs pins together, so that they share a sync.
    async fn log_all(&self, pins: Vec<Pin>) -> Result<(), ClusterError> {
        for pin in &pins {
            tracing::info!(cid = %pin.cid, allocations = ?pin.allocations, "a pin is given to other peers");
        }
        let logged = join_all(pins.into_iter().map(|pin| self.parts.consensus.log_pin(pin))).await;
        Ok(logged.into_iter().collect::<Result<(), _>>()?)
    }

    async fn any_answers(&self, peers: &BTreeSet<PeerId>, known: &mut BTreeMap<PeerId, bool>) -> bool {
        let mut any = false;
        for peer in peers {
            let answers = match known.get(peer) {
                Some(answers) => *answers,
                None => self.answers(peer).await,
            };
            known.insert(*peer, answers);
            any |= answers;
        }
        any
    }

    /// Whether a peer answers when it is called, whatever it answers.
    pub(super) async fn answers(&self, peer: &PeerId) -> bool {
        // Order: an answer before the end of the time for it.
        tokio::select! {
            biased;
            answer = self.parts.rpc.call::<ClusterRpc::Version>(Target::Peer(*peer), ()) => match answer {
                Ok(_) => true,
                Err(error) => error.kind == RpcErrorKind::Unauthorized,
            },
            () = sleep(&*self.parts.clock, CALL_TIMEOUT) => false,
        }
    }
}

/// Whether a pin is at peers that were chosen for it.
fn is_movable(pin: &Pin) -> bool {
    !pin.is_everywhere() && pin.kind != PinType::Meta
}

fn loss<'a>(choice: &'a Choice, pin: &'a Pin, gone: &'a BTreeSet<PeerId>) -> Loss<'a> {
    let (min, max) = (pin.options.replication_factor_min, pin.options.replication_factor_max);
    Loss { stored: &pin.allocations, min, max, gone, members: &choice.members }
}
