//! Which peers hold a pin: members with the metrics that the allocator goes by, in its order.

use super::MainCluster;
use cluster_component::component::AllocationRequest;
use cluster_component::errors::{AllocationError, ClusterError};
use cluster_core::allocate::request::Metrics;
use cluster_core::allocate::{Peers, Shortage, Wanted, classify, conclude, wanted};
use cluster_types::{Cid, PeerId, Pin};
use std::collections::BTreeSet;

/// What is known of the members at one moment. Good for many pins.
pub(super) struct Choice {
    pub(super) members: BTreeSet<PeerId>,
    metrics: Metrics,
}

impl MainCluster {
    /// Looks at the members and their metrics.
    pub(super) async fn choice(&self) -> Result<Choice, ClusterError> {
        let members = self.parts.consensus.peers().await?;
        let needs = self.parts.allocator.needs();
        let metrics = needs.iter().map(|name| (name.clone(), self.parts.monitor.latest(name))).collect();
        Ok(Choice { members, metrics })
    }

    /// The peers that shall hold a pin; none for one that every peer holds.
    pub(super) fn allocate(
        &self,
        choice: &Choice,
        pin: &Pin,
        existing: Option<&Pin>,
    ) -> Result<Vec<PeerId>, ClusterError> {
        let (min, max) = (pin.options.replication_factor_min, pin.options.replication_factor_max);
        if min < 0 && max < 0 {
            return Ok(Vec::new());
        }
        let stored = existing.map(|pin| pin.allocations.as_slice()).unwrap_or_default();
        let peers = self.sorted(choice, pin, stored);
        let wanted = wanted(&peers, stored.len(), min, max).map_err(too_few)?;
        let order = match wanted {
            Wanted::More { .. } => self.order(&pin.cid, &peers)?,
            Wanted::Keep | Wanted::Trim(_) => Vec::new(),
        };
        if let Wanted::More { needed, wanted } = wanted
            && order.len() < needed
        {
            let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
            let short = Shortage { needed: number(needed), wanted: number(wanted), available: order.len() };
            return Err(too_few(short).into());
        }
        Ok(conclude(&peers, stored, wanted, &order))
    }

    /// Peers that do not hold a pin and could, in the order in which they should be taken.
    pub(super) fn free_peers(&self, choice: &Choice, pin: &Pin) -> Result<Vec<PeerId>, ClusterError> {
        self.order(&pin.cid, &self.sorted(choice, pin, &pin.allocations))
    }

    fn sorted(&self, choice: &Choice, pin: &Pin, stored: &[PeerId]) -> Peers {
        let user = pin.options.user_allocations.as_deref().unwrap_or_default();
        let may_hold = |peer: &PeerId| choice.members.contains(peer) && self.is_allowed(peer);
        classify(self.parts.allocator.needs(), &choice.metrics, stored, user, &may_hold)
    }

    fn order(&self, cid: &Cid, peers: &Peers) -> Result<Vec<PeerId>, ClusterError> {
        Ok(self.parts.allocator.allocate(&AllocationRequest {
            cid,
            current: &peers.current,
            priority: &peers.priority,
            candidates: &peers.candidates,
        })?)
    }

    /// Whether the configuration lets a peer hold pins.
    fn is_allowed(&self, peer: &PeerId) -> bool {
        let trusted = self.parts.consensus.trusts(peer);
        !(self.config.pin_only_on_trusted_peers && !trusted || self.config.pin_only_on_untrusted_peers && trusted)
    }
}

fn too_few(short: Shortage) -> AllocationError {
    AllocationError::TooFewPeers { needed: short.needed, wanted: short.wanted, available: short.available }
}
