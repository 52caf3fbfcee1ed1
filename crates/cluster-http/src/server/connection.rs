//! Connections: accepted up to a bound, served by hyper, cut when nothing moves.

use super::body::{Guarded, ResponseBody};
use super::listener::{BoundListener, Connection};
use super::tls::Tls;
use cluster_component::ports::Duplex;
use cluster_component::tasks::TaskScope;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tokio_util::sync::CancellationToken;

/// How long a server waits and how much it takes. A duration of zero is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte of a request to the end of its headers.
    pub read_header: Duration,
    /// Between requests on a connection.
    pub idle: Duration,
    /// From the first byte of a request to the end of its body.
    pub read: Duration,
    /// From the end of a request's headers to the end of the answer.
    pub write: Duration,
    /// Bytes of a request's headers.
    pub header_bytes: usize,
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
}

impl Default for Limits {
    /// The reference's defaults.
    fn default() -> Self {
        Self {
            read_header: Duration::from_secs(5),
            idle: Duration::from_secs(120),
            read: Duration::ZERO,
            write: Duration::ZERO,
            header_bytes: 4096,
            connections: 16_384,
        }
    }
}

/// The reference lets a request have so much more than the limit says; the smallest buffer of hyper is as large.
const HEADER_SLACK: usize = 4096;

/// Pause after the system refused a connection, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long answers that are under way may take when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// What answers requests. The text is who asks: an IP address, `@` on a unix socket, or a peer over libp2p.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(
        self: Arc<Self>,
        from: Arc<str>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<ResponseBody>> + Send;
}

/// Accepts connections in `tasks` until it is stopped.
#[allow(private_bounds)] // Only this crate serves.
pub fn serve<H: Handler>(listener: BoundListener, limits: Limits, handler: Arc<H>, tasks: &TaskScope) {
    serve_tls(listener, None, limits, handler, tasks);
}

/// As [`serve`], over TLS if there is a certificate.
#[allow(private_bounds)] // Only this crate serves.
pub fn serve_tls<H: Handler>(
    listener: BoundListener,
    tls: Option<Arc<Tls>>,
    limits: Limits,
    handler: Arc<H>,
    tasks: &TaskScope,
) {
    let inner = tasks.clone();
    let manner = Manner { tls, limits };
    tasks.spawn("http-accept", async move { accept_loop(listener, manner, handler, inner).await });
}

/// Serves one stream of libp2p, which is talked to as a connection, to its end. `from` is who opened it.
pub(super) async fn serve_stream<H: Handler>(
    stream: Duplex,
    from: Arc<str>,
    limits: Limits,
    handler: Arc<H>,
    stopping: CancellationToken,
) {
    converse(TokioIo::new(stream.compat()), from, limits, handler, stopping).await;
}

/// How connections of a listener are talked to.
#[derive(Clone)]
struct Manner {
    tls: Option<Arc<Tls>>,
    limits: Limits,
}

async fn accept_loop<H: Handler>(listener: BoundListener, manner: Manner, handler: Arc<H>, tasks: TaskScope) {
    let stopping = tasks.stopping();
    let places = Arc::new(Semaphore::new(manner.limits.connections));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let Some((place, accepted)) = stopping.run_until_cancelled(accepted).await else { return };
        match accepted {
            Ok((connection, from)) => {
                let (handler, stopping, manner) = (Arc::clone(&handler), stopping.clone(), manner.clone());
                tasks.spawn("http-connection", async move {
                    let _place = place;
                    match connection {
                        Connection::Tcp(io) => greet(io, from.into(), manner, handler, stopping).await,
                        Connection::Unix(io) => greet(io, from.into(), manner, handler, stopping).await,
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, address = %listener.address(), "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Talks TLS first, if there is a certificate.
async fn greet<I, H>(io: I, from: Arc<str>, manner: Manner, handler: Arc<H>, stopping: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let Some(tls) = manner.tls else {
        return converse(TokioIo::new(io), from, manner.limits, handler, stopping).await;
    };
    match stopping.run_until_cancelled(tls.accept(io)).await {
        Some(Ok(io)) => converse(TokioIo::new(io), from, manner.limits, handler, stopping).await,
        Some(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        None => {}
    }
}

/// Serves one connection to its end.
async fn converse<I, H>(io: I, from: Arc<str>, limits: Limits, handler: Arc<H>, stopping: CancellationToken)
where
    I: Read + Write + Unpin + Send + 'static,
    H: Handler,
{
    let watch = Arc::new(Watch::new(limits));
    let answering = Arc::clone(&watch);
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, from, watch) = (Arc::clone(&handler), Arc::clone(&from), Arc::clone(&answering));
        async move {
            watch.enter(Phase::Answering);
            let response = handler.handle(from, request).await;
            Ok::<_, Infallible>(response.map(|body| Guarded { body, _guard: BackToIdle(watch) }))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size((limits.header_bytes + HEADER_SLACK).max(8192))
        .serve_connection(Watched { io, watch: Arc::clone(&watch) }, service);
    tokio::pin!(connection);
    // Order: an end of the connection first, so that a finished one is not reported as late.
    tokio::select! {
        biased;
        ended = connection.as_mut() => log_end(ended),
        () = watch.late() => tracing::debug!("a connection was cut: nothing came or went for too long"),
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _late = tokio::time::timeout(GRACE, connection).await; // Late answers are cut with the connection.
        }
    }
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first byte of a request.
    Idle,
    /// The rest of a request's headers.
    Headers,
    /// The request's body, and the end of the answer.
    Answering,
}

/// Knows what a connection is waiting for and until when.
///
/// hyper has one time limit for the wait between requests and for the headers; the configuration has two.
struct Watch {
    limits: Limits,
    state: Mutex<(Phase, Option<Instant>)>,
}

impl Watch {
    fn new(limits: Limits) -> Self {
        let watch = Self { limits, state: Mutex::new((Phase::Idle, None)) };
        watch.enter(Phase::Idle);
        watch
    }

    fn enter(&self, phase: Phase) {
        let span = match phase {
            Phase::Idle => self.limits.idle,
            Phase::Headers => self.limits.read_header,
            // Body and answer overlap in adds, so the longer of the two limits holds for both.
            Phase::Answering => self.limits.read.max(self.limits.write),
        };
        let until = (!span.is_zero()).then(|| Instant::now() + span);
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (phase, until);
    }

    fn state(&self) -> (Phase, Option<Instant>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_read(&self) {
        if self.state().0 == Phase::Idle {
            self.enter(Phase::Headers);
        }
    }

    /// Returns when the connection has waited for too long.
    async fn late(&self) {
        /// How often the limit is looked up again, since it changes with the phase.
        const LOOK: Duration = Duration::from_secs(1);
        loop {
            let now = Instant::now();
            match self.state().1 {
                Some(until) if until <= now => return,
                Some(until) => tokio::time::sleep_until(until.min(now + LOOK)).await,
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

/// Dropped with the body of an answer: the connection waits for the next request.
struct BackToIdle(Arc<Watch>);

impl Drop for BackToIdle {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// Tells the watch of bytes that come in.
struct Watched<I> {
    io: I,
    watch: Arc<Watch>,
}

impl<I: Read + Unpin> Read for Watched<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            self.watch.on_read();
        }
        read
    }
}

impl<I: Write + Unpin> Write for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
