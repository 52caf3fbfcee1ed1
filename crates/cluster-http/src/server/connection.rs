//! Connections: accepted up to a bound, served by hyper, cut when nothing moves.

use super::body::{Guarded, RequestBody, ResponseBody};
use super::listener::{BoundListener, Connection};
use super::tls::Tls;
use cluster_component::ports::Duplex;
use cluster_component::tasks::TaskScope;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
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
    /// For the next bytes of a body that is waited for, and for a client to take more of an answer.
    pub stall: Duration,
    /// Bytes of a request's headers.
    pub header_bytes: usize,
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
}

impl Default for Limits {
    /// The reference's defaults, and the bound for clients that stall, which it does not have.
    fn default() -> Self {
        Self {
            read_header: Duration::from_secs(5),
            idle: Duration::from_secs(120),
            read: Duration::ZERO,
            write: Duration::ZERO,
            stall: STALL,
            header_bytes: 4096,
            connections: 16_384,
        }
    }
}

/// The reference lets a request have so much more than the limit says; the smallest buffer of hyper is as large.
const HEADER_SLACK: usize = 4096;

/// How long a client may stall if nothing else is said.
pub(crate) const STALL: Duration = Duration::from_secs(300);

/// Pause after the system refused a connection, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client may go on sending what is not read any more.
const LINGER: Duration = Duration::from_secs(10);

/// How long answers that are under way may take when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// What answers requests. The text is who asks: an IP address, `@` on a unix socket, or a peer over libp2p.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(
        self: Arc<Self>,
        from: Arc<str>,
        request: Request<RequestBody>,
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
            let request = request.map(|body| RequestBody::new(body, limits.stall));
            let response = handler.handle(from, request).await;
            Ok::<_, Infallible>(response.map(|body| Guarded { body, _guard: LastIsSent(watch) }))
        }
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size((limits.header_bytes + HEADER_SLACK).max(8192))
        .serve_connection(Watched { io, watch: Arc::clone(&watch) }, service);
    // Order: an end of the connection first, so that a finished one is not reported as late.
    tokio::select! {
        biased;
        ended = &mut connection => {
            log_end(ended);
            let lingering = tokio::time::timeout(LINGER, linger(connection.into_parts().io.io));
            let _long_enough = stopping.run_until_cancelled(lingering).await;
        }
        () = watch.late() => tracing::debug!("a connection was cut: nothing came or went for too long"),
        () = stopping.cancelled() => {
            Pin::new(&mut connection).graceful_shutdown();
            let _late = tokio::time::timeout(GRACE, connection).await; // Late answers are cut with the connection.
        }
    }
}

/// Passes over what the client still sends, until it closes too. A connection that is closed with bytes unread is reset,
/// and a reset can take an answer away that the client has not read yet: it writes all of its request first, as a rule.
async fn linger<I: Read + Write + Unpin>(mut io: I) {
    let _already = poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await;
    let mut passed_over = vec![0; 16 << 10];
    loop {
        let more = poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut passed_over);
            let read = ready!(Pin::new(&mut io).poll_read(cx, buf.unfilled()));
            Poll::Ready(read.is_ok() && !buf.filled().is_empty())
        });
        if !more.await {
            return;
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
    /// The client, which has not taken all of the answer. Its end is made, and waits in a buffer.
    Sending,
}

/// Knows what a connection is waiting for and until when.
///
/// hyper has one time limit for the wait between requests and for the headers; the configuration has two.
struct Watch {
    limits: Limits,
    state: Mutex<(Phase, Option<Instant>)>,
    /// Until when the client must take more of what it is sent, while it takes nothing.
    blocked: Mutex<Option<Instant>>,
}

impl Watch {
    fn new(limits: Limits) -> Self {
        let watch = Self { limits, state: Mutex::new((Phase::Idle, None)), blocked: Mutex::new(None) };
        watch.enter(Phase::Idle);
        watch
    }

    /// Begins a wait; the end of an answer has no more time than the rest of it.
    fn enter(&self, phase: Phase) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let span = match phase {
            Phase::Sending => return state.0 = phase,
            Phase::Idle => self.limits.idle,
            Phase::Headers => self.limits.read_header,
            // Body and answer overlap in adds, so the longer of the two limits holds for both.
            Phase::Answering => self.limits.read.max(self.limits.write),
        };
        *state = (phase, (!span.is_zero()).then(|| Instant::now() + span));
    }

    fn state(&self) -> (Phase, Option<Instant>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_read(&self) {
        if self.state().0 == Phase::Idle {
            self.enter(Phase::Headers);
        }
    }

    /// Everything that was made of an answer has gone out.
    fn on_flushed(&self) {
        if self.state().0 == Phase::Sending {
            self.enter(Phase::Idle);
        }
    }

    /// Whether a write went on, or waits for the client.
    fn on_write<T>(&self, written: &Poll<T>) {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        *blocked = match written {
            Poll::Ready(_) => None,
            Poll::Pending if self.limits.stall.is_zero() => None,
            Poll::Pending => blocked.or_else(|| Some(Instant::now() + self.limits.stall)),
        };
    }

    /// The end of the present wait, if it has one.
    fn until(&self) -> Option<Instant> {
        let blocked = *self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        [self.state().1, blocked].into_iter().flatten().min()
    }

    /// Returns when the connection has waited for too long.
    async fn late(&self) {
        /// How often the limit is looked up again, since it changes with the phase.
        const LOOK: Duration = Duration::from_secs(1);
        loop {
            let now = Instant::now();
            match self.until() {
                Some(until) if until <= now => return,
                Some(until) => tokio::time::sleep_until(until.min(now + LOOK)).await,
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

/// Dropped with the body of an answer: once its end has gone out, the connection waits for the next request.
struct LastIsSent(Arc<Watch>);

impl Drop for LastIsSent {
    fn drop(&mut self) {
        self.0.enter(Phase::Sending);
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
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch.on_write(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.watch.on_write(&flushed);
        if flushed.is_ready() {
            // hyper flushes when its own buffer is empty.
            self.watch.on_flushed();
        }
        flushed
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
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch.on_write(&written);
        written
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::{buffered, chunked};
    use super::super::{BoundListener, Ending};
    use super::*;
    use bytes::Bytes;
    use cluster_testkit::tasks::TokioSpawn;
    use futures::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;

    /// Answers without end, and tells when an answer is dropped.
    struct Endless(mpsc::Sender<()>);

    struct Told(mpsc::Sender<()>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _nobody_waits = self.0.try_send(());
        }
    }

    impl Handler for Endless {
        async fn handle(self: Arc<Self>, _: Arc<str>, _: Request<RequestBody>) -> Response<ResponseBody> {
            let told = Told(self.0.clone());
            let pieces = futures::stream::repeat(Bytes::from_static(&[b'x'; 64 << 10]));
            let pieces = pieces.map(move |piece| {
                let _until_dropped = &told;
                Ok(piece)
            });
            Response::new(chunked(pieces, Ending { takes_trailers: false, empty_trailer: false }))
        }
    }

    /// Answers at once, with a body that is made as a whole.
    struct Large;

    impl Handler for Large {
        async fn handle(self: Arc<Self>, _: Arc<str>, _: Request<RequestBody>) -> Response<ResponseBody> {
            Response::new(buffered(vec![b'x'; 64 << 10]))
        }
    }

    /// The body was made and gone from here at once, which was taken for the end of the answer.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_an_answer_slowly_is_not_idle_before_it_has_all_of_it() {
        let limits = Limits { idle: Duration::from_secs(10), ..Limits::default() };
        let (mut client, server) = tokio::io::duplex(1 << 10);
        let stopping = CancellationToken::new();
        let served = tokio::spawn(converse(TokioIo::new(server), "".into(), limits, Arc::new(Large), stopping));
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");

        let (mut taken, mut piece) = (0, [0; 1 << 10]);
        while taken < 64 << 10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let read = client.read(&mut piece).await.expect("read");
            assert!(read > 0, "cut after {taken} bytes");
            taken += piece[..read].iter().filter(|byte| **byte == b'x').count();
        }
        let all = Instant::now();
        assert_eq!(client.read(&mut piece).await.expect("closed"), 0);

        let waited = all.elapsed();
        assert!((Duration::from_secs(8)..Duration::from_secs(12)).contains(&waited), "{waited:?}");
        served.await.expect("ended");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_and_one_that_reads_is_not() {
        let limits = Limits { stall: Duration::from_millis(1_500), ..Limits::default() };
        let (sender, mut dropped) = mpsc::channel(2);
        let tasks = TaskScope::new(Arc::new(TokioSpawn));
        let listener = BoundListener::bind(&"/ip4/127.0.0.1/tcp/0".parse().expect("address")).await.expect("bound");
        let address = listener.address().to_string().replace("/ip4/", "").replace("/tcp/", ":");
        serve(listener, limits, Arc::new(Endless(sender)), &tasks);
        let ask = async || {
            let mut stream = TcpStream::connect(&address).await.expect("connected");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
            stream
        };

        let (idle, mut reader) = (ask().await, ask().await);
        let mut buffer = vec![0; 64 << 10];
        let deadline = tokio::time::sleep(Duration::from_secs(60));
        tokio::pin!(deadline);
        loop {
            // Order: the end of the idle one is what is waited for.
            tokio::select! {
                biased;
                told = dropped.recv() => break told.expect("a sender is left"),
                () = &mut deadline => panic!("the idle client is still served"),
                read = reader.read(&mut buffer) => assert!(read.expect("it goes on") > 0),
            }
        }
        assert!(reader.read(&mut buffer).await.expect("it goes on") > 0);
        drop((idle, reader));
        tasks.stop().await;
    }
}
