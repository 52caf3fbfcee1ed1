//! Peers that fall silent: told to whoever asks, and, where that is wanted, healed.

use super::{ALERTS_MAX, MainCluster};
use cluster_component::ports::sleep;
use cluster_types::Alert;
use futures::StreamExt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// When a peer that starts looks first: some peer may have died before it came, of which nobody tells it. Others have told
/// it of themselves by then.
const HEAL_AFTER_START: Duration = Duration::from_secs(30);

/// When it is tried again to heal what could not be healed at once; each wait is twice the one before, up to the
/// interval.
const HEAL_AGAIN_MIN: Duration = Duration::from_secs(2);

impl MainCluster {
    /// Keeps what the monitor tells, whatever follows from it.
    pub(super) async fn collect_alerts(self: Arc<Self>) {
        let mut alerts = self.parts.monitor.alerts();
        while let Some(alert) = alerts.next().await {
            if self.config.follower_mode {
                continue;
            }
            tracing::warn!(peer = %alert.metric.peer, metric = alert.metric.name, "a peer does not renew a metric");
            if alert.metric.name == "ping" {
                self.lost.notify_one();
            }
            let mut kept = self.alerts.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == ALERTS_MAX {
                kept.pop_back();
            }
            kept.push_front(alert);
        }
    }

    pub(super) fn kept_alerts(&self) -> Vec<Alert> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Gives the pins of peers that are gone to others: when one falls silent, and now and then, since there may have
    /// been nobody to give them to, or nobody who looked.
    pub(super) async fn keep_healing(self: Arc<Self>) {
        if self.config.disable_repinning || self.config.follower_mode {
            return;
        }
        let interval = self.config.state_sync_interval.get();
        let (mut wait, mut again) = (HEAL_AFTER_START.min(interval), HEAL_AGAIN_MIN);
        loop {
            // Order: somebody is lost before time has passed; both lead to the same.
            tokio::select! {
                biased;
                () = self.lost.notified() => again = HEAL_AGAIN_MIN,
                () = sleep(&*self.parts.clock, wait) => {}
            }
            let healed = self.heal().await;
            (wait, again) = match &healed {
                Ok(healed) if healed.short == 0 => (interval, HEAL_AGAIN_MIN),
                // Who could take a pin over may just not have told its figures yet.
                _ => (again.min(interval), (again * 2).min(interval)),
            };
            match healed {
                Ok(healed) if healed.moved + healed.short == 0 => {}
                Ok(healed) => tracing::info!(moved = healed.moved, short = healed.short, "pins of lost peers"),
                Err(error) => tracing::warn!(%error, "pins of lost peers could not be given to others"),
            }
        }
    }
}
