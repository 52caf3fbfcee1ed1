//! Headers that answers of the proxy have from the daemon: those of CORS, asked for with each request, and others that
//! are remembered.

use super::forward::{Upstream, UpstreamBody};
use cluster_types::GoDuration;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN, SERVER, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Empty};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const SERVED_BY: HeaderValue = HeaderValue::from_static(concat!("ipfs-cluster/ipfsproxy/", "1.1.6"));

/// Headers that the daemon adds for browsers.
const CORS: [HeaderName; 3] = [ACCESS_CONTROL_ALLOW_ORIGIN, VARY, ACCESS_CONTROL_ALLOW_CREDENTIALS];

/// The headers of every answer that is made here.
pub(super) fn own() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json")), (SERVER, SERVED_BY)])
}

/// What is remembered of the daemon's headers.
pub(super) struct Extracted {
    names: Vec<HeaderName>,
    path: String,
    ttl: Option<Duration>,
    known: Mutex<Option<(Instant, HeaderMap)>>,
}

impl Extracted {
    pub(super) fn new(extra: &[String], path: &str, ttl: GoDuration) -> Result<Self, String> {
        let parse = |name: &String| {
            name.parse::<HeaderName>().map_err(|_| format!("extract_headers_extra: {name:?} is no name of a header"))
        };
        let extra: Vec<HeaderName> = extra.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self {
            names: [ACCESS_CONTROL_EXPOSE_HEADERS].into_iter().chain(extra).collect(),
            path: path.to_owned(),
            ttl: (ttl.0 > 0).then(|| ttl.get()),
            known: Mutex::default(),
        })
    }

    /// The headers of an answer to this request. A daemon that does not answer is told of in the log.
    pub(super) async fn of(&self, request: &Parts, upstream: &Upstream) -> HeaderMap {
        let mut headers = cors(request, upstream).await;
        headers.extend(self.remembered(upstream).await);
        headers.extend(own());
        headers
    }

    async fn remembered(&self, upstream: &Upstream) -> HeaderMap {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((since, headers)) = &known
            && self.ttl.is_none_or(|ttl| since.elapsed() < ttl)
        {
            return headers.clone();
        }
        let request = Request::builder().method(Method::POST).uri(&self.path).body(nothing());
        let answer = match request {
            Ok(request) => upstream.send(request).await,
            Err(error) => Err(error.to_string()),
        };
        match answer {
            Ok(answer) => {
                let fresh = picked(answer.headers(), &self.names);
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                *known = Some((Instant::now(), fresh.clone()));
                fresh
            }
            Err(error) => {
                tracing::error!(target: "ipfsproxy", "error extracting headers from IPFS: {error}");
                known.map(|(_, headers)| headers).unwrap_or_default()
            }
        }
    }
}

/// Whether a page in a browser asks that the daemon does not let in, by the headers that are [of](Extracted::of) the request.
/// Browsers send what pages ask for all the same, and merely keep the answer from them. A link or a picture has no `Origin`.
pub(super) fn is_of_strange_page(asked: &HeaderMap, allowed: &HeaderMap) -> bool {
    let is_elsewhere = |value: &HeaderValue| value == "cross-site" || value == "same-site";
    let is_of_page = asked.contains_key(ORIGIN) || asked.get("sec-fetch-site").is_some_and(is_elsewhere);
    is_of_page && !allowed.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN)
}

/// What the daemon would allow a browser.
async fn cors(asked: &Parts, upstream: &Upstream) -> HeaderMap {
    let mut request = Request::new(nothing());
    *request.method_mut() = Method::OPTIONS;
    *request.uri_mut() = asked.uri.clone();
    for origin in asked.headers.get_all(ORIGIN) {
        request.headers_mut().append(ORIGIN, origin.clone());
    }
    if let Ok(method) = HeaderValue::from_str(asked.method.as_str()) {
        request.headers_mut().insert(ACCESS_CONTROL_REQUEST_METHOD, method);
    }
    match upstream.send(request).await {
        Ok(answer) => picked(answer.headers(), &CORS),
        Err(error) => {
            tracing::error!(target: "ipfsproxy", "error setting CORS headers: {error}");
            HeaderMap::new()
        }
    }
}

fn picked(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let values = names.iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)));
    let mut picked = HeaderMap::new();
    for (name, value) in values {
        picked.append(name, value.clone());
    }
    picked
}

fn nothing() -> UpstreamBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_let_in_that_the_daemon_lets_in_and_programs_always() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
        };
        let (nothing, allowed) = (headers(&[]), headers(&[("access-control-allow-origin", "http://127.0.0.1:5001")]));
        let page = headers(&[("origin", "http://page.example")]);
        let picture = headers(&[("sec-fetch-site", "cross-site")]);
        let typed = headers(&[("sec-fetch-site", "none")]);

        assert!(is_of_strange_page(&page, &nothing) && is_of_strange_page(&picture, &nothing));
        assert!(!is_of_strange_page(&page, &allowed));
        assert!(!is_of_strange_page(&typed, &nothing) && !is_of_strange_page(&nothing, &nothing));
    }
}
