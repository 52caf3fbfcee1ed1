//! Peers that fall silent: told to whoever asks, and, where that is wanted, healed.

use super::{ALERTS_MAX, MainCluster};
use cluster_component::ports::sleep;
use cluster_types::Alert;
use futures::StreamExt;
use std::sync::{Arc, PoisonError};

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
        loop {
            // Order: somebody is lost before time has passed; both lead to the same.
            tokio::select! {
                biased;
                () = self.lost.notified() => {}
                () = sleep(&*self.parts.clock, self.config.state_sync_interval.get()) => {}
            }
            match self.heal().await {
                Ok(healed) if healed.moved + healed.short == 0 => {}
                Ok(healed) => tracing::info!(moved = healed.moved, short = healed.short, "pins of lost peers"),
                Err(error) => tracing::warn!(%error, "pins of lost peers could not be given to others"),
            }
        }
    }
}
