//! The component: listens, and takes each request through log, authentication, CORS and routing to its handler.

use super::answer::{self, Answer};
use super::auth::Credentials;
use super::config::RestApiConfig;
use super::cors::Cors;
use super::route::{self, Found, Route};
use super::{add, openapi, peers, pins, query};
use crate::server::{self, AccessLog, BoundListener, Handler, Limits, Tls};
use async_trait::async_trait;
use cluster_component::component::{Adder, Api, Component};
use cluster_component::errors::StartError;
use cluster_component::metrics::{Metrics, RequestKind};
use cluster_component::ports::Clock;
use cluster_component::rpc::Rpc;
use cluster_component::tasks::TaskScope;
use cluster_types::Multiaddr;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 16_384;

/// The REST API.
pub struct RestApi {
    listeners: Mutex<Vec<BoundListener>>,
    addresses: Vec<Multiaddr>,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    front: Arc<Front>,
}

/// What answers requests.
pub(super) struct Front {
    pub(super) rpc: Rpc,
    pub(super) adder: Arc<dyn Adder>,
    pub(super) clock: Arc<dyn Clock>,
    credentials: Option<Credentials>,
    cors: Cors,
    headers: HeaderMap,
    log: AccessLog,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for RestApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestApi").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl RestApi {
    /// Binds the listeners. Requests are answered once it is started; connections wait until then.
    ///
    /// `folder` is where a relative path of the access log begins.
    ///
    /// # Errors
    /// When an address cannot be listened on, a header makes no sense, or the access log cannot be written.
    pub async fn bind(
        config: &RestApiConfig,
        folder: &Path,
        rpc: Rpc,
        adder: Arc<dyn Adder>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let failed = |reason: String| StartError { component: "restapi", reason };
        let tls = config.tls(folder).map_err(|e| failed(e.message))?.map(Arc::new);
        let mut listeners = Vec::new();
        for address in config.listen_addresses().map_err(|e| failed(e.message))? {
            listeners.push(BoundListener::bind(&address).await.map_err(|e| failed(e.to_string()))?);
        }
        let log = match config.http_log_file.as_str() {
            "" => AccessLog::to_log(),
            file => AccessLog::to_file(&folder.join(file)).map_err(|e| failed(e.to_string()))?,
        };
        let front = Front {
            rpc,
            adder,
            clock,
            credentials: config
                .basic_auth_credentials
                .clone()
                .map(|users| Credentials::new(users, config.token_lifetime.get())),
            cors: Cors::new(config),
            headers: extra_headers(config).map_err(failed)?,
            log,
            metrics,
        };
        Ok(Self {
            addresses: listeners.iter().map(|l| l.address().clone()).collect(),
            listeners: Mutex::new(listeners),
            limits: limits(config),
            tls,
            front: Arc::new(front),
        })
    }
}

fn limits(config: &RestApiConfig) -> Limits {
    let header_bytes = usize::try_from(config.max_header_bytes).unwrap_or(0);
    Limits {
        read_header: config.read_header_timeout.get(),
        idle: config.idle_timeout.get(),
        read: config.read_timeout.get(),
        write: config.write_timeout.get(),
        header_bytes: if header_bytes == 0 { Limits::default().header_bytes } else { header_bytes },
        connections: CONNECTIONS_MAX,
    }
}

fn extra_headers(config: &RestApiConfig) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, values) in &config.headers {
        for value in values {
            let wrong = |_| format!("restapi.headers: \"{name}: {value}\" is no valid HTTP header");
            let name = HeaderName::try_from(name).map_err(|e| wrong(e.to_string()))?;
            map.append(name, HeaderValue::try_from(value).map_err(|e| wrong(e.to_string()))?);
        }
    }
    Ok(map)
}

#[async_trait]
impl Component for RestApi {
    fn key(&self) -> &'static str {
        "restapi"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        let listeners = std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        let how = if self.front.credentials.is_some() { "HTTP - authenticated" } else { "HTTP" };
        for listener in listeners {
            tracing::info!(target: "restapi", "RESTAPI ({how}): {}", listener.address());
            server::serve_tls(listener, self.tls.clone(), self.limits, Arc::clone(&self.front), tasks);
        }
        Ok(())
    }

    async fn shutdown(&self) {
        // Listeners that were never started are closed; the others end with their scope.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Api for RestApi {
    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.addresses.clone()
    }
}

/// What handlers need of a request besides its body.
pub(super) struct Asked {
    /// Decoded pairs of the query, in order.
    pub(super) query: query::Pairs,
    /// Whether the client takes trailers.
    pub(super) takes_trailers: bool,
    pub(super) headers: HeaderMap,
    /// Who asks, where names are asked for.
    pub(super) user: Option<String>,
}

impl Handler for Front {
    async fn handle(self: Arc<Self>, from: Arc<str>, request: Request<Incoming>) -> Answer {
        let entry = self.log.entry(from, &request);
        let (begun, method) = (Instant::now(), request.method().clone());
        let route = route::name(&method, &percent_decode_str(request.uri().path()).decode_utf8_lossy());
        let response = self.admit(request).await;
        let kind = RequestKind { route, method: method.to_string(), status: response.status().as_u16() };
        self.metrics.request(kind, begun.elapsed());
        entry.follow(response)
    }
}

impl Front {
    /// Authentication and CORS come before routing, so that a stranger learns nothing of the routes.
    async fn admit(&self, request: Request<Incoming>) -> Answer {
        if let Some(refusal) = without_host(&request) {
            return refusal;
        }
        let open = request.method() == Method::OPTIONS
            || (request.method() == Method::GET && request.uri().path() == "/health");
        let mut user = None;
        if let (Some(credentials), false) = (&self.credentials, open) {
            match credentials.check(request.headers(), self.clock.now().wall) {
                Ok(known) => user = Some(known),
                Err(refusal) => return self.with_headers(refusal),
            }
        }
        if let Some(preflight) = self.cors.preflight(request.method(), request.headers()) {
            return preflight;
        }
        let (method, origin) = (request.method().clone(), request.headers().get(http::header::ORIGIN).cloned());
        let mut response = self.route(request, user).await;
        self.cors.decorate(&method, origin.as_ref(), response.headers_mut());
        response
    }

    async fn route(&self, request: Request<Incoming>, user: Option<String>) -> Answer {
        let path = percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
        if let Some(elsewhere) = redirect(&request, &path) {
            return elsewhere;
        }
        match route::find(request.method(), &path) {
            Found::Nothing => self.with_headers(answer::error(StatusCode::NOT_FOUND, "not found")),
            Found::MethodNotAllowed => answer::bare(StatusCode::METHOD_NOT_ALLOWED),
            Found::Route(route, argument) => {
                let (parts, body) = request.into_parts();
                let asked = Asked {
                    query: query::parse(parts.uri.query().unwrap_or("")),
                    takes_trailers: server::takes_trailers(&parts.headers),
                    headers: parts.headers,
                    user,
                };
                self.with_headers(self.dispatch(route, argument, asked, body).await)
            }
        }
    }

    async fn dispatch(&self, route: Route, argument: &str, asked: Asked, body: Incoming) -> Answer {
        match route {
            Route::Id => peers::id(self).await,
            Route::Version => peers::version(self).await,
            Route::Peers => peers::list(self, &asked).await,
            Route::PeerAdd => peers::add(self, body).await,
            Route::PeerRemove => peers::remove(self, argument).await,
            Route::Graph => peers::graph(self, &asked).await,
            Route::Bandwidth => peers::bandwidth(self).await,
            Route::Alerts => peers::alerts(self).await,
            Route::Metrics => peers::metrics(self, argument).await,
            Route::MetricNames => peers::metric_names(self).await,
            Route::Health => answer::no_content(),
            Route::OpenApi => answer::object(Ok(openapi::document())),
            Route::Explain => pins::explain(self, argument).await,
            Route::StateDigest => peers::state_digest(self).await,
            Route::Token => self.token(asked.user.as_deref()),
            Route::RepoGc => peers::repo_gc(self, &asked).await,
            Route::Allocations => pins::allocations(self, &asked).await,
            Route::Allocation => pins::allocation(self, argument).await,
            Route::StatusAll => pins::status_all(self, &asked).await,
            Route::Status => pins::status(self, argument, &asked).await,
            Route::Recover => pins::recover(self, argument, &asked).await,
            Route::RecoverAll => pins::recover_all(self, &asked).await,
            Route::Pin => pins::pin(self, argument, &asked).await,
            Route::PinPath => pins::pin_path(self, argument, &asked).await,
            Route::Unpin => pins::unpin(self, argument).await,
            Route::UnpinPath => pins::unpin_path(self, argument).await,
            Route::Add => add::add(self, asked, body).await,
        }
    }

    /// A token for whoever asks. Without credentials there is nobody to make one for, as the reference says it.
    fn token(&self, user: Option<&str>) -> Answer {
        let made = self.credentials.as_ref().zip(user).and_then(|(c, user)| c.token(user, self.clock.now().wall));
        match made {
            Some(token) => answer::object(Ok(serde_json::json!({ "token": token }))),
            None => answer::error(StatusCode::UNAUTHORIZED, "unauthorized"),
        }
    }

    /// The configured headers go on every answer of a handler.
    fn with_headers(&self, mut response: Answer) -> Answer {
        for (name, value) in &self.headers {
            response.headers_mut().append(name, value.clone());
        }
        response
    }
}

/// Paths that are answered under another name: with a slash at the end, and with `//`, `.` or `..` in them.
fn redirect(request: &Request<Incoming>, path: &str) -> Option<Answer> {
    let raw = request.uri().path();
    let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
    let (status, to) = if path.ends_with('/') && path != "/" {
        (StatusCode::TEMPORARY_REDIRECT, format!("{}{query}", raw.strip_suffix('/').unwrap_or(raw)))
    } else {
        let clean = cleaned(raw);
        if clean == raw {
            return None;
        }
        (StatusCode::MOVED_PERMANENTLY, format!("{clean}{query}"))
    };
    // As the reference: who reads pages is told on one where to go on.
    let page = status == StatusCode::TEMPORARY_REDIRECT && *request.method() == Method::GET;
    let html = format!("<a href=\"{}\">Temporary Redirect</a>.\n\n", escaped(&to));
    let mut response: Answer = Response::new(if page { server::buffered(html) } else { server::empty() });
    *response.status_mut() = status;
    if page {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    response.headers_mut().insert(LOCATION, HeaderValue::try_from(to).ok()?);
    Some(response)
}

/// The text as HTML shows it.
fn escaped(text: &str) -> String {
    let pairs = [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&#34;"), ('\'', "&#39;")];
    pairs.into_iter().fold(text.to_owned(), |text, (plain, entity)| text.replace(plain, entity))
}

/// A request that HTTP/1.1 does not allow: the answer of Go's server.
fn without_host(request: &Request<Incoming>) -> Option<Answer> {
    let missing = request.version() == Version::HTTP_11 && !request.headers().contains_key(HOST);
    missing.then(|| {
        let mut response = Response::new(server::buffered("400 Bad Request: missing required Host header"));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        response
    })
}

/// The path without empty, `.` and `..` segments.
fn cleaned(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_the_reference_cleans_them() {
        assert_eq!(cleaned("/pins/ipfs/x//sub"), "/pins/ipfs/x/sub");
        assert_eq!(cleaned("/a/./b/../c"), "/a/c");
        assert_eq!(cleaned("/"), "/");
        assert_eq!(cleaned("/id"), "/id");
    }
}
