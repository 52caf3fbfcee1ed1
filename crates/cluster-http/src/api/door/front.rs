//! The component: listens, and takes each request through log, authentication and CORS to the routes behind the door.

use super::answer::Answer;
use super::auth::Credentials;
use super::config::{ApiConfig, Kind};
use super::cors::Cors;
use super::path::without_dots;
use super::query;
use crate::server::{self, AccessLog, Handler, Journal, Limits, Listeners, RequestBody, Streams, Tls};
use async_trait::async_trait;
use cluster_component::component::{Api, Component};
use cluster_component::errors::StartError;
use cluster_component::metrics::Metrics;
use cluster_component::ports::Clock;
use cluster_component::tasks::TaskScope;
use cluster_component::trace::Tracer;
use cluster_types::{Multiaddr, Timestamp};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use percent_encoding::percent_decode_str;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 16_384;

/// What is behind a door: the routes of one API, and how it words what went wrong.
#[async_trait]
pub(in crate::api) trait Site: Send + Sync + 'static {
    /// The name of the route that a request is for, as metrics count it.
    fn route_name(&self, method: &Method, path: &str) -> &'static str;

    /// An answer that refuses, in the form of this API.
    fn refusal(&self, status: StatusCode, text: &str) -> Answer;

    /// Answers a request that was let in, for the route of this decoded path.
    async fn answer(&self, door: &Door, path: &str, asked: Asked, body: RequestBody) -> Answer;

    /// Tells in the log that requests are answered here now.
    fn tell_listening(&self, how: &str, address: &dyn fmt::Display);
}

/// What a request brings besides its path and its body.
#[derive(Debug)]
pub(in crate::api) struct Asked {
    pub(in crate::api) method: Method,
    /// Decoded pairs of the query, in order.
    pub(in crate::api) query: query::Pairs,
    /// Whether the client takes trailers.
    pub(in crate::api) takes_trailers: bool,
    pub(in crate::api) headers: HeaderMap,
    /// Who asks, where names are asked for.
    pub(in crate::api) user: Option<String>,
}

/// An API over HTTP.
pub struct HttpApi {
    key: &'static str,
    listeners: Listeners,
    /// Where streams of libp2p come in, if they do.
    streams: Option<Streams>,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    front: Arc<Front>,
}

/// Who is let in, and what every answer carries.
pub(in crate::api) struct Door {
    clock: Arc<dyn Clock>,
    credentials: Option<Credentials>,
    cors: Cors,
    headers: HeaderMap,
}

/// What answers requests.
struct Front {
    door: Door,
    site: Box<dyn Site>,
    journal: Journal,
}

impl fmt::Debug for HttpApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpApi")
            .field("key", &self.key)
            .field("addresses", &self.listeners.addresses())
            .finish_non_exhaustive()
    }
}

impl HttpApi {
    /// Binds the listeners. Requests are answered once it is started; connections wait until then.
    ///
    /// `folder` is where a relative path of the access log begins.
    ///
    /// # Errors
    /// When an address cannot be listened on, a header makes no sense, or the access log cannot be written.
    pub(in crate::api) async fn bind<K: Kind>(
        config: &ApiConfig<K>,
        folder: &Path,
        site: impl Site,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let failed = |reason: String| StartError { component: K::KEY, reason };
        let tls = config.tls(folder).map_err(|e| failed(e.message))?.map(Arc::new);
        let addresses = config.listen_addresses().map_err(|e| failed(e.message))?;
        let listeners = Listeners::bind(&addresses).await.map_err(|e| failed(e.to_string()))?;
        let log = AccessLog::named(folder, &config.http_log_file).map_err(|e| failed(e.to_string()))?;
        let users = config.basic_auth_credentials.clone();
        let door = Door {
            clock,
            credentials: users.map(|users| Credentials::new(users, config.token_lifetime.get())),
            cors: Cors::new(config),
            headers: extra_headers(config).map_err(failed)?,
        };
        Ok(Self {
            key: K::KEY,
            listeners,
            limits: limits(config),
            streams: None,
            tls,
            front: Arc::new(Front { door, site: Box::new(site), journal: Journal::new(log, metrics) }),
        })
    }
}

impl HttpApi {
    /// Serves these streams of libp2p too, once it is started. TLS is for connections alone: streams are secured below.
    #[must_use]
    pub fn with_streams(mut self, streams: Option<Streams>) -> Self {
        self.streams = streams;
        self
    }

    /// Tells this tracer of each request.
    #[must_use]
    pub fn traced(mut self, tracer: Tracer) -> Self {
        let front = Arc::get_mut(&mut self.front).expect("connections share it only once it is started");
        front.journal.trace(tracer);
        self
    }
}

fn limits<K: Kind>(config: &ApiConfig<K>) -> Limits {
    let header_bytes = usize::try_from(config.max_header_bytes).unwrap_or(0);
    Limits {
        read_header: config.read_header_timeout.get(),
        idle: config.idle_timeout.get(),
        read: config.read_timeout.get(),
        write: config.write_timeout.get(),
        stall: config.stall_timeout.get(),
        header_bytes: if header_bytes == 0 { Limits::default().header_bytes } else { header_bytes },
        connections: CONNECTIONS_MAX,
    }
}

fn extra_headers<K: Kind>(config: &ApiConfig<K>) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, values) in &config.headers {
        for value in values {
            let wrong = |_| format!("{}.headers: \"{name}: {value}\" is no valid HTTP header", K::KEY);
            let name = HeaderName::try_from(name).map_err(|e| wrong(e.to_string()))?;
            map.append(name, HeaderValue::try_from(value).map_err(|e| wrong(e.to_string()))?);
        }
    }
    Ok(map)
}

#[async_trait]
impl Component for HttpApi {
    fn key(&self) -> &'static str {
        self.key
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        let how = if self.front.door.credentials.is_some() { "HTTP - authenticated" } else { "HTTP" };
        for listener in self.listeners.take() {
            self.front.site.tell_listening(how, listener.address());
            server::serve_tls(listener, self.tls.clone(), self.limits, Arc::clone(&self.front), tasks);
        }
        if let Some(streams) = &self.streams {
            let addresses = streams.addresses().iter().map(|address| format!("        {address}\n"));
            let listing = format!("ENABLED. Listening on:\n{}", addresses.collect::<String>());
            self.front.site.tell_listening("libp2p-http", &listing.trim_end());
            streams.open(self.limits, &self.front, tasks);
        }
        Ok(())
    }

    async fn shutdown(&self) {
        drop(self.listeners.take());
    }
}

impl Api for HttpApi {
    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.listeners.addresses().to_vec()
    }
}

impl Handler for Front {
    async fn handle(self: Arc<Self>, from: Arc<str>, request: Request<RequestBody>) -> Answer {
        let path = percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
        let route = self.site.route_name(request.method(), &path);
        self.journal.follow(from, route, request, |request| self.admit(&path, request)).await
    }
}

impl Front {
    /// Authentication and CORS come before routing, so that a stranger learns nothing of the routes.
    async fn admit(&self, path: &str, request: Request<RequestBody>) -> Answer {
        if let Some(refusal) = without_host(&request) {
            return refusal;
        }
        let open = request.method() == Method::OPTIONS
            || (request.method() == Method::GET && request.uri().path() == "/health");
        let mut user = None;
        if let (Some(credentials), false) = (&self.door.credentials, open) {
            match credentials.check(request.headers(), self.door.now()) {
                Ok(known) => user = Some(known),
                Err(refused) => {
                    let mut response = self.site.refusal(StatusCode::UNAUTHORIZED, refused.message);
                    refused.tell(response.headers_mut());
                    return self.with_headers(response);
                }
            }
        }
        if let Some(preflight) = self.door.cors.preflight(request.method(), request.headers()) {
            return preflight;
        }
        let (method, origin) = (request.method().clone(), request.headers().get(http::header::ORIGIN).cloned());
        let mut response = self.route(path, request, user).await;
        self.door.cors.decorate(&method, origin.as_ref(), response.headers_mut());
        response
    }

    async fn route(&self, path: &str, request: Request<RequestBody>, user: Option<String>) -> Answer {
        if let Some(elsewhere) = redirect(request.method(), request.uri(), path) {
            return elsewhere;
        }
        let (parts, body) = request.into_parts();
        let asked = Asked {
            method: parts.method,
            query: query::parse(parts.uri.query().unwrap_or("")),
            takes_trailers: server::takes_trailers(&parts.headers),
            headers: parts.headers,
            user,
        };
        self.with_headers(self.site.answer(&self.door, path, asked, body).await)
    }

    /// The configured headers go on every answer of a handler, which that to a wrong method is not.
    fn with_headers(&self, mut response: Answer) -> Answer {
        if response.status() != StatusCode::METHOD_NOT_ALLOWED {
            for (name, value) in &self.door.headers {
                response.headers_mut().append(name, value.clone());
            }
        }
        response
    }
}

impl Door {
    /// The time of the clock that tokens go by.
    pub(in crate::api) fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    /// A token for whoever asks. Without credentials there is nobody to make one for.
    pub(in crate::api) fn token(&self, user: Option<&str>) -> Option<String> {
        self.credentials.as_ref().zip(user).and_then(|(credentials, user)| credentials.token(user, self.now()))
    }
}

/// Paths that are answered under another name: with a slash at the end, and with `//`, `.` or `..` in them.
fn redirect(method: &Method, uri: &Uri, path: &str) -> Option<Answer> {
    let raw = uri.path();
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let (status, clean) = if path.ends_with('/') && path != "/" {
        (StatusCode::TEMPORARY_REDIRECT, cleaned(without_last_slash(raw)))
    } else {
        let clean = cleaned(raw);
        if clean == raw {
            return None;
        }
        (StatusCode::MOVED_PERMANENTLY, clean)
    };
    // Browsers take a backslash for a slash, and two of those at the beginning for another host.
    let to = format!("{}{query}", clean.replace('\\', "%5C"));
    // As the reference: who reads pages is told on one where to go on.
    let page = status == StatusCode::TEMPORARY_REDIRECT && *method == Method::GET;
    let html = format!("<a href=\"{}\">Temporary Redirect</a>.\n\n", escaped(&to));
    let mut response: Answer = Response::new(if page { server::buffered(html) } else { server::empty() });
    *response.status_mut() = status;
    if page {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    response.headers_mut().insert(LOCATION, HeaderValue::try_from(to).ok()?);
    Some(response)
}

/// The path without the slash at its end, which may be escaped.
fn without_last_slash(raw: &str) -> &str {
    ["/", "%2F", "%2f"].iter().find_map(|slash| raw.strip_suffix(slash)).unwrap_or(raw)
}

/// The text as HTML shows it.
fn escaped(text: &str) -> String {
    let pairs = [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&#34;"), ('\'', "&#39;")];
    pairs.into_iter().fold(text.to_owned(), |text, (plain, entity)| text.replace(plain, entity))
}

/// A request that HTTP/1.1 does not allow: the answer of Go's server.
fn without_host(request: &Request<RequestBody>) -> Option<Answer> {
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
    format!("/{}", without_dots(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_to_this_server_and_not_to_itself() {
        let to = |raw: &'static str| {
            let uri = Uri::from_static(raw);
            let path = percent_decode_str(uri.path()).decode_utf8_lossy().into_owned();
            let answer = redirect(&Method::GET, &uri, &path)?;
            Some((answer.status().as_u16(), answer.headers()[LOCATION].to_str().expect("text").to_owned()))
        };
        let told = |status: u16, text: &str| Some((status, text.to_owned()));
        assert_eq!(to("/id/?x=1"), told(307, "/id?x=1"));
        assert_eq!(to("/id%2F"), told(307, "/id"));
        assert_eq!(to("//other.example/"), told(307, "/other.example"));
        assert_eq!(to("//other.example"), told(301, "/other.example"));
        assert_eq!(to("/\\other.example/"), told(307, "/%5Cother.example"));
        assert_eq!((to("/"), to("/id")), (None, None));
    }

    #[test]
    fn paths_are_cleaned_as_the_reference_cleans_them() {
        assert_eq!(cleaned("/pins/ipfs/x//sub"), "/pins/ipfs/x/sub");
        assert_eq!(cleaned("/a/./b/../c"), "/a/c");
        assert_eq!(cleaned("/"), "/");
        assert_eq!(cleaned("/id"), "/id");
    }
}
