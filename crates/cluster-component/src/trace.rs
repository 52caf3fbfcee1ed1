//! Traces: what a peer did about a pin or a request, when, and for how long. Plain records: who collects them is not here.
//!
//! Calls between peers have no room for the context of a trace, and pins travel by themselves. So the trace of a pin follows
//! from what every peer knows of it: its CID and the second in which it was made. All spans about it fall into one trace,
//! whichever peer they are of, and every peer knows the name of the span that they hang from.
//!
//! A call to another peer is a part of the request that it was made for. Which trace a request is of may be known only when
//! it is over, so the spans of its calls are kept until then.

use crate::ports::Clock;
use cluster_types::{Cid, Pin, Timestamp};
use sha2::{Digest, Sha256};
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Most spans of calls that are kept for one request: a call to each member of a large cluster. Those beyond are not told.
const CALLS_MAX: usize = 512;

/// Names a trace: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// Names a span within its trace: 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

fn digest<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let mut out = [0; N];
    out.copy_from_slice(&hash.finalize()[..N]);
    out
}

impl TraceId {
    /// The trace of a pin: the same at all peers. Time is counted in seconds, as it travels.
    #[must_use]
    pub fn of_pin(pin: &Pin) -> Self {
        Self(digest(&[b"pin", &pin.cid.to_bytes(), &pin.timestamp.unix_secs().to_be_bytes()]))
    }

    /// The trace of letting go of an item. Nothing that travels tells two of them apart.
    #[must_use]
    pub fn of_unpin(cid: &Cid) -> Self {
        Self(digest(&[b"unpin", &cid.to_bytes()]))
    }

    /// The span that all others of a pin hang from: what the peer did that took it.
    #[must_use]
    pub fn root(&self) -> SpanId {
        SpanId(digest(&[b"root", &self.0]))
    }
}

/// The kind of a span, as OpenTelemetry tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Work within the peer.
    Internal,
    /// Answering somebody outside.
    Server,
    /// Asking somebody outside: the IPFS daemon, or another peer.
    Client,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Of which trace.
    pub trace: TraceId,
    /// Its name within the trace.
    pub id: SpanId,
    /// What it is a part of.
    pub parent: Option<SpanId>,
    /// What was done, as `component/Operation`; of a closed set.
    pub name: String,
    /// Its kind.
    pub kind: SpanKind,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// A span of somebody else that led to this one.
    pub link: Option<(TraceId, SpanId)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Takes spans. It never waits: what it has no room for is gone.
pub trait Recorder: Send + Sync + 'static {
    /// Whether spans of this trace are kept. All peers should say the same of the same trace.
    fn wants(&self, trace: &TraceId) -> bool;

    /// Takes a span.
    fn record(&self, span: Span);
}

/// Through which components tell what they did. Cheap to clone; the default tells nobody.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Inner>>);

struct Inner {
    recorder: Arc<dyn Recorder>,
    clock: Arc<dyn Clock>,
    /// Of this peer, so that no two peers name a span the same.
    peer: Vec<u8>,
    /// Spans that have been named.
    named: AtomicU64,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("on", &self.0.is_some()).finish()
    }
}

/// A span that has begun. Dropped without an end it is not told.
#[must_use = "a span that is not ended is not told"]
pub struct Begun {
    tracer: Arc<Inner>,
    span: Span,
    /// What it was done for, where that decides which trace it is of.
    request: Option<Arc<Request>>,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("name", &self.span.name).finish_non_exhaustive()
    }
}

impl Tracer {
    /// Tells this recorder. `peer` is the name of this peer.
    #[must_use]
    pub fn new(recorder: Arc<dyn Recorder>, clock: Arc<dyn Clock>, peer: &cluster_types::PeerId) -> Self {
        Self(Some(Arc::new(Inner { recorder, clock, peer: peer.to_bytes(), named: AtomicU64::new(0) })))
    }

    /// Begins the span that the others of a trace hang from. Within a request it is a part of that, and the request is told
    /// to be of this trace.
    #[must_use]
    pub fn root(&self, trace: TraceId, name: &'static str) -> Option<Begun> {
        let mut begun = self.begin(trace, name, SpanKind::Internal)?;
        begun.span.id = trace.root();
        begun.span.parent = request().and_then(|request| request.is_about(trace).then_some(request.id));
        Some(begun)
    }

    /// Begins a span below that of the trace's root; `None` if nobody wants to know.
    #[must_use]
    pub fn begin(&self, trace: TraceId, name: &'static str, kind: SpanKind) -> Option<Begun> {
        let inner = self.0.as_ref().filter(|inner| inner.recorder.wants(&trace))?;
        let now = inner.now();
        let span = Span {
            trace,
            id: inner.name(now),
            parent: Some(trace.root()),
            name: name.to_owned(),
            kind,
            begun: now,
            ended: now,
            attributes: Vec::new(),
            link: None,
            error: None,
        };
        Some(Begun { tracer: Arc::clone(inner), span, request: None })
    }

    /// Begins a call to another peer: a part of the request that is being answered, or of a trace of its own. `None` if
    /// nobody wants to know.
    #[must_use]
    pub fn call(&self, name: impl FnOnce() -> String) -> Option<Begun> {
        let inner = self.0.as_ref()?;
        let now = inner.now();
        let (id, request) = (inner.name(now), request());
        let trace = request.as_ref().map_or_else(|| inner.own(b"call", id), |request| request.own);
        if request.is_none() && !inner.recorder.wants(&trace) {
            return None;
        }
        let span = Span {
            trace,
            id,
            parent: request.as_ref().map(|request| request.id),
            name: name(),
            kind: SpanKind::Client,
            begun: now,
            ended: now,
            attributes: Vec::new(),
            link: None,
            error: None,
        };
        Some(Begun { tracer: Arc::clone(inner), span, request })
    }

    /// A request from outside begins, of a client or of another peer; `None` if nobody wants to know of any.
    #[must_use]
    pub fn request(&self) -> Option<Arc<Request>> {
        let inner = self.0.as_ref()?;
        let begun = inner.now();
        let id = inner.name(begun);
        let (own, calls) = (inner.own(b"request", id), Mutex::new(Some(Vec::new())));
        Some(Arc::new(Request { id, begun, own, about: OnceLock::new(), calls }))
    }

    /// A request was answered. It is of the trace of the pin that it was about, or of one of its own.
    pub fn answered(&self, request: &Request, told: Answered) {
        let Some(inner) = &self.0 else { return };
        let trace = request.trace();
        let calls = request.calls.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        if !inner.recorder.wants(&trace) {
            return;
        }
        calls.into_iter().for_each(|call| inner.recorder.record(Span { trace, ..call }));
        let Answered { name, attributes, link, error } = told;
        inner.recorder.record(Span {
            trace,
            id: request.id,
            parent: None,
            name,
            kind: SpanKind::Server,
            begun: request.begun,
            ended: inner.now(),
            attributes,
            link,
            error,
        });
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    fn name(&self, now: Timestamp) -> SpanId {
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        SpanId(digest(&[b"span", &self.peer, &now.unix_nanos().to_be_bytes(), &number.to_be_bytes()]))
    }

    /// The trace of something that is about no pin.
    fn own(&self, what: &[u8], id: SpanId) -> TraceId {
        TraceId(digest(&[what, &self.peer, &id.0]))
    }
}

impl Begun {
    /// Adds what is known of it.
    pub fn with(mut self, key: &'static str, value: Value) -> Self {
        self.span.attributes.push((key, value));
        self
    }

    /// It began earlier than it was told.
    pub fn since(mut self, begun: Timestamp) -> Self {
        self.span.begun = begun.min(self.span.begun);
        self
    }

    /// Makes it a part of another.
    pub fn below(mut self, parent: SpanId) -> Self {
        self.span.parent = Some(parent);
        self
    }

    /// Its name, for what is a part of it.
    #[must_use]
    pub fn id(&self) -> SpanId {
        self.span.id
    }

    /// It is over.
    pub fn end<T, E: fmt::Display>(mut self, result: &Result<T, E>) {
        self.span.error = result.as_ref().err().map(ToString::to_string);
        self.span.ended = self.tracer.now();
        let told = match self.request {
            Some(request) => request.keep(self.span),
            None => Some(self.span),
        };
        if let Some(span) = told.filter(|span| self.tracer.recorder.wants(&span.trace)) {
            self.tracer.recorder.record(span);
        }
    }
}

/// Ends a span that may not be.
pub fn end<T, E: fmt::Display>(span: Option<Begun>, result: &Result<T, E>) {
    if let Some(span) = span {
        span.end(result);
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Request {
    id: SpanId,
    begun: Timestamp,
    /// The trace that it is of if it is about no pin.
    own: TraceId,
    about: OnceLock<TraceId>,
    /// Calls that were made for it; `None` once it was answered, from when on calls are told at once.
    calls: Mutex<Option<Vec<Span>>>,
}

impl Request {
    fn trace(&self) -> TraceId {
        self.about.get().copied().unwrap_or(self.own)
    }

    /// Keeps a span until the request is answered; if it was, returns it as it is to be told.
    fn keep(&self, span: Span) -> Option<Span> {
        match self.calls.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            None => return Some(Span { trace: self.trace(), ..span }),
            Some(calls) if calls.len() < CALLS_MAX => calls.push(span),
            Some(_) => {}
        }
        None
    }

    /// Whether it is about this trace, as it is from now on if it was about none.
    fn is_about(&self, trace: TraceId) -> bool {
        *self.about.get_or_init(|| trace) == trace
    }
}

/// How a request was answered.
#[derive(Debug, Default)]
pub struct Answered {
    /// Method and route; of a call of another peer, `rpc/` and the row of the table.
    pub name: String,
    /// What else is known.
    pub attributes: Vec<(&'static str, Value)>,
    /// The span of the client, as its header `traceparent` says.
    pub link: Option<(TraceId, SpanId)>,
    /// What went wrong, if that is this peer's fault.
    pub error: Option<String>,
}

tokio::task_local! {
    static REQUEST: Arc<Request>;
}

fn request() -> Option<Arc<Request>> {
    REQUEST.try_with(Arc::clone).ok()
}

/// Answers a request, so that what is done in the same task is known to be done for it.
pub async fn within<F: Future>(request: Option<Arc<Request>>, answer: F) -> F::Output {
    match request {
        Some(request) => REQUEST.scope(request, answer).await,
        None => answer.await,
    }
}

/// Reads the header `traceparent` (W3C Trace Context): a trace and a span of the client.
#[must_use]
pub fn parse_traceparent(text: &str) -> Option<(TraceId, SpanId)> {
    let mut parts = text.trim().split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
    hex::decode_to_slice(trace, &mut trace_id).ok()?;
    hex::decode_to_slice(span, &mut span_id).ok()?;
    let valid = version.len() == 2 && version != "ff" && trace_id != [0; 16] && span_id != [0; 8];
    valid.then_some((TraceId(trace_id), SpanId(span_id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_types::{PeerId, PinOptions, Time};
    use std::sync::Mutex;
    use std::time::Duration;

    struct Fixed;

    #[async_trait::async_trait]
    impl Clock for Fixed {
        fn now(&self) -> Time {
            Time { mono: Duration::ZERO, wall: Timestamp::from_unix(100, 0) }
        }

        async fn sleep_until(&self, _: Duration) {}
    }

    #[derive(Default)]
    struct Kept(Mutex<Vec<Span>>);

    impl Recorder for Kept {
        fn wants(&self, _: &TraceId) -> bool {
            true
        }

        fn record(&self, span: Span) {
            self.0.lock().expect("kept").push(span);
        }
    }

    fn pin(secs: i64, nanos: u32) -> Pin {
        let cid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN".parse().expect("a CID");
        Pin { timestamp: Timestamp::from_unix(secs, nanos), ..Pin::new(cid, PinOptions::default()) }
    }

    #[test]
    fn peers_that_know_a_pin_by_the_second_name_the_same_trace() {
        assert_eq!(TraceId::of_pin(&pin(7, 0)), TraceId::of_pin(&pin(7, 999)));
        assert_ne!(TraceId::of_pin(&pin(7, 0)), TraceId::of_pin(&pin(8, 0)));
        assert_ne!(TraceId::of_pin(&pin(7, 0)), TraceId::of_unpin(&pin(7, 0).cid));
        assert_eq!(hex::encode(TraceId::of_pin(&pin(7, 0)).0).len(), 32);
    }

    #[tokio::test]
    async fn a_request_is_of_the_trace_of_the_pin_that_it_made() {
        let kept = Arc::new(Kept::default());
        let tracer = Tracer::new(Arc::clone(&kept) as _, Arc::new(Fixed), &PeerId::random());
        let (trace, ok) = (TraceId::of_pin(&pin(7, 0)), Ok::<(), String>(()));

        let request = tracer.request().expect("tracing is on");
        within(Some(Arc::clone(&request)), async {
            let root = tracer.root(trace, "cluster/Pin").expect("wanted");
            tracer.begin(trace, "consensus/LogPin", SpanKind::Internal).expect("wanted").end(&ok);
            root.end(&ok);
        })
        .await;
        tracer.answered(&request, Answered { name: "POST Pin".into(), ..Answered::default() });

        let spans = kept.0.lock().expect("kept");
        let told: Vec<_> = spans.iter().map(|span| (span.name.as_str(), span.trace, span.parent)).collect();
        let expected = [
            ("consensus/LogPin", trace, Some(trace.root())),
            ("cluster/Pin", trace, Some(request.id)),
            ("POST Pin", trace, None),
        ];
        assert_eq!(told, expected);
        assert!(tracer.begin(trace, "x", SpanKind::Internal).expect("wanted").id() != spans[0].id);
    }

    /// Calls are made before a request is known to be about a pin, and behind its answer when that is a stream.
    #[tokio::test]
    async fn calls_are_of_the_trace_of_the_request_that_they_were_made_for() {
        let kept = Arc::new(Kept::default());
        let tracer = Tracer::new(Arc::clone(&kept) as _, Arc::new(Fixed), &PeerId::random());
        let (trace, ok) = (TraceId::of_pin(&pin(7, 0)), Ok::<(), String>(()));
        let begin = |name: &'static str| tracer.call(|| name.to_owned()).expect("wanted");

        let request = tracer.request().expect("tracing is on");
        let late = within(Some(Arc::clone(&request)), async {
            begin("before").end(&ok);
            tracer.root(trace, "cluster/Pin").expect("wanted").end(&ok);
            (0..2 * CALLS_MAX).for_each(|_| begin("many").end(&ok));
            begin("late")
        })
        .await;
        tracer.answered(&request, Answered::default());
        late.end(&Err::<(), _>("gone"));
        begin("alone").end(&ok);

        let spans = kept.0.lock().expect("kept");
        let of = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
        for name in ["before", "late"] {
            assert_eq!((of(name)[0].trace, of(name)[0].parent), (trace, Some(request.id)), "{name}");
        }
        assert_eq!(of("late")[0].error.as_deref(), Some("gone"));
        assert_eq!(of("before").len() + of("many").len(), CALLS_MAX);
        assert!(of("alone")[0].trace != trace && of("alone")[0].parent.is_none());
    }

    #[test]
    fn without_a_recorder_nothing_begins() {
        let tracer = Tracer::default();
        let trace = TraceId::of_pin(&pin(7, 0));
        assert!(tracer.root(trace, "x").is_none() && tracer.request().is_none());
        assert!(tracer.call(|| unreachable!("nobody asks for a name")).is_none());
    }

    #[test]
    fn a_clients_context_is_read_from_its_header() {
        let read = parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").expect("right");
        assert_eq!(hex::encode(read.0.0), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(hex::encode(read.1.0), "b7ad6b7169203331");
        let zero = "0".repeat(32);
        for wrong in ["", "00", "00-x-y-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"] {
            assert_eq!(parse_traceparent(wrong), None, "{wrong}");
        }
        assert_eq!(parse_traceparent(&format!("00-{zero}-b7ad6b7169203331-01")), None);
    }
}
