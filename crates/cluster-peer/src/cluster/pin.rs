//! Pinning and unpinning: read what is there, ask the rules, choose peers, log.

use super::MainCluster;
use cluster_component::errors::ClusterError;
use cluster_component::trace::{self, SpanKind, TraceId, Value};
use cluster_core::pinset::{self, Refusal};
use cluster_types::{Cid, PeerId, Pin, PinOptions, PinType, Timestamp};

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
            self.commit(&updated, now).await?;
            return Ok(updated);
        }
        let existing = self.state.get(&pin.cid)?;
        let mut pin = pinset::prepare(pin, existing.as_ref(), self.config.default_factors(), now).map_err(invalid)?;
        // A pin that every peer holds has none: nobody's metrics need be looked at.
        if pin.kind != PinType::Meta && pin.allocations.is_empty() && !pin.is_everywhere() {
            pin.allocations = self.allocate(&self.choice().await?, &pin, existing.as_ref())?;
        }
        self.commit(&pin, now).await?;
        tracing::debug!(cid = %pin.cid, allocations = pin.allocations.len(), "pinned");
        Ok(pin)
    }

    /// Gives a pin to the consensus, and tells of it: which trace it is of follows from its time, so that the span of the
    /// whole, which began earlier, is named here.
    async fn commit(&self, pin: &Pin, begun: Timestamp) -> Result<(), ClusterError> {
        let trace = TraceId::of_pin(pin);
        let root = self.parts.tracer.root(trace, "cluster/Pin").map(|span| {
            let allocations = Value::Number(i64::try_from(pin.allocations.len()).unwrap_or(i64::MAX));
            span.since(begun).with("cid", Value::Text(pin.cid.to_string())).with("allocations", allocations)
        });
        let span = self.parts.tracer.begin(trace, "consensus/LogPin", SpanKind::Internal);
        let logged = self.parts.consensus.log_pin(pin.clone()).await;
        trace::end(span, &logged);
        trace::end(root, &logged);
        Ok(logged?)
    }

    /// Peers for blocks that are about to be put; for a pin that every peer holds, all that are there.
    pub(super) async fn allocate_blocks(&self, pin: Pin) -> Result<Vec<PeerId>, ClusterError> {
        self.refuse_if_follower()?;
        let now = self.parts.clock.now().wall;
        let pin = pinset::prepare(pin, None, self.config.default_factors(), now).map_err(invalid)?;
        if pin.is_everywhere() {
            // Before the first ping has gone round there is this peer at least.
            return Ok(self.parts.consensus.peers().await?.into_iter().collect());
        }
        self.allocate(&self.choice().await?, &pin, None)
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
        let trace = TraceId::of_unpin(cid);
        let root = self.parts.tracer.root(trace, "cluster/Unpin");
        let root = root.map(|span| span.with("cid", Value::Text(cid.to_string())));
        if let (PinType::Meta, Some(shards)) = (pin.kind, pin.reference) {
            self.unpin_shards(shards).await?;
        }
        let span = self.parts.tracer.begin(trace, "consensus/LogUnpin", SpanKind::Internal);
        let logged = self.parts.consensus.log_unpin(cid).await;
        trace::end(span, &logged);
        trace::end(root, &logged);
        logged?;
        tracing::debug!(%cid, "unpinned");
        Ok(pin)
    }

    /// Unpins the parts of a sharded item. If they were before, and only the item itself is left, that is all.
    async fn unpin_shards(&self, top: Cid) -> Result<(), ClusterError> {
        if self.state.get(&top)?.is_none() {
            return Ok(());
        }
        let node = dag::Block { cid: *top, data: self.parts.connector.block_get(&top).await? };
        let shards = dag::shard::links(&node).map_err(|error| ClusterError::Invalid(error.to_string()))?;
        for shard in shards.into_iter().map(Cid) {
            if self.state.get(&shard)?.is_some_and(|pin| pin.kind == PinType::Shard) {
                self.parts.consensus.log_unpin(&shard).await?;
            }
        }
        Ok(self.parts.consensus.log_unpin(&top).await?)
    }
}
