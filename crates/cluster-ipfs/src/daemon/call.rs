//! Requests: always `POST /api/v0/…`, over kept connections; an answer that is no 200 is an error with the daemon's text.

use super::address::NodeAddress;
use super::answer::{Lines, Pieces, read_whole};
use super::dial::{Socket, dial};
use super::figures::{Asked, Followed};
use bytes::Bytes;
use cluster_component::errors::ConnectorError;
use cluster_component::metrics::Metrics;
use cluster_component::ports::{Clock, sleep};
use http::header::{CONTENT_TYPE, HOST, TE};
use http::{HeaderValue, Method, Request, Response, Uri, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Deserialize;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tower_service::Service;

/// The body of a request.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// Connections that are kept open.
const IDLE_MAX: usize = 64;

/// Failures in a row after which requests go out one a second.
const FAILURES_MAX: u32 = 10;

/// A daemon's API.
#[derive(Clone)]
pub(crate) struct Daemon {
    address: Arc<NodeAddress>,
    client: Client<Dialer, RequestBody>,
    clock: Arc<dyn Clock>,
    failures: Arc<AtomicU32>,
    metrics: Arc<Metrics>,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "Message", default)]
    message: String,
}

impl Daemon {
    pub(crate) fn new(address: NodeAddress, clock: Arc<dyn Clock>) -> Self {
        let address = Arc::new(address);
        let dialer = Dialer { address: Arc::clone(&address), clock: Arc::clone(&clock) };
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(IDLE_MAX).set_host(false).build(dialer);
        Self { address, client, clock, failures: Arc::default(), metrics: Arc::default() }
    }

    /// Counts its requests there.
    pub(crate) fn counted(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// Calls; the answer is read as a whole.
    pub(crate) async fn call(&self, path: &str, timeout: Duration) -> Result<Bytes, ConnectorError> {
        let answer = async {
            let response = self.send(path, None, no_body()).await?;
            read_whole(response, &self.shown(path)).await
        };
        self.within(timeout, path, answer).await
    }

    /// Calls; the answer is read line by line.
    pub(crate) async fn lines(&self, path: &str, timeout: Duration) -> Result<Lines, ConnectorError> {
        let response = self.within(timeout, path, self.send(path, None, no_body())).await?;
        Ok(Lines::new(response, self.shown(path)))
    }

    /// Calls; the answer is read as it comes.
    pub(crate) async fn pieces(&self, path: &str, timeout: Duration) -> Result<Pieces, ConnectorError> {
        let response = self.within(timeout, path, self.send(path, None, no_body())).await?;
        Ok(Pieces::new(response, self.shown(path)))
    }

    /// Calls with a form; the answer is read line by line.
    pub(crate) async fn send_form(
        &self,
        path: &str,
        boundary: &str,
        body: RequestBody,
    ) -> Result<Lines, ConnectorError> {
        let response = self.send(path, Some(format!("multipart/form-data; boundary={boundary}")), body).await?;
        Ok(Lines::new(response, self.shown(path)))
    }

    /// What an error names.
    fn shown(&self, path: &str) -> String {
        format!("Post \"{}/api/v0/{path}\"", self.address.base_url)
    }

    /// Gives up after a time. *Cancel safety:* the connection is closed, by which the daemon knows.
    async fn within<T>(
        &self,
        timeout: Duration,
        path: &str,
        work: impl Future<Output = Result<T, ConnectorError>>,
    ) -> Result<T, ConnectorError> {
        if timeout.is_zero() {
            return work.await;
        }
        // Order: an answer before the end of the time for it.
        tokio::select! {
            biased;
            done = work => done,
            () = sleep(&*self.clock, timeout) => {
                Err(ConnectorError::Unavailable(format!("{}: context deadline exceeded", self.shown(path))))
            }
        }
    }

    async fn send(
        &self,
        path: &str,
        content_type: Option<String>,
        body: RequestBody,
    ) -> Result<Response<Followed>, ConnectorError> {
        if self.failures.load(Ordering::Relaxed) > FAILURES_MAX {
            sleep(&*self.clock, Duration::from_secs(1)).await;
        }
        let invalid = |e: http::Error| ConnectorError::Invalid(format!("{}: {e}", self.shown(path)));
        let uri = Uri::builder().scheme("http").authority("daemon").path_and_query(format!("/api/v0/{path}"));
        let mut request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_11)
            .uri(uri.build().map_err(invalid)?)
            .header(HOST, &self.address.host)
            // Late errors come behind the body, to those who say that they take them.
            .header(TE, HeaderValue::from_static("trailers"));
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let asked = Asked::new(Arc::clone(&self.metrics), Arc::clone(&self.clock));
        let request = request.body(asked.sending(body)).map_err(invalid)?;
        let response = self.client.request(request).await.map_err(|error| {
            self.failures.fetch_add(1, Ordering::Relaxed);
            ConnectorError::Unavailable(format!("{}: {}", self.shown(path), bottom(&error)))
        })?;
        self.failures.store(0, Ordering::Relaxed);
        let response = asked.answered(response);
        if response.status().is_success() { Ok(response) } else { Err(refusal(path, response).await) }
    }
}

pub(crate) fn no_body() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The daemon's own words, in the reference's frame.
async fn refusal(path: &str, response: Response<Followed>) -> ConnectorError {
    let code = response.status().as_u16();
    let body = match read_whole(response, path).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    ConnectorError::Refused(match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(error) => format!("IPFS error ({path}). Code: {code}. Message: {}", error.message),
        Err(_) => {
            let text = String::from_utf8_lossy(&body);
            format!("IPFS request failed (is it running?) ({path}). Code {code}: {text}")
        }
    })
}

/// The reason at the bottom of an error.
fn bottom(error: &(dyn Error + 'static)) -> String {
    let mut bottom = error;
    while let Some(source) = bottom.source() {
        bottom = source;
    }
    bottom.to_string()
}

/// Opens connections for the pool.
#[derive(Clone)]
struct Dialer {
    address: Arc<NodeAddress>,
    clock: Arc<dyn Clock>,
}

impl Service<Uri> for Dialer {
    type Response = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let socket = dial(&this.address.target, &*this.clock).await.map_err(io::Error::other)?;
            Ok(Wire(TokioIo::new(socket)))
        })
    }
}

/// A connection of the pool.
struct Wire(TokioIo<Socket>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
