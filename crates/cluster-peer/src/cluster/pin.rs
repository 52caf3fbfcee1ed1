//! Pinning and unpinning: read what is there, ask the rules, choose peers, log.

use super::MainCluster;
use cluster_component::component::AllocationRequest;
use cluster_component::errors::{AllocationError, ClusterError};
use cluster_core::allocate::{Wanted, classify, conclude, wanted};
use cluster_core::pinset::{self, Refusal};
use cluster_types::{Cid, PeerId, Pin, PinOptions, PinType};
use std::collections::BTreeSet;

fn invalid(refusal: Refusal) -> ClusterError {
    ClusterError::Invalid(refusal.0)
}

impl MainCluster {
    fn refuse_if_follower(&self) -> Result<(), ClusterError> {
        if self.config.follower_mode { Err(ClusterError::Follower) } else { Ok(()) }
    }

    /// Logs a pin. What is returned is the pin as it was asked for, with what was decided.
    pub(super) async fn log_pin(&self, pin: Pin) -> Result<Pin, ClusterError> {
        self.refuse_if_follower()?;
        let now = self.parts.clock.now().wall;
        if let Some(from) = pin.options.pin_update.filter(|from| *from != pin.cid) {
            let existing = self.state.get(&from)?.ok_or(ClusterError::NotPinned)?;
            let updated = pinset::update(&existing, pin.cid, &pin.options, now).map_err(invalid)?;
            self.parts.consensus.log_pin(updated.clone()).await?;
            return Ok(updated);
        }
        let existing = self.state.get(&pin.cid)?;
        let mut pin = pinset::prepare(pin, existing.as_ref(), self.config.default_factors(), now).map_err(invalid)?;
        if pin.kind != PinType::Meta && pin.allocations.is_empty() {
            pin.allocations = self.allocate(&pin, existing.as_ref())?;
        }
        self.parts.consensus.log_pin(pin.clone()).await?;
        tracing::debug!(cid = %pin.cid, allocations = pin.allocations.len(), "pinned");
        Ok(pin)
    }

    /// The peers that shall hold a pin; none for one that every peer holds.
    fn allocate(&self, pin: &Pin, existing: Option<&Pin>) -> Result<Vec<PeerId>, ClusterError> {
        let (min, max) = (pin.options.replication_factor_min, pin.options.replication_factor_max);
        if min < 0 && max < 0 {
            return Ok(Vec::new());
        }
        let needs = self.parts.allocator.needs();
        let metrics = needs.iter().map(|name| (name.clone(), self.parts.monitor.latest(name))).collect();
        let stored = existing.map(|pin| pin.allocations.as_slice()).unwrap_or_default();
        let user = pin.options.user_allocations.as_deref().unwrap_or_default();
        let peers = classify(needs, &metrics, stored, user, &|peer| self.may_hold(peer));
        let wanted = wanted(&peers, min, max).map_err(|short| AllocationError::TooFewPeers {
            needed: short.needed,
            wanted: short.wanted,
            available: short.available,
        })?;
        let order = match wanted {
            Wanted::More { .. } => self.parts.allocator.allocate(&AllocationRequest {
                cid: &pin.cid,
                current: &peers.current,
                priority: &peers.priority,
                candidates: &peers.candidates,
            })?,
            Wanted::Keep | Wanted::Trim(_) => Vec::new(),
        };
        if let Wanted::More { needed, wanted } = wanted
            && order.len() < needed
        {
            return Err(too_few(needed, wanted, order.len()).into());
        }
        Ok(conclude(&peers, stored, wanted, &order))
    }

    fn may_hold(&self, peer: &PeerId) -> bool {
        let trusted = self.parts.consensus.trusts(peer);
        !(self.config.pin_only_on_trusted_peers && !trusted || self.config.pin_only_on_untrusted_peers && trusted)
    }

    /// Peers for blocks that are about to be put; for a pin that every peer holds, all that are there.
    pub(super) fn allocate_blocks(&self, pin: Pin) -> Result<Vec<PeerId>, ClusterError> {
        self.refuse_if_follower()?;
        let now = self.parts.clock.now().wall;
        let pin = pinset::prepare(pin, None, self.config.default_factors(), now).map_err(invalid)?;
        if pin.is_everywhere() {
            // Before the first ping has gone round there is this peer at least.
            let mut peers: BTreeSet<PeerId> = self.parts.monitor.latest("ping").into_keys().collect();
            peers.insert(self.parts.rpc.me());
            return Ok(peers.into_iter().collect());
        }
        self.allocate(&pin, None)
    }

    pub(super) async fn pin_what_path_leads_to(&self, path: &str, options: PinOptions) -> Result<Pin, ClusterError> {
        self.refuse_if_follower()?;
        let cid = self.parts.connector.resolve(path).await?;
        self.log_pin(Pin::new(cid, options)).await
    }

    pub(super) async fn log_unpin(&self, cid: &Cid) -> Result<Pin, ClusterError> {
        self.refuse_if_follower()?;
        let pin = self.state.get(cid)?.ok_or(ClusterError::NotPinned)?;
        pinset::check_unpin(&pin).map_err(invalid)?;
        if pin.kind == PinType::Meta {
            let text = "sharded items cannot be unpinned by this version: unpin it at a peer of the reference";
            return Err(ClusterError::Invalid(text.into()));
        }
        self.parts.consensus.log_unpin(cid).await?;
        tracing::debug!(%cid, "unpinned");
        Ok(pin)
    }
}

fn too_few(needed: usize, wanted: usize, available: usize) -> AllocationError {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    AllocationError::TooFewPeers { needed: number(needed), wanted: number(wanted), available }
}
