//! TLS for listeners: a certificate and its key from files, read again when they are renewed.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How often the files are looked at, at most; they are only looked at when somebody connects.
const LOOK: Duration = Duration::from_secs(1);

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The first byte of every TLS connection.
const HANDSHAKE_RECORD: u8 = 0x16;

/// A certificate and its key, kept up to date with their files.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    of: [Option<SystemTime>; 2],
    looked: Instant,
}

/// Why the files cannot be used. Worded as the reference.
#[derive(Debug, thiserror::Error)]
#[error("error loading TLS certificate/key: {0}")]
pub struct TlsError(String);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// When either is not there, is no PEM, or they do not belong together.
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let of = [modified(&certificate), modified(&key)];
        let config = read(&certificate, &key)?;
        let loaded = Mutex::new(Loaded { config, of, looked: Instant::now() });
        Ok(Self { certificate, key, loaded })
    }

    /// The present certificate. A pair that cannot be read leaves the one before in use.
    fn config(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.looked.elapsed() >= LOOK {
            loaded.looked = Instant::now();
            let of = [modified(&self.certificate), modified(&self.key)];
            if of != loaded.of {
                match read(&self.certificate, &self.key) {
                    Ok(config) => {
                        tracing::info!(target: "restapi", certificate = %self.certificate.display(), "renewed");
                        loaded.config = config;
                        loaded.of = of;
                    }
                    Err(error) => tracing::error!(target: "restapi", "{error}; the certificate before stays in use"),
                }
            }
        }
        Arc::clone(&loaded.config)
    }

    /// Greets a client. One that speaks plain HTTP is told so, as the reference does.
    pub(super) async fn accept<I>(&self, mut io: I) -> io::Result<TlsStream<Replayed<I>>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let greeted = async {
            let first = io.read_u8().await?;
            if first != HANDSHAKE_RECORD {
                let body = "Client sent an HTTP request to an HTTPS server.\n";
                io.write_all(format!("HTTP/1.0 400 Bad Request\r\n\r\n{body}").as_bytes()).await?;
                io.shutdown().await?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, "plain HTTP on a TLS listener"));
            }
            TlsAcceptor::from(self.config()).accept(Replayed { first: Some(first), io }).await
        };
        tokio::time::timeout(HANDSHAKE, greeted).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let text = |path: &Path| {
        std::fs::read(path)
            .map_err(|e| TlsError(format!("open {}: {}", path.display(), cluster_component::errors::io_text(&e))))
    };
    let (certificates, private) = (text(certificate)?, text(key)?);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificates)
        .collect::<Result<_, _>>()
        .map_err(|e| of_file(certificate, &e))?;
    let private = PrivateKeyDer::from_pem_slice(&private).map_err(|e| of_file(key, &e))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| TlsError(e.to_string()))?;
    let config =
        builder.with_no_client_auth().with_single_cert(chain, private).map_err(|e| of_file(certificate, &e))?;
    Ok(Arc::new(config))
}

fn of_file(path: &Path, error: &dyn fmt::Display) -> TlsError {
    TlsError(format!("{}: {error}", path.display()))
}

/// A connection whose first byte has been looked at.
pub(super) struct Replayed<I> {
    first: Option<u8>,
    io: I,
}

impl<I: AsyncRead + Unpin> AsyncRead for Replayed<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.first.take() {
            Some(first) if buf.remaining() > 0 => {
                buf.put_slice(&[first]);
                Poll::Ready(Ok(()))
            }
            kept => {
                self.first = kept;
                Pin::new(&mut self.io).poll_read(cx, buf)
            }
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Replayed<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::{RequestBody, ResponseBody, buffered};
    use super::super::{BoundListener, Handler, Limits, serve_tls};
    use super::*;
    use cluster_component::tasks::TaskScope;
    use cluster_testkit::tasks::TokioSpawn;
    use http::{Request, Response};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::net::TcpStream;

    struct Hello;

    impl Handler for Hello {
        async fn handle(self: Arc<Self>, _: Arc<str>, _: Request<RequestBody>) -> Response<ResponseBody> {
            Response::new(buffered("hello"))
        }
    }

    /// Writes a new certificate for `localhost`, and gives it.
    fn renew(folder: &Path) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).expect("written");
        std::fs::write(folder.join("key.pem"), made.key_pair.serialize_pem()).expect("written");
        made.cert.der().clone()
    }

    async fn get(address: &str, trusted: &CertificateDer<'static>) -> io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TcpStream::connect(address).await?;
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().expect("temp folder");
        let first = renew(folder.path());
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let tls = Arc::new(Tls::load(cert.clone(), key).expect("loaded"));
        let tasks = TaskScope::new(Arc::new(TokioSpawn));
        let listener = BoundListener::bind(&"/ip4/127.0.0.1/tcp/0".parse().expect("address")).await.expect("bound");
        let address = listener.address().to_string().replace("/ip4/", "").replace("/tcp/", ":");
        serve_tls(listener, Some(Arc::clone(&tls)), Limits::default(), Arc::new(Hello), &tasks);
        let look_now = || tls.loaded.lock().expect("unpoisoned").looked = Instant::now() - 2 * LOOK;
        assert!(get(&address, &first).await.expect("served").ends_with("hello"));

        std::fs::write(&cert, "garbage").expect("written");
        look_now();
        assert!(get(&address, &first).await.expect("served with the old one").ends_with("hello"));

        let second = renew(folder.path());
        look_now();
        assert!(get(&address, &second).await.expect("served with the new one").ends_with("hello"));
        get(&address, &first).await.expect_err("the old one is gone");
        tasks.stop().await;
    }

    #[tokio::test]
    async fn plain_http_is_told_what_it_met() {
        let folder = tempfile::tempdir().expect("temp folder");
        renew(folder.path());
        let tls = Tls::load(folder.path().join("cert.pem"), folder.path().join("key.pem")).expect("loaded");
        let (mut client, server) = tokio::io::duplex(1024);

        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
        assert!(tls.accept(server).await.is_err());
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("an answer");
        assert!(text.starts_with("HTTP/1.0 400 Bad Request\r\n"), "{text}");
        assert!(text.ends_with("Client sent an HTTP request to an HTTPS server.\n"), "{text}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Tls::load("/nowhere/cert.pem".into(), "/nowhere/key.pem".into()).expect_err("not there");
        let text = "error loading TLS certificate/key: open /nowhere/cert.pem: no such file or directory";
        assert_eq!(error.to_string(), text);
    }
}
