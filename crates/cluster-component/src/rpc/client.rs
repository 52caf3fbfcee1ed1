//! The switchboard: takes a question to whom it is for.

use super::error::{RpcError, RpcErrorKind};
use super::method::{Method, MethodInfo, Policy, StreamMethod, UnaryMethod, UploadMethod};
use super::table::Consensus;
use crate::PageStream;
use crate::component;
use crate::metrics::{CallKind, CallSide, Held, Metrics};
use crate::ports::{Clock, Wire};
use crate::trace::{self, Begun, Tracer, Value};
use cluster_types::PeerId;
use futures::future::{BoxFuture, join_all};
use futures::stream::{self, BoxStream, StreamExt};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

/// The row that is told of by its figures alone: Raft's own messages, which are many a second.
const NOT_TRACED: &str = <Consensus::Message as Method>::INFO.name;

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

impl Components {
    /// Lets a peer ask this, or says that it may not.
    ///
    /// # Errors
    /// When the method is not for it.
    pub fn admit(&self, from: &PeerId, method: &MethodInfo) -> Result<(), RpcError> {
        let allowed = match method.policy {
            Policy::Open => true,
            Policy::Trusted => self.consensus.trusts(from),
            Policy::Closed => false,
        };
        // The reference's words.
        let refused = || RpcError::new(RpcErrorKind::Unauthorized, "client does not have permissions to this method");
        if allowed { Ok(()) } else { Err(refused()) }
    }
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

/// Gives calls to peers of the same process to them. Simulations have one; whoever implements it keeps the policy.
pub trait Others: Send + Sync + 'static {
    /// The components of a peer, if they would answer this method to the one that asks.
    fn find(
        &self,
        from: PeerId,
        to: PeerId,
        method: MethodInfo,
    ) -> BoxFuture<'static, Result<Arc<Components>, RpcError>>;
}

/// The network, and the clock that its times are measured by.
type Outside = (Arc<dyn Wire>, Arc<dyn Clock>);

/// Where something is run.
enum At {
    Here(Arc<Components>),
    Peer(PeerId),
}

struct Inner {
    me: PeerId,
    others: Option<Arc<dyn Others>>,
    /// How other peers are reached. As the components: the network hands inbound calls to this switchboard.
    wire: RwLock<Option<Outside>>,
    /// A lock and not a `OnceLock`, since `unbind` breaks the cycle that would keep the store open.
    components: RwLock<Option<Arc<Components>>>,
    /// Rows that this peer answers to nobody else, whatever the table says; there are no more of them than rows.
    closed: RwLock<BTreeSet<&'static str>>,
    /// Where calls from and to other peers are counted.
    metrics: RwLock<Option<Arc<Metrics>>>,
    /// What tells of these calls. Not set while nobody wants to know, which costs a call one load.
    tracer: OnceLock<Tracer>,
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").field("me", &self.0.me).finish_non_exhaustive()
    }
}

/// Measures a call. Dropped without its end it notes nothing.
struct Timer {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    method: &'static str,
    side: CallSide,
    begun: Duration,
    _in_flight: Held,
}

impl Timer {
    fn end(self, done: bool) {
        let kind = CallKind { method: self.method, side: self.side, done };
        self.metrics.call(kind, self.clock.now().mono.saturating_sub(self.begun));
    }
}

/// A call to another peer that is followed to its end. Dropped without its end it tells nothing.
struct Asking {
    timer: Option<Timer>,
    span: Option<Begun>,
}

impl Asking {
    fn end<T>(self, result: &Result<T, RpcError>) {
        if let Some(timer) = self.timer {
            timer.end(result.is_ok());
        }
        let kind = |span: Begun| match result {
            Err(error) => span.with("error.type", Value::Text(error.kind.word().to_owned())),
            Ok(_) => span,
        };
        trace::end(self.span.map(kind), result);
    }
}

/// The pages, whose end is the end of the call.
fn followed_pages<T: Send + 'static>(pages: PageStream<T, RpcError>, asking: Asking) -> PageStream<T, RpcError> {
    if asking.timer.is_none() && asking.span.is_none() {
        return pages;
    }
    stream::unfold((pages, Some(asking)), |(mut pages, mut asking)| async move {
        let page = pages.next().await;
        if let Some(end) = page.as_ref().map_or(Some(&Ok(Vec::new())), |page| page.is_err().then_some(page))
            && let Some(asking) = asking.take()
        {
            asking.end(end);
        }
        page.map(|page| (page, (pages, asking)))
    })
    .boxed()
}

/// What spans of both sides tell of a call, by OpenTelemetry's names; `peer` is the other side.
pub(super) fn told_of(method: &str, peer: &PeerId) -> Vec<(&'static str, Value)> {
    let (service, name) = method.split_once('.').unwrap_or(("", method));
    let text = |text: &str| Value::Text(text.to_owned());
    vec![
        ("rpc.system", text("gorpc")),
        ("rpc.service", text(service)),
        ("rpc.method", text(name)),
        ("peer", Value::Text(peer.to_string())),
    ]
}

impl Rpc {
    /// The switchboard of the peer `me`.
    #[must_use]
    pub fn new(me: PeerId) -> Self {
        Self::with(me, None)
    }

    /// The switchboard of the peer `me`, among others of the same process.
    #[must_use]
    pub fn among(me: PeerId, others: Arc<dyn Others>) -> Self {
        Self::with(me, Some(others))
    }

    fn with(me: PeerId, others: Option<Arc<dyn Others>>) -> Self {
        let (wire, components, closed) = (RwLock::new(None), RwLock::new(None), RwLock::default());
        let (metrics, tracer) = (RwLock::default(), OnceLock::new());
        Self(Arc::new(Inner { me, others, wire, components, closed, metrics, tracer }))
    }

    /// From here on calls from and to other peers are told to this tracer; only the first that is given counts.
    pub fn trace(&self, tracer: Tracer) {
        let _first = self.0.tracer.set(tracer); // There is one for each peer.
    }

    /// Whom calls of this row are told to, if to anybody.
    pub(super) fn tracer(&self, method: &'static str) -> Option<&Tracer> {
        self.0.tracer.get().filter(|_| method != NOT_TRACED)
    }

    /// From here on calls from and to other peers are counted.
    pub fn count(&self, metrics: Arc<Metrics>) {
        *self.0.metrics.write().unwrap_or_else(PoisonError::into_inner) = Some(metrics);
    }

    /// Does work of a call, and notes how long it took. Nothing is noted of work that is given up.
    pub(super) async fn timed<T, E>(
        &self,
        method: &'static str,
        side: CallSide,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let timer = self.timer(method, side);
        let result = work.await;
        if let Some(timer) = timer {
            timer.end(result.is_ok());
        }
        result
    }

    /// Begins to follow a call to another peer.
    fn asking(&self, method: &'static str, peer: &PeerId) -> Asking {
        let begin = |tracer: &Tracer| {
            let begun = tracer.call(|| format!("rpc/{method}"))?;
            Some(told_of(method, peer).into_iter().fold(begun, |begun, (key, value)| begun.with(key, value)))
        };
        Asking { timer: self.timer(method, CallSide::Asked), span: self.tracer(method).and_then(begin) }
    }

    /// Does work of a call to another peer, and tells of it. Nothing is told of work that is given up.
    async fn followed<T>(
        &self,
        method: &'static str,
        peer: PeerId,
        work: impl Future<Output = Result<T, RpcError>>,
    ) -> Result<T, RpcError> {
        let asking = self.asking(method, &peer);
        let result = work.await;
        asking.end(&result);
        result
    }

    /// Begins to measure a call, if anybody wants to know.
    fn timer(&self, method: &'static str, side: CallSide) -> Option<Timer> {
        let (metrics, (_, clock)) = (self.metrics()?, self.wire()?);
        let gauge = match side {
            CallSide::Asked => &metrics.calls_asking,
            CallSide::Answered => &metrics.calls_answering,
        };
        let (in_flight, begun) = (Held::one(gauge), clock.now().mono);
        Some(Timer { metrics, clock, method, side, begun, _in_flight: in_flight })
    }

    pub(super) fn metrics(&self) -> Option<Arc<Metrics>> {
        self.0.metrics.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From here on other peers are reached by this network, in the times of this clock.
    pub fn connect(&self, wire: Arc<dyn Wire>, clock: Arc<dyn Clock>) {
        *self.0.wire.write().unwrap_or_else(PoisonError::into_inner) = Some((wire, clock));
    }

    pub(super) fn wire(&self) -> Option<Outside> {
        self.0.wire.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From here on no other peer is answered this, whatever the table says.
    pub fn close<M: Method>(&self) {
        self.0.closed.write().unwrap_or_else(PoisonError::into_inner).insert(M::INFO.name);
    }

    pub(super) fn is_closed(&self, method: &MethodInfo) -> bool {
        self.0.closed.read().unwrap_or_else(PoisonError::into_inner).contains(method.name)
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

    /// From here on they no longer are, no peer is reached, and the components can be dropped.
    pub fn unbind(&self) {
        *self.0.wire.write().unwrap_or_else(PoisonError::into_inner) = None;
        *self.0.components.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// This peer's components, while they are bound.
    ///
    /// # Errors
    /// When the peer is starting or stopping.
    pub fn local(&self) -> Result<Arc<Components>, RpcError> {
        let bound = self.0.components.read().unwrap_or_else(PoisonError::into_inner);
        bound.clone().ok_or_else(|| RpcError::new(RpcErrorKind::NotReady, "the peer is starting or stopping"))
    }

    /// The components that answer for `target`, when they are in this process.
    async fn at(&self, target: Target, method: MethodInfo) -> Result<At, RpcError> {
        match (target, &self.0.others) {
            (Target::Peer(peer), Some(others)) if peer != self.0.me => {
                others.find(self.0.me, peer, method).await.map(At::Here)
            }
            (Target::Peer(peer), None) if peer != self.0.me => Ok(At::Peer(peer)),
            _ => self.local().map(At::Here),
        }
    }

    /// Asks for one answer.
    ///
    /// # Errors
    /// As the callee says, or when it cannot be reached.
    pub async fn call<M: UnaryMethod>(&self, target: Target, req: M::Req) -> Result<M::Resp, RpcError> {
        match self.at(target, M::INFO).await? {
            At::Here(components) => M::run(components, req).await,
            At::Peer(peer) => self.followed(M::INFO.name, peer, self.ask::<M>(peer, req)).await,
        }
    }

    /// Asks for many answers. An error is the last item.
    pub fn stream<M: StreamMethod>(&self, target: Target, req: M::Req) -> PageStream<M::Resp, RpcError> {
        let this = self.clone();
        let opened = async move {
            match this.at(target, M::INFO).await {
                Ok(At::Here(components)) => M::run(components, req),
                Ok(At::Peer(peer)) => {
                    let asking = this.asking(M::INFO.name, &peer);
                    followed_pages(this.ask_stream::<M>(peer, req), asking)
                }
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        };
        stream::once(opened).flatten().boxed()
    }

    /// Sends many values; returns when all were taken. An error among them ends it, and what came before may not stay.
    ///
    /// # Errors
    /// As the callee says, when it cannot be reached, or as the values.
    pub async fn upload<M: UploadMethod>(
        &self,
        target: Target,
        values: BoxStream<'static, Result<M::Req, RpcError>>,
    ) -> Result<(), RpcError> {
        match self.at(target, M::INFO).await? {
            At::Here(components) => M::run(components, values).await,
            At::Peer(peer) => self.followed(M::INFO.name, peer, self.send_up::<M>(peer, values)).await,
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
