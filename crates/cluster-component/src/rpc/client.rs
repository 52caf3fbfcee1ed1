//! The switchboard: takes a question to whom it is for.

use super::error::{RpcError, RpcErrorKind};
use super::method::{StreamMethod, UnaryMethod};
use crate::PageStream;
use crate::component;
use cluster_types::PeerId;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// One handle for each component of a running peer that rows of the table call.
#[allow(missing_debug_implementations)] // The components are traits that need not show themselves.
pub struct Components {
    /// The main component.
    pub cluster: Arc<dyn component::Cluster>,
    /// The pinset.
    pub consensus: Arc<dyn component::Consensus>,
    /// What the daemon shall hold.
    pub tracker: Arc<dyn component::PinTracker>,
    /// The daemon.
    pub connector: Arc<dyn component::IpfsConnector>,
    /// Figures of all peers.
    pub monitor: Arc<dyn component::PeerMonitor>,
}

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// This peer.
    Local,
    /// The peer of this name, which may be this one.
    Peer(PeerId),
}

/// Asks components, here or elsewhere. Cheap to clone.
///
/// Made before the components, since they need it: [`bind`](Self::bind) ends construction.
#[derive(Clone)]
pub struct Rpc(Arc<Inner>);

struct Inner {
    me: PeerId,
    /// A lock and not a `OnceLock`, since `unbind` breaks the cycle that would keep the store open.
    components: RwLock<Option<Arc<Components>>>,
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").field("me", &self.0.me).finish_non_exhaustive()
    }
}

impl Rpc {
    /// The switchboard of the peer `me`.
    #[must_use]
    pub fn new(me: PeerId) -> Self {
        Self(Arc::new(Inner { me, components: RwLock::new(None) }))
    }

    /// Which peer this is.
    #[must_use]
    pub fn me(&self) -> PeerId {
        self.0.me
    }

    /// From here on local questions are answered.
    pub fn bind(&self, components: Components) {
        *self.0.components.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(components));
    }

    /// From here on they no longer are, and the components can be dropped.
    pub fn unbind(&self) {
        *self.0.components.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn local(&self) -> Result<Arc<Components>, RpcError> {
        let bound = self.0.components.read().unwrap_or_else(PoisonError::into_inner);
        bound.clone().ok_or_else(|| RpcError::new(RpcErrorKind::NotReady, "the peer is starting or stopping"))
    }

    /// The components that answer for `target`.
    fn at(&self, target: Target) -> Result<Arc<Components>, RpcError> {
        match target {
            Target::Peer(peer) if peer != self.0.me => Err(RpcError::new(
                RpcErrorKind::Unreachable,
                format!("failed to dial {peer}: this peer is not connected to a network"),
            )),
            Target::Local | Target::Peer(_) => self.local(),
        }
    }

    /// Asks for one answer.
    ///
    /// # Errors
    /// As the callee says, or when it cannot be reached.
    pub async fn call<M: UnaryMethod>(&self, target: Target, req: M::Req) -> Result<M::Resp, RpcError> {
        M::run(self.at(target)?, req).await
    }

    /// Asks for many answers. An error is the last item.
    pub fn stream<M: StreamMethod>(&self, target: Target, req: M::Req) -> PageStream<M::Resp, RpcError> {
        match self.at(target) {
            Ok(components) => M::run(components, req),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    /// Asks several peers at once; tells who said what, in the order asked.
    pub async fn broadcast<M: UnaryMethod>(
        &self,
        peers: &[PeerId],
        req: M::Req,
    ) -> Vec<(PeerId, Result<M::Resp, RpcError>)>
    where
        M::Req: Clone,
    {
        let ask = |&peer: &PeerId| {
            let req = req.clone();
            async move { (peer, self.call::<M>(Target::Peer(peer), req).await) }
        };
        join_all(peers.iter().map(ask)).await
    }
}
