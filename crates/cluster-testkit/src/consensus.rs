//! A consensus of one peer that is played: writes to any state, and tells the changes.

use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::component::{Component, Consensus, Leadership, PinsetChange, State, StateRead};
use cluster_component::errors::{ConsensusError, StartError, StateError};
use cluster_component::tasks::TaskScope;
use cluster_types::{Cid, PeerId, Pin};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::broadcast;

/// Changes that a listener may be behind before it is told to compare everything.
const BEHIND_MAX: usize = 1_024;

/// The consensus. It runs from the beginning.
pub struct FakeConsensus<S> {
    me: PeerId,
    state: Arc<S>,
    changes: broadcast::Sender<PinsetChange>,
    distrusted: RwLock<BTreeSet<PeerId>>,
    ended: AtomicBool,
}

impl<S> fmt::Debug for FakeConsensus<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeConsensus").field("me", &self.me).finish_non_exhaustive()
    }
}

impl<S: State> FakeConsensus<S> {
    /// A peer alone, with this pinset.
    #[must_use]
    pub fn new(me: PeerId, state: Arc<S>) -> Self {
        let (changes, _) = broadcast::channel(BEHIND_MAX);
        Self { me, state, changes, distrusted: RwLock::default(), ended: AtomicBool::new(false) }
    }

    /// Makes a change at once.
    ///
    /// # Errors
    /// When it was shut down or the state cannot be written.
    pub fn change(&self, change: PinsetChange) -> Result<(), ConsensusError> {
        self.running()?;
        let failed = |error: StateError| ConsensusError::Busy(error.to_string());
        self.state.apply(std::slice::from_ref(&change), Bytes::new()).map_err(failed)?;
        let _nobody_listens = self.changes.send(change);
        Ok(())
    }

    /// Tells listeners to compare everything, as if they had been too slow.
    pub fn tell_to_compare(&self) {
        let _nobody_listens = self.changes.send(PinsetChange::Resync);
    }

    fn running(&self) -> Result<(), ConsensusError> {
        if self.ended.load(Ordering::SeqCst) { Err(ConsensusError::NotRunning) } else { Ok(()) }
    }
}

#[async_trait]
impl<S: State> Component for FakeConsensus<S> {
    fn key(&self) -> &'static str {
        "fake"
    }

    async fn start(self: Arc<Self>, _tasks: &TaskScope) -> Result<(), StartError> {
        Ok(())
    }

    async fn shutdown(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl<S: State> Consensus for FakeConsensus<S> {
    async fn ready(&self) -> Result<(), ConsensusError> {
        self.running()
    }

    async fn log_pin(&self, pin: Pin) -> Result<(), ConsensusError> {
        self.change(PinsetChange::Pinned(Arc::new(pin)))
    }

    async fn log_unpin(&self, cid: &Cid) -> Result<(), ConsensusError> {
        self.change(PinsetChange::Unpinned(*cid))
    }

    fn state(&self) -> Arc<dyn StateRead> {
        Arc::clone(&self.state) as Arc<dyn StateRead>
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
        Ok(BTreeSet::from([self.me]))
    }

    async fn add_peer(&self, _: PeerId) -> Result<(), ConsensusError> {
        Err(ConsensusError::Unsupported("this peer is alone".into()))
    }

    async fn remove_peer(&self, _: &PeerId) -> Result<(), ConsensusError> {
        Err(ConsensusError::Unsupported("this peer is alone".into()))
    }

    fn leadership(&self) -> Leadership {
        Leadership::Peer(self.me)
    }

    fn trusts(&self, peer: &PeerId) -> bool {
        !self.distrusted.read().unwrap_or_else(PoisonError::into_inner).contains(peer)
    }

    fn set_trust(&self, peer: &PeerId, trusted: bool) {
        let mut distrusted = self.distrusted.write().unwrap_or_else(PoisonError::into_inner);
        let _changed = if trusted { distrusted.remove(peer) } else { distrusted.insert(*peer) };
    }

    async fn wait_for_sync(&self) -> Result<(), ConsensusError> {
        Ok(())
    }

    async fn clean(&self) -> Result<(), ConsensusError> {
        if self.running().is_ok() {
            return Err(ConsensusError::Unsupported("consensus component is not shutdown".into()));
        }
        let failed = |error: StateError| ConsensusError::Busy(error.to_string());
        self.state.replace(&mut std::iter::empty(), None).map_err(failed)
    }
}
