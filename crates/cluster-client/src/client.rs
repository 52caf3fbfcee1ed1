//! The client: hosts in the order in which they are tried, credentials, and a time limit.

use crate::error::ClientError;
use crate::host::Host;
use crate::transport::{RequestBody, Transport};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cluster_types::ErrorBody;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, TE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// Most bytes of an answer that is read as a whole.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A client of one or several peers. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    hosts: Vec<Host>,
    transport: Transport,
    authorization: Option<HeaderValue>,
    timeout: Option<Duration>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// Makes a [`Client`].
#[derive(Clone, Default)]
pub struct ClientBuilder {
    hosts: Vec<Host>,
    credentials: Option<(String, String)>,
    timeout: Option<Duration>,
    any_certificate: bool,
    secret: Option<[u8; 32]>,
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// A host more; the first is tried first.
    #[must_use]
    pub fn host(mut self, host: Host) -> Self {
        self.hosts.push(host);
        self
    }

    /// Name and password.
    #[must_use]
    pub fn basic_auth(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// The longest that an exchange may take, its body included. Default: no limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Takes TLS servers for who they say they are.
    #[must_use]
    pub fn accept_any_certificate(mut self) -> Self {
        self.any_certificate = true;
        self
    }

    /// The secret of the private network that hosts over libp2p are in, as the peers' `cluster.secret`.
    #[must_use]
    pub fn secret(mut self, secret: [u8; 32]) -> Self {
        self.secret = Some(secret);
        self
    }

    /// The client.
    ///
    /// # Errors
    /// Without a host, or with credentials that no header can carry.
    pub fn build(self) -> Result<Client, ClientError> {
        if self.hosts.is_empty() {
            return Err(ClientError::Local("no host is given to send requests to".into()));
        }
        let header = |(user, password): (String, String)| {
            let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            HeaderValue::try_from(value).map_err(|e| ClientError::Local(format!("parsing credentials: {e}")))
        };
        Ok(Client {
            hosts: self.hosts,
            transport: Transport::new(!self.any_certificate, self.secret),
            authorization: self.credentials.map(header).transpose()?,
            timeout: self.timeout,
        })
    }
}

/// Makes the body of a request, once for each host that it is sent to.
pub(crate) type MakeBody<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<RequestBody, ClientError>> + Send + Sync);

/// What is asked, without its body.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Path and query, as they go out.
    pub(crate) target: String,
    pub(crate) content_type: Option<String>,
    /// A body that is here as a whole; uploads have another.
    pub(crate) body: Bytes,
}

impl Ask {
    pub(crate) fn new(method: Method, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), content_type: None, body: Bytes::new() }
    }

    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new(Method::GET, target)
    }

    pub(crate) fn post(target: impl Into<String>) -> Self {
        Self::new(Method::POST, target)
    }
}

impl Client {
    /// Begins to make a client.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// When an exchange that begins now must be over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|limit| Instant::now() + limit)
    }

    /// Sends to the first host that can be reached. Only what did not reach anybody goes to the next.
    pub(crate) async fn send(&self, ask: &Ask, body: MakeBody<'_>) -> Result<Response<Incoming>, ClientError> {
        let mut last = ClientError::Local("no host is given to send requests to".into());
        for host in &self.hosts {
            let request = self.request(ask, body().await?)?;
            tracing::debug!("{} {host}{}", ask.method, ask.target);
            let exchange = self.transport.exchange(host, request);
            let answer = match self.timeout {
                None => exchange.await,
                Some(limit) => tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| {
                    let text = format!("{} \"{host}{}\": context deadline exceeded", ask.method, ask.target);
                    Err(ClientError::Transport(text))
                }),
            };
            match answer {
                Err(error @ ClientError::Transport(_)) => {
                    tracing::debug!(%error, "nobody was reached there");
                    last = error;
                }
                Ok(response) => {
                    tracing::debug!(status = %response.status(), headers = ?response.headers(), "answered");
                    return Ok(response);
                }
                Err(other) => return Err(other),
            }
        }
        Err(last)
    }

    fn request(&self, ask: &Ask, body: RequestBody) -> Result<Request<RequestBody>, ClientError> {
        let mut request = Request::builder().method(ask.method.clone()).uri(&ask.target);
        // Late errors come as a trailer, to those who say that they take one.
        request = request.header(TE, HeaderValue::from_static("trailers"));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(content_type) = &ask.content_type {
            request = request.header(http::header::CONTENT_TYPE, content_type);
        }
        request.body(body).map_err(|e| ClientError::Local(format!("the request cannot be sent: {e}")))
    }

    /// Sends without a body and reads the answer as a whole; nothing where the peer says that there is nothing.
    pub(crate) async fn call<T: DeserializeOwned>(&self, ask: Ask) -> Result<Option<T>, ClientError> {
        let deadline = self.deadline();
        let body = || Full::new(ask.body.clone()).map_err(|never| match never {}).boxed_unsync();
        let response = self.send(&ask, &|| Box::pin(std::future::ready(Ok(body())))).await?;
        let status = response.status();
        if status == StatusCode::NO_CONTENT || status == StatusCode::ACCEPTED {
            return Ok(None);
        }
        let body = whole(response, deadline).await?;
        if status.is_client_error() || status.is_server_error() {
            return Err(api_error(status, &body));
        }
        serde_json::from_slice(&body).map(Some).map_err(|e| ClientError::Answer(e.to_string()))
    }

    /// As [`call`](Self::call), where there must be something.
    pub(crate) async fn object<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, ClientError> {
        let answer = self.call(ask).await?;
        answer.ok_or_else(|| ClientError::Answer("it is empty".into()))
    }
}

pub(crate) fn no_body() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Reads an answer that is read as a whole.
pub(crate) async fn whole(response: Response<Incoming>, deadline: Option<Instant>) -> Result<Bytes, ClientError> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
    let body = until(deadline, body).await?.map_err(|e| ClientError::Transport(e.to_string()))?.to_bytes();
    tracing::debug!(body = %String::from_utf8_lossy(&body), "read");
    Ok(body)
}

/// Waits no longer than to the deadline.
pub(crate) async fn until<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Result<T, ClientError> {
    match deadline {
        None => Ok(work.await),
        Some(deadline) => tokio::time::timeout_at(deadline, work)
            .await
            .map_err(|_| ClientError::Transport("context deadline exceeded (while reading body)".into())),
    }
}

/// The error that a peer answered. A body that is none of the API's is the text.
pub(crate) fn api_error(status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(error) => ClientError::Api { code: error.code, message: error.message },
        Err(_) => ClientError::Api { code: status.as_u16(), message: String::from_utf8_lossy(body).into_owned() },
    }
}
