//! Where the daemon is, and connections to it: over TCP or a unix socket, with TLS where `node_https` says so.

use cluster_component::errors::io_text;
use cluster_types::Multiaddr;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use multiaddr::Protocol;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, crypto};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tower_service::Service;

/// How long a connection to the daemon may take, with its TLS handshake.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Where the daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Tcp(String, u16),
    Unix(String),
}

impl Place {
    /// The place that a multiaddr names.
    fn of(address: &Multiaddr) -> Result<Self, String> {
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

    fn host(&self) -> &str {
        match self {
            Self::Tcp(host, _) => host,
            Self::Unix(_) => "localhost",
        }
    }

    fn authority(&self) -> String {
        match self {
            Self::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp(host, port) => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".into(),
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Bytewise>> {
        Ok(match self {
            Self::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
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

/// Connects to the daemon, wherever a request seems to go.
#[derive(Clone)]
pub(super) struct Dialer {
    place: Place,
    tls: Option<Tls>,
}

impl Dialer {
    /// To the daemon at an address, without TLS.
    ///
    /// # Errors
    /// When the address names no place.
    pub(super) fn new(address: &Multiaddr) -> Result<Self, String> {
        Ok(Self { place: Place::of(address)?, tls: None })
    }

    /// The same with TLS: the daemon's certificate must be from an authority that the system trusts. As with the
    /// reference, `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    ///
    /// # Errors
    /// When the system trusts nobody, or no certificate can be for such a host.
    pub(super) fn with_tls(self) -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why: String = found.errors.iter().map(|error| format!(": {error}")).collect();
            return Err(format!(
                "node_https: this system has no certificates of authorities (install ca-certificates, or name them by \
                 SSL_CERT_FILE){why}"
            ));
        }
        self.trusting(roots)
    }

    fn trusting(self, roots: RootCertStore) -> Result<Self, String> {
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let host = self.place.host().to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|error| format!("node_https: {host}: {error}"))?;
        Ok(Self { tls: Some(Tls { connector: TlsConnector::from(Arc::new(config)), name }), ..self })
    }

    /// Host and port, as they stand in URLs.
    pub(super) fn authority(&self) -> String {
        self.place.authority()
    }

    async fn connect(self) -> io::Result<Stream> {
        let opening = async {
            let stream = self.place.connect().await?;
            match &self.tls {
                None => Ok(stream),
                Some(tls) => tls.secure(stream).await,
            }
        };
        let opened = tokio::time::timeout(CONNECT_MAX, opening).await;
        let opened = opened.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
        // As the reference words it.
        let told = |error: io::Error| io::Error::other(format!("dial {}: connect: {}", self.place, io_text(&error)));
        opened.map(Stream).map_err(told)
    }
}

/// Who the daemon must show itself to be.
#[derive(Clone)]
struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    async fn secure(&self, stream: Box<dyn Bytewise>) -> io::Result<Box<dyn Bytewise>> {
        let secured = self.connector.connect(self.name.clone(), stream).await;
        secured.map(|stream| Box::new(stream) as Box<dyn Bytewise>).map_err(|error| {
            let message = format!("node_https: no TLS with the daemon: {error}");
            io::Error::new(error.kind(), message)
        })
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.connect().await.map(TokioIo::new) })
    }
}

trait Bytewise: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytewise for S {}

/// A connection to the daemon.
pub(super) struct Stream(Box<dyn Bytewise>);

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
    use rcgen::CertifiedKey;
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    #[test]
    fn places_are_read_from_multiaddrs() {
        let place = |text: &str| Place::of(&text.parse().expect("a multiaddr"));
        assert_eq!(place("/ip4/127.0.0.1/tcp/5001"), Ok(Place::Tcp("127.0.0.1".into(), 5001)));
        assert_eq!(place("/ip6/::1/tcp/5001").expect("right").authority(), "[::1]:5001");
        assert_eq!(place("/dns4/kubo/tcp/5001").expect("right").authority(), "kubo:5001");
        assert!(place("/ip4/127.0.0.1/udp/5001").expect_err("no TCP").contains("no TCP port"));
    }

    /// A daemon behind TLS, which says `hello`, and its certificate.
    async fn daemon(host: &str) -> (Multiaddr, CertifiedKey) {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(made.key_pair.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("they belong together");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = TlsAcceptor::from(Arc::new(config.clone())).accept(stream).await {
                    let _ = stream.write_all(b"hello").await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        (format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("a multiaddr"), made)
    }

    async fn hear(address: &Multiaddr, roots: RootCertStore) -> Result<String, String> {
        let dialer = Dialer::new(address)?.trusting(roots)?;
        let mut heard = String::new();
        let mut stream = dialer.connect().await.map_err(|error| error.to_string())?;
        stream.read_to_string(&mut heard).await.map_err(|error| error.to_string())?;
        Ok(heard)
    }

    #[tokio::test]
    async fn a_daemon_behind_tls_is_asked_if_it_is_who_it_should_be() {
        let (address, made) = daemon("127.0.0.1").await;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a certificate");

        assert_eq!(hear(&address, roots.clone()).await, Ok("hello".into()));
        let told = hear(&address, RootCertStore::empty()).await.expect_err("nobody vouches for it");
        assert!(told.contains("node_https: no TLS with the daemon: invalid peer certificate: UnknownIssuer"), "{told}");

        let (other, made) = daemon("kubo.example").await;
        roots.add(made.cert.der().clone()).expect("a certificate");
        let told = hear(&other, roots).await.expect_err("it is somebody else");
        assert!(told.contains("not valid for name"), "{told}");
    }
}
