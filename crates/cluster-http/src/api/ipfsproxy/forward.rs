//! To the daemon and back: requests and answers pass as streams, with their trailers.

use crate::server::{Aborted, BodyError, RequestBody, ResponseBody, empty};
use bytes::Bytes;
use cluster_component::errors::io_text;
use cluster_types::Multiaddr;
use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use multiaddr::Protocol;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tower_service::Service;

/// How long a connection to the daemon may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);

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

/// Where the daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Tcp(String, u16),
    Unix(String),
}

impl Place {
    /// The place that a multiaddr names.
    pub(super) fn of(address: &Multiaddr) -> Result<Self, String> {
        let mut parts = address.iter();
        let host = match parts.next() {
            Some(Protocol::Ip4(ip)) => ip.to_string(),
            Some(Protocol::Ip6(ip)) => ip.to_string(),
            Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)) => name.into_owned(),
            Some(Protocol::Unix(path)) => return Ok(Self::Unix(path.into_owned())),
            _ => return Err(format!("{address} is neither an IP address nor a name nor a unix socket")),
        };
        match parts.next() {
            Some(Protocol::Tcp(port)) => Ok(Self::Tcp(host, port)),
            _ => Err(format!("{address} has no TCP port")),
        }
    }

    fn authority(&self) -> String {
        match self {
            Self::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp(host, port) => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".into(),
        }
    }

    async fn connect(self) -> io::Result<Stream> {
        // As the reference words it.
        let told = |error: io::Error| io::Error::other(format!("dial {self}: connect: {}", io_text(&error)));
        let opening = async {
            match &self {
                Self::Tcp(host, port) => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    Ok(Stream(Box::new(stream)))
                }
                Self::Unix(path) => Ok(Stream(Box::new(UnixStream::connect(path).await?))),
            }
        };
        let opened = tokio::time::timeout(CONNECT_MAX, opening).await;
        opened.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut))).map_err(told)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(..) => write!(f, "tcp {}", self.authority()),
            Self::Unix(path) => write!(f, "unix {path}"),
        }
    }
}

/// The daemon's API.
#[derive(Clone)]
pub(super) struct Upstream {
    place: Place,
    client: Client<Connector, UpstreamBody>,
}

impl Upstream {
    pub(super) fn new(place: Place) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(IDLE_CONNECTIONS);
        Self { client: builder.build(Connector(place.clone())), place }
    }

    /// Sends a request to the daemon.
    ///
    /// # Errors
    /// When it cannot be reached, in the reference's words.
    pub(super) async fn send(&self, mut request: Request<UpstreamBody>) -> Result<Response<Incoming>, String> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("http://{}{path}", self.place.authority());
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

/// Connects to the daemon, wherever a request seems to go.
#[derive(Clone)]
struct Connector(Place);

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let place = self.0.clone();
        Box::pin(async move { place.connect().await.map(TokioIo::new) })
    }
}

trait Bytewise: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytewise for S {}

/// A connection to the daemon.
struct Stream(Box<dyn Bytewise>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_from_multiaddrs() {
        let place = |text: &str| Place::of(&text.parse().expect("a multiaddr"));
        assert_eq!(place("/ip4/127.0.0.1/tcp/5001"), Ok(Place::Tcp("127.0.0.1".into(), 5001)));
        assert_eq!(place("/ip6/::1/tcp/5001").expect("right").authority(), "[::1]:5001");
        assert_eq!(place("/dns4/kubo/tcp/5001").expect("right").authority(), "kubo:5001");
        assert!(place("/ip4/127.0.0.1/udp/5001").expect_err("no TCP").contains("no TCP port"));
    }

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
