//! How answers look: their headers, and refusals.

use super::ask::Ask;
use crate::server::{ResponseBody, buffered, empty};
use cluster_component::errors::ConnectorError;
use cluster_types::Cid;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// An answer.
pub(super) type Answer = Response<ResponseBody>;

/// Content that its name describes.
pub(super) const IMMUTABLE: &str = "public, max-age=29030400, immutable";

/// A page that a later version may draw otherwise.
pub(super) const PAGE: &str = "public, max-age=604800, stale-while-revalidate=2678400";

const PATH: HeaderName = HeaderName::from_static("x-ipfs-path");
const ROOTS: HeaderName = HeaderName::from_static("x-ipfs-roots");

/// As boxo: content may be read by pages of any origin.
const CORS: [(HeaderName, &str); 4] = [
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type, Range, User-Agent, X-Requested-With"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "Content-Length, Content-Range, X-Chunked-Output, X-Ipfs-Path, X-Ipfs-Roots, X-Stream-Output",
    ),
];

/// What stays as it is in paths.
const IN_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b'!').remove(b'$');

/// A text in a path.
pub(super) fn path_escaped(text: &str) -> String {
    utf8_percent_encode(text, IN_PATH).to_string()
}

/// Sets a header; what no header can hold is left out.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

/// A request that gets no content, with a text that says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    text: String,
    path: Option<String>,
    location: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), path: None, location: None }
    }

    /// With the path that was asked for.
    pub(super) fn of(mut self, path: &str) -> Self {
        self.location = self.location.map(|query| format!("{path}?{query}"));
        self.path = Some(path.to_owned());
        self
    }

    /// With the query that asks for the same.
    pub(super) fn located(mut self, query: &str) -> Self {
        self.location = Some(query.to_owned());
        self
    }

    /// What went wrong on the way to the content of a path.
    pub(super) fn unresolved(ask: &Ask, error: &ConnectorError) -> Self {
        let status = match error {
            ConnectorError::NotFound(_) => StatusCode::NOT_FOUND,
            ConnectorError::Stalled(_) => StatusCode::GATEWAY_TIMEOUT,
            ConnectorError::Unavailable(_) | ConnectorError::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            ConnectorError::Invalid(_) => StatusCode::BAD_REQUEST,
            ConnectorError::Forbidden(_) => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, format!("failed to resolve {}: {error}", ask.path)).of(&ask.path)
    }

    pub(super) fn answer(self) -> Answer {
        let mut response = Response::new(buffered(format!("{}\n", self.text)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        refused(headers);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            set(headers, header::ALLOW, "GET, HEAD, OPTIONS");
        }
        if let Some(path) = &self.path {
            set(headers, PATH, path);
        }
        if let Some(location) = &self.location {
            set(headers, header::CONTENT_LOCATION, location);
        }
        response
    }
}

/// The type of texts that refuse.
pub(super) fn refused(headers: &mut HeaderMap) {
    set(headers, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
}

/// Asks the client to go elsewhere.
pub(super) fn moved(to: &str) -> Answer {
    let html = to.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
    let mut response = Response::new(buffered(format!("<a href=\"{html}\">Moved Permanently</a>.\n\n")));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    set(response.headers_mut(), header::CONTENT_TYPE, "text/html; charset=utf-8");
    set(response.headers_mut(), header::LOCATION, to);
    response
}

/// The content is what the client has.
pub(super) fn not_modified(etag: &str, cache: &str) -> Answer {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    set(response.headers_mut(), header::CACHE_CONTROL, cache);
    set(response.headers_mut(), header::ETAG, etag);
    response
}

/// The headers that tell where content is from.
pub(super) fn with_origin(mut response: Answer, ask: &Ask, passed: &[Cid]) -> Answer {
    let headers = response.headers_mut();
    set(headers, PATH, &ask.path);
    if !passed.is_empty() {
        let roots: Vec<String> = passed.iter().map(Cid::to_string).collect();
        set(headers, ROOTS, &roots.join(","));
    }
    if let Some(location) = &ask.location {
        set(headers, header::CONTENT_LOCATION, location);
    }
    response
}

/// The headers of every answer.
pub(super) fn with_cors(mut response: Answer) -> Answer {
    for (name, value) in CORS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `inline` or `attachment` with a name in both spellings.
pub(super) fn disposition(kind: &str, name: &str) -> String {
    let ascii: String =
        name.chars().map(|c| if c.is_ascii() && c != '"' && c != '\\' && !c.is_control() { c } else { '_' }).collect();
    let full = utf8_percent_encode(name, IN_PATH);
    format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{full}")
}

/// Whether one of the tags in the header is the one of the content, weakly compared.
pub(super) fn has_tag(header: &str, etag: &str) -> bool {
    let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    header.trim() == "*" || header.split(',').any(|tag| weak(tag) == weak(etag))
}
