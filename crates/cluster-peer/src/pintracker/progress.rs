//! How far pins are that are under way. Kept here alone: a number that changes with every block is not worth a write.

use cluster_component::component::ProgressSink;
use cluster_types::{Cid, PinProgress};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Pins under way, as many as there may be at a time.
#[derive(Debug, Default)]
pub(super) struct Progresses(Mutex<BTreeMap<Cid, PinProgress>>);

/// A pin under way; dropped, nothing is known of it any more.
#[derive(Debug)]
pub(super) struct Followed(Arc<Progresses>, Cid);

impl Progresses {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<Cid, PinProgress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far a pin is; `None` if that was not told.
    pub(super) fn of(&self, cid: &Cid) -> Option<PinProgress> {
        self.entries().get(cid).copied()
    }

    /// Takes note of what the sink is told, while the other half lives.
    pub(super) fn follow(this: &Arc<Self>, cid: Cid) -> (Followed, ProgressSink) {
        let told = Arc::downgrade(this);
        let sink = move |progress| {
            if let Some(progresses) = told.upgrade() {
                progresses.entries().insert(cid, progress);
            }
        };
        (Followed(Arc::clone(this), cid), Arc::new(sink))
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.entries().remove(&self.1);
    }
}
