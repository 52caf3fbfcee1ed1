//! The way to the collector: requests of the exporter go out over the HTTP client that the peer has anyway.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Most bytes of an answer; a good one has none.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How long the collector may take for one request.
const REQUEST_MAX: Duration = Duration::from_secs(5);

/// Sends requests.
#[derive(Clone)]
pub(crate) struct Collector {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Why the last request failed; the exporter does not say.
    reason: Arc<Mutex<String>>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl Collector {
    /// # Errors
    /// When TLS cannot be used on this system.
    pub(crate) fn new() -> Result<Self, String> {
        let https =
            HttpsConnectorBuilder::new().with_provider_and_webpki_roots(rustls::crypto::ring::default_provider());
        let connector = https.map_err(|e| e.to_string())?.https_or_http().enable_http1().build();
        Ok(Self { http: Client::builder(TokioExecutor::new()).build(connector), reason: Arc::default() })
    }

    /// Why the last request failed.
    pub(crate) fn reason(&self) -> String {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.http.request(request.map(Full::new)).await?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let late = |_| Err(format!("no answer within {REQUEST_MAX:?}").into());
        let answer = tokio::time::timeout(REQUEST_MAX, self.ask(request)).await.unwrap_or_else(late);
        let reason = match &answer {
            Ok(answer) if answer.status().is_success() => String::new(),
            Ok(answer) => format!("the collector answered {}", answer.status()),
            Err(error) => bottom(&**error),
        };
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        answer
    }
}

/// What an error comes from.
fn bottom(error: &(dyn Error + 'static)) -> String {
    let mut bottom = error;
    while let Some(source) = bottom.source() {
        bottom = source;
    }
    bottom.to_string()
}
