//! Letting go of what is others' now, once they have it.

use super::shell::TrackerShell;
use cluster_component::ports::{Clock, sleep};
use cluster_component::rpc::{PinTracker as TrackerRpc, Rpc, RpcErrorKind, Target};
use cluster_core::pinset::leaving::{Report, StillNeeded, may_leave};
use cluster_types::{Cid, PeerId, Pin, Timestamp, TrackerStatus};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Asks another peer whether it holds an item.
pub type AskPeer = Arc<dyn Fn(PeerId, Cid) -> BoxFuture<'static, Report> + Send + Sync>;

/// The longest that a peer may take to say so.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A peer that was silent is not asked again for so long: many items may wait for it.
const SILENCE: Duration = Duration::from_secs(30);

/// Asks by this switchboard.
#[must_use]
pub fn ask_by_rpc(rpc: Rpc, clock: Arc<dyn Clock>) -> AskPeer {
    Arc::new(move |peer, cid| {
        let (rpc, clock) = (rpc.clone(), Arc::clone(&clock));
        async move {
            // Order: an answer before the end of the time for it.
            tokio::select! {
                biased;
                answer = rpc.call::<TrackerRpc::Status>(Target::Peer(peer), cid) => match answer {
                    Ok(info) if info.status.status == TrackerStatus::PINNED => Report::Holds,
                    Ok(_) => Report::Lacks,
                    Err(error) if error.kind == RpcErrorKind::Unauthorized => Report::Refuses,
                    Err(_) => Report::Silent,
                },
                () = sleep(&*clock, ANSWER_MAX) => Report::Silent,
            }
        }
        .boxed()
    })
}

/// Peers that were silent, and when.
#[derive(Debug, Default)]
pub(super) struct Silent(Mutex<BTreeMap<PeerId, Timestamp>>);

impl Silent {
    fn is_silent(&self, peer: &PeerId, now: Timestamp) -> bool {
        let silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not make it silent for ever.
        silent.get(peer).is_some_and(|since| *since <= now && now < since.saturating_add(SILENCE))
    }

    /// Takes note; forgets what is long past.
    fn note(&self, peer: PeerId, report: Report, now: Timestamp) {
        let mut silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        silent.retain(|_, since| now < since.saturating_add(SILENCE));
        if report == Report::Silent {
            silent.insert(peer, now);
        }
    }
}

impl TrackerShell {
    /// Asks the peers of a pin that is not for this one whether they hold it.
    pub(super) async fn may_let_go(&self, pin: &Pin) -> Result<(), StillNeeded> {
        let ask = |peer: PeerId| async move {
            if self.silent.is_silent(&peer, self.now()) {
                return Report::Silent;
            }
            let report = (self.parts.others)(peer, pin.cid).await;
            self.silent.note(peer, report, self.now());
            report
        };
        may_leave(pin, join_all(pin.allocations.iter().copied().map(ask)).await)
    }
}
