//! To the daemon and back: requests and answers pass as streams, with their trailers.

use super::dial::Dialer;
use crate::server::{Aborted, BodyError, RequestBody, ResponseBody, empty};
use bytes::Bytes;
use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::error::Error;

/// Connections to the daemon that are kept for the next request.
const IDLE_CONNECTIONS: usize = 32;

/// What a request to the daemon carries.
pub(super) type UpstreamBody = UnsyncBoxBody<Bytes, BodyError>;

/// Headers that concern one connection (RFC 9110, section 7.6.1), and not who is behind it.
const HOPS: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The daemon's API.
#[derive(Clone)]
pub(super) struct Upstream {
    authority: String,
    client: Client<Dialer, UpstreamBody>,
}

impl Upstream {
    pub(super) fn new(dialer: Dialer) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(IDLE_CONNECTIONS);
        Self { authority: dialer.authority(), client: builder.build(dialer) }
    }

    /// Sends a request to the daemon.
    ///
    /// # Errors
    /// When it cannot be reached, in the reference's words.
    pub(super) async fn send(&self, mut request: Request<UpstreamBody>) -> Result<Response<Incoming>, String> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("http://{}{path}", self.authority);
        *request.uri_mut() = uri.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        self.client.request(request).await.map_err(|error| root_cause(&error))
    }

    /// Passes on a request as it is. Without a daemon the answer is an empty 502, as the reference's.
    pub(super) async fn pass(&self, from: &str, mut request: Request<RequestBody>) -> Response<ResponseBody> {
        without_hops(request.headers_mut());
        forwarded_for(request.headers_mut(), from);
        match self.send(request.map(BodyExt::boxed_unsync)).await {
            Ok(response) => answer(response),
            Err(error) => {
                tracing::error!(target: "ipfsproxy", "http: proxy error: {error}");
                let mut response = Response::new(empty());
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        }
    }
}

/// The daemon's answer, body and trailers as they come.
pub(super) fn answer(response: Response<Incoming>) -> Response<ResponseBody> {
    let (mut parts, body) = response.into_parts();
    without_hops(&mut parts.headers);
    Response::from_parts(parts, body.map_err(|error| Aborted(root_cause(&error))).boxed_unsync())
}

fn without_hops(headers: &mut HeaderMap) {
    let takes_trailers = crate::server::takes_trailers(headers);
    // Headers that `Connection` names concern the connection too.
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOPS) {
        headers.remove(name);
    }
    headers.remove(TE);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

fn forwarded_for(headers: &mut HeaderMap, from: &str) {
    const NAME: HeaderName = HeaderName::from_static("x-forwarded-for");
    let before = headers.get_all(NAME).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned);
    let all: Vec<String> = before.chain([from.to_owned()]).collect();
    if let Ok(value) = HeaderValue::try_from(all.join(", ")) {
        headers.insert(NAME, value);
    }
}

/// The words of the first cause.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_one_connection_stays_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-mine"),
            ("x-mine", "1"),
            ("te", "trailers, gzip"),
            ("host", "kubo"),
            ("upgrade", "x"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }

        without_hops(&mut headers);
        forwarded_for(&mut headers, "10.0.0.1");
        forwarded_for(&mut headers, "10.0.0.2");

        assert_eq!(headers.len(), 3);
        assert_eq!(
            (&headers["te"], &headers["host"]),
            (&"trailers".parse().expect("value"), &"kubo".parse().expect("value"))
        );
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 10.0.0.2");
    }
}
