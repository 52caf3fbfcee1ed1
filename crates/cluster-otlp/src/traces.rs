//! The component: a queue of spans, and the task that sends them.

use crate::collector::Collector;
use crate::config::TracingConfig;
use crate::span;
use async_trait::async_trait;
use cluster_component::component::Component;
use cluster_component::errors::StartError;
use cluster_component::tasks::TaskScope;
use cluster_component::trace::{Recorder, Span, TraceId};
use cluster_types::PeerId;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Spans that wait to be sent, some 500 bytes each. What comes when there are so many is dropped, and counted.
const QUEUE_MAX: usize = 8_192;

/// Spans in one request.
const BATCH_MAX: usize = 512;

/// How long spans wait for others to be sent with.
const GATHER: Duration = Duration::from_secs(1);

/// How long one batch is tried. Then it is dropped, and the next one is.
const BATCH_FOR: Duration = Duration::from_secs(10);

/// How long the last batches may take when the peer stops.
const GRACE: Duration = Duration::from_secs(2);

/// Whose traces these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The peer.
    pub peer: PeerId,
    /// Its name.
    pub peername: String,
}

/// Takes spans and sends them to a collector once it is started.
pub struct Traces {
    /// A trace is kept if its number is below this; of 2^63.
    bound: u64,
    queue: mpsc::Sender<Span>,
    dropped: AtomicU64,
    /// Until it is started.
    sender: Mutex<Option<Sender>>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

/// The task.
struct Sender {
    url: String,
    spans: mpsc::Receiver<Span>,
    /// The batch that is being gathered.
    waiting: Vec<Span>,
    exporter: SpanExporter,
    collector: Collector,
    scope: InstrumentationScope,
    /// Whether the last batch was not taken, which was told.
    failing: bool,
}

impl Traces {
    /// Reads where to send to. Nothing is sent before it is started.
    ///
    /// # Errors
    /// When the collector's address cannot be used.
    pub fn new(config: &TracingConfig, origin: &Origin) -> Result<Self, StartError> {
        let failed = |reason: String| StartError { component: "tracing", reason };
        let collector = Collector::new().map_err(failed)?;
        let builder = SpanExporter::builder().with_http().with_http_client(collector.clone());
        let builder = builder.with_endpoint(config.url()).with_timeout(BATCH_FOR);
        let mut exporter = builder.build().map_err(|error| failed(error.to_string()))?;
        exporter.set_resource(&resource(config, origin));
        let scope = InstrumentationScope::builder("ipfs-cluster").with_version(env!("CARGO_PKG_VERSION")).build();
        let (queue, spans) = mpsc::channel(QUEUE_MAX);
        let (url, waiting) = (config.url(), Vec::new());
        let sender = Sender { url, spans, waiting, exporter, collector, scope, failing: false };
        let bound = bound(config.sampling_prob);
        Ok(Self { bound, queue, dropped: AtomicU64::new(0), sender: Mutex::new(Some(sender)) })
    }

    /// Spans for which there was no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// As OpenTelemetry's sampler by the number of the trace, so that others that sample by it keep the same.
fn bound(part: f64) -> u64 {
    const ALL: u64 = 1 << 63;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // A bound need not be exact, and casts from floats stop at the ends.
    let bound = (part.max(0.0) * ALL as f64) as u64;
    if part >= 1.0 { ALL } else { bound }
}

/// The names that the reference gives: the service's with the peer's, and `cluster_id`.
fn resource(config: &TracingConfig, origin: &Origin) -> Resource {
    let peer = origin.peer.to_string();
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", format!("{}-{}", config.service_name, origin.peername)),
            KeyValue::new("service.instance.id", peer.clone()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("cluster_id", peer),
        ])
        .build()
}

impl Recorder for Traces {
    fn wants(&self, trace: &TraceId) -> bool {
        let mut low = [0; 8];
        low.copy_from_slice(&trace.0[8..]);
        u64::from_be_bytes(low) >> 1 < self.bound
    }

    fn record(&self, span: Span) {
        if self.wants(&span.trace) && self.queue.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Component for Traces {
    fn key(&self) -> &'static str {
        "tracing"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        let Some(sender) = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Err(StartError { component: "tracing", reason: "it was started before".into() });
        };
        tracing::info!(target: "observations", "tracing enabled: spans are sent to {}", sender.url);
        tasks.spawn("traces", sender.run(tasks.stopping()));
        Ok(())
    }

    async fn shutdown(&self) {
        // The task sends what waits when its scope ends. What was never started is let go here.
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Sender {
    async fn run(mut self, stopping: CancellationToken) {
        while stopping.run_until_cancelled(self.gather()).await == Some(true) {
            let sending = self.send();
            tokio::pin!(sending);
            // Order: a batch that is taken is done with; one that is not need not hold up the end for long.
            tokio::select! {
                biased;
                () = &mut sending => {}
                () = stopping.cancelled() => drop(tokio::time::timeout(GRACE, sending).await),
            }
        }
        let rest = async {
            while self.fill() {
                self.send().await;
            }
        };
        drop(tokio::time::timeout(GRACE, rest).await); // What the collector does not take by then is lost.
    }

    /// Waits for spans, and a little for more; whether there are any. *Cancel safety:* those that came are kept.
    async fn gather(&mut self) -> bool {
        if self.waiting.is_empty() && self.spans.recv_many(&mut self.waiting, BATCH_MAX).await == 0 {
            return false;
        }
        if self.waiting.len() < BATCH_MAX {
            tokio::time::sleep(GATHER).await;
        }
        self.fill()
    }

    /// Takes what is there, up to a batch; whether there is anything.
    fn fill(&mut self) -> bool {
        while self.waiting.len() < BATCH_MAX
            && let Ok(span) = self.spans.try_recv()
        {
            self.waiting.push(span);
        }
        !self.waiting.is_empty()
    }

    /// Failures are told once, until a batch is taken again.
    async fn send(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let batch: Vec<_> = waiting.into_iter().map(|span| span::data(span, &self.scope)).collect();
        let count = batch.len();
        let result = self.exporter.export(batch).await;
        match (result, self.failing) {
            (Ok(()), true) => {
                self.failing = false;
                tracing::info!(target: "observations", url = %self.url, "traces are taken again");
            }
            (Err(error), false) => {
                self.failing = true;
                let reason = match self.collector.reason() {
                    reason if reason.is_empty() => error.to_string(),
                    reason => reason,
                };
                tracing::warn!(target: "observations", url = %self.url, reason, spans = count,
                    "traces cannot be sent and are dropped; this is told once. Is the collector there? See \
                     observations.tracing.otlp_endpoint");
            }
            (Ok(()), false) | (Err(_), true) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_component::trace::{SpanId, SpanKind};
    use cluster_testkit::TokioSpawn;
    use cluster_types::Timestamp;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// A trace by number, spread as digests are.
    fn trace(number: u64) -> TraceId {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        TraceId(id)
    }

    fn span(number: u64) -> Span {
        Span {
            trace: trace(number),
            id: SpanId(number.to_be_bytes()),
            parent: None,
            name: format!("span {number}"),
            kind: SpanKind::Internal,
            begun: Timestamp::from_unix(1, 2),
            ended: Timestamp::from_unix(3, 4),
            attributes: Vec::new(),
            link: None,
            error: None,
        }
    }

    fn traces(endpoint: &str, part: f64) -> Arc<Traces> {
        let config =
            TracingConfig { sampling_prob: part, otlp_endpoint: endpoint.to_owned(), ..TracingConfig::default() };
        let origin = Origin { peer: PeerId::random(), peername: "me".into() };
        Arc::new(Traces::new(&config, &origin).expect("traces"))
    }

    /// The body of one request.
    async fn body(stream: &mut TcpStream) -> Vec<u8> {
        let mut read = Vec::new();
        loop {
            let end = read.windows(4).position(|part| part == b"\r\n\r\n");
            if let Some(end) = end {
                let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
                let length: usize = length.expect("a length").parse().expect("a number");
                if read.len() >= end + 4 + length {
                    return read.split_off(end + 4);
                }
            }
            assert!(stream.read_buf(&mut read).await.expect("read") > 0, "the request ends early");
        }
    }

    #[tokio::test]
    async fn the_same_part_of_the_traces_is_kept_at_every_peer() {
        let (one, two) = (traces("http://127.0.0.1:1", 0.3), traces("http://127.0.0.1:2", 0.3));
        let kept = (0..10_000).filter(|number| one.wants(&trace(*number))).count();

        assert!((2_800..3_200).contains(&kept), "{kept}");
        assert!((0..10_000).all(|number| one.wants(&trace(number)) == two.wants(&trace(number))));
        assert!((0..10_000).all(|number| traces_of(1.0).wants(&trace(number))));
        assert!((0..10_000).all(|number| !traces_of(0.0).wants(&trace(number))));
    }

    fn traces_of(part: f64) -> Arc<Traces> {
        thread_local! {
            static ALL: Arc<Traces> = traces("http://127.0.0.1:1", 1.0);
            static NONE: Arc<Traces> = traces("http://127.0.0.1:1", 0.0);
        }
        if part > 0.5 { ALL.with(Arc::clone) } else { NONE.with(Arc::clone) }
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_counted_and_dropped() {
        let traces = traces("http://127.0.0.1:1", 1.0);
        (0..QUEUE_MAX as u64 + 7).for_each(|number| traces.record(span(number)));
        assert_eq!(traces.dropped(), 7);
    }

    /// The first request is refused; what comes later is sent, the last of it when the peer stops.
    #[tokio::test]
    async fn a_collector_that_refuses_is_asked_again_and_the_end_sends_what_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let traces = traces(&format!("http://{}", listener.local_addr().expect("an address")), 1.0);
        let tasks = TaskScope::new(Arc::new(TokioSpawn));
        Arc::clone(&traces).start(&tasks).await.expect("started");

        traces.record(span(1));
        let (mut stream, _) = listener.accept().await.expect("asked");
        body(&mut stream).await;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.expect("refused");
        traces.record(span(2));
        let stopped = tokio::spawn(async move { tasks.stop().await });
        let sent = body(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("taken");

        stopped.await.expect("stopped");
        let request = ExportTraceServiceRequest::decode(&*sent).expect("protobuf");
        let spans = &request.resource_spans[0].scope_spans[0].spans;
        let told: Vec<_> = spans.iter().map(|span| (span.name.as_str(), span.start_time_unix_nano)).collect();
        assert_eq!(told, [("span 2", 1_000_000_002)]);
    }

    /// Somebody takes the connection and never answers.
    #[tokio::test(start_paused = true)]
    async fn a_collector_that_is_silent_does_not_hold_up_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let traces = traces(&format!("http://{}", listener.local_addr().expect("an address")), 1.0);
        let tasks = TaskScope::new(Arc::new(TokioSpawn));
        Arc::clone(&traces).start(&tasks).await.expect("started");
        traces.record(span(1));
        let begun = tokio::time::Instant::now();

        tasks.stop().await;

        assert!(begun.elapsed() <= 2 * GRACE, "{:?}", begun.elapsed());
    }
}
