//! Removing pins whose time is over, at their time.

use super::MainCluster;
use cluster_component::component::PinsetChange;
use cluster_component::ports::sleep;
use cluster_core::allocate::closest::is_closest;
use cluster_core::pinset::expiry::Expiries;
use cluster_types::{Cid, PeerId, Timestamp};
use futures::StreamExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// After so long any peer removes what the closest should have removed.
const GRACE: Duration = Duration::from_secs(60);

/// How often what others should remove is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

impl MainCluster {
    /// Waits for the next pin to expire. Changes of the pinset tell of new ones; now and then it is read anew.
    pub(super) async fn keep_expiring(self: Arc<Self>) {
        if self.config.follower_mode {
            return;
        }
        let (mut changes, mut expiries) = (self.parts.consensus.changes(), Expiries::default());
        let interval = self.config.state_sync_interval.get();
        let mut read_at = self.read_expiries(&mut expiries).await;
        loop {
            let left = self.expire(&mut expiries).await;
            if expiries.is_blind() {
                read_at = self.read_expiries(&mut expiries).await;
            }
            // Order: what is new before what is due, since it may change it. A burst of changes costs one look each.
            tokio::select! {
                biased;
                change = changes.next() => match change {
                    Some(PinsetChange::Pinned(pin)) => expiries.note(pin.cid, pin.options.expire_at),
                    Some(PinsetChange::Unpinned(cid)) => expiries.forget(&cid),
                    Some(PinsetChange::Resync) => read_at = self.read_expiries(&mut expiries).await,
                    None => return,
                },
                () = sleep(&*self.parts.clock, self.until_next(&expiries, left).min(interval)) => {
                    if self.parts.clock.now().mono.saturating_sub(read_at) >= interval {
                        read_at = self.read_expiries(&mut expiries).await;
                    }
                }
            }
        }
    }

    fn until_next(&self, expiries: &Expiries, left: bool) -> Duration {
        if left {
            return LOOK_AGAIN;
        }
        let now = self.parts.clock.now().wall;
        let next = expiries.next().map_or(Duration::MAX, |next| next.saturating_since(now));
        next.max(Duration::from_millis(1))
    }

    async fn read_expiries(&self, expiries: &mut Expiries) -> Duration {
        expiries.clear();
        let mut pages = Arc::clone(&self.state).list();
        while let Some(page) = pages.next().await {
            match page {
                Ok(pins) => pins.iter().for_each(|pin| expiries.note(pin.cid, pin.options.expire_at)),
                Err(error) => tracing::warn!(%error, "pins that expire are not known"),
            }
            tokio::task::yield_now().await;
        }
        self.parts.clock.now().mono
    }

    /// Removes what is due and what this peer is the closest to; tells whether anything is left to others.
    async fn expire(&self, expiries: &mut Expiries) -> bool {
        let now = self.parts.clock.now().wall;
        let due = expiries.due(now);
        if due.is_empty() {
            return false;
        }
        let mut actors = self.parts.consensus.peers().await.unwrap_or_default();
        actors.retain(|peer| self.parts.consensus.trusts(peer));
        let mut left = false;
        for cid in due {
            if self.expire_one(&cid, &actors, now).await { expiries.forget(&cid) } else { left = true }
        }
        left
    }

    /// Whether nothing is left to do about it.
    async fn expire_one(&self, cid: &Cid, actors: &BTreeSet<PeerId>, now: Timestamp) -> bool {
        let Ok(Some(pin)) = self.state.get(cid) else { return true };
        if !pin.is_expired(now) {
            return true;
        }
        let overdue = now.saturating_since(pin.options.expire_at) > GRACE;
        if !overdue && !is_closest(&self.parts.rpc.me(), actors, cid) {
            return false;
        }
        tracing::info!(%cid, "a pin has expired");
        match self.log_unpin(cid).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%cid, %error, "an expired pin could not be removed");
                false
            }
        }
    }
}
