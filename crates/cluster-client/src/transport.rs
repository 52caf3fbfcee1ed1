//! One exchange with one host, over TCP, TLS, a unix socket or libp2p.

use crate::error::ClientError;
use crate::host::Host;
use crate::over_libp2p::{Opened, OverLibp2p};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use tokio_util::compat::FuturesAsyncReadCompatExt;

/// The body of a request.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, std::io::Error>;

/// Exchanges requests for answers.
#[derive(Clone)]
pub(crate) struct Transport {
    http: WebClient,
    libp2p: OverLibp2p,
}

impl Transport {
    /// `check_certificate`: whether a TLS server must prove who it is. `secret`: of the private network, for libp2p.
    pub(crate) fn new(check_certificate: bool, secret: Option<[u8; 32]>) -> Self {
        Self { http: web_client(check_certificate), libp2p: OverLibp2p::new(secret) }
    }

    pub(crate) async fn exchange(
        &self,
        host: &Host,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, ClientError> {
        let shown = format!("{} \"{}{}\"", go_method(request.method()), host.base_url(), request.uri());
        let result = match host {
            Host::Unix(path) => over_unix(path, request).await,
            Host::Libp2p { peer, address } => match self.libp2p.open(*peer, address).await {
                Ok(Opened { peer, stream, caller }) => {
                    over(TokioIo::new(stream.compat()), &peer.to_string(), request, caller).await
                }
                Err(reason) => Err(reason),
            },
            Host::Tcp { .. } => {
                let uri: Uri = format!("{}{}", host.base_url(), request.uri())
                    .parse()
                    .map_err(|e| ClientError::Local(format!("{shown}: {e}")))?;
                *request.uri_mut() = uri;
                self.http.request(request).await.map_err(|e| reason(host, &e))
            }
        };
        result.map_err(|reason| ClientError::Transport(format!("{shown}: {reason}")))
    }
}

/// Asks over TCP and TLS.
pub(crate) type WebClient = Client<HttpsConnector<HttpConnector>, RequestBody>;

/// `check_certificate`: whether a TLS server must prove who it is.
pub(crate) fn web_client(check_certificate: bool) -> WebClient {
    let builder = HttpsConnectorBuilder::new();
    let https = if check_certificate {
        builder.with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
    } else {
        Ok(builder.with_tls_config(unchecked()))
    };
    // The provider is compiled in and knows the default versions.
    let https = https.expect("the TLS provider supports the default protocol versions");
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let connector = https.https_or_http().enable_http1().wrap_connector(tcp);
    Client::builder(TokioExecutor::new()).build(connector)
}

/// As Go's client begins its errors: the method in lower case with a capital.
fn go_method(method: &http::Method) -> String {
    let lower = method.as_str().to_lowercase();
    lower.chars().take(1).flat_map(char::to_uppercase).chain(lower.chars().skip(1)).collect()
}

/// The reason at the bottom of an error, in the reference's words where it has any.
fn reason(host: &Host, error: &(dyn Error + 'static)) -> String {
    let target = match host {
        Host::Tcp { name, port: Some(port), .. } => Some((name.as_str(), *port)),
        _ => None,
    };
    bottom_reason(target, error)
}

/// The same, where this name and port was asked.
pub(crate) fn bottom_reason(target: Option<(&str, u16)>, error: &(dyn Error + 'static)) -> String {
    let mut bottom = error;
    while let Some(source) = bottom.source() {
        bottom = source;
    }
    let no_tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
    if bottom.downcast_ref::<rustls::Error>() == Some(&no_tls) {
        return "http: server gave HTTP response to HTTPS client".into();
    }
    let refused = bottom.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    match (refused, target) {
        (Some(std::io::ErrorKind::ConnectionRefused), Some((name, port))) => {
            format!("dial tcp {name}:{port}: connect: connection refused")
        }
        _ => bottom.to_string(),
    }
}

async fn over_unix(path: &Path, request: Request<RequestBody>) -> Result<Response<Incoming>, String> {
    let stream = tokio::net::UnixStream::connect(path).await;
    let stream = stream.map_err(|e| format!("dial unix {}: connect: {}", path.display(), go_reason(&e)))?;
    over(TokioIo::new(stream), "localhost", request, ()).await
}

/// One exchange over these bytes. What is given to keep is dropped when they have ended.
async fn over<I: Read + Write + Send + Unpin + 'static>(
    io: I,
    name: &str,
    request: Request<RequestBody>,
    keep: impl Send + 'static,
) -> Result<Response<Incoming>, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(|e| e.to_string())?;
    // Ends with the exchange: the sender below is the only one.
    drop(tokio::spawn(async move {
        let _told_to_the_sender = connection.await;
        drop(keep);
    }));
    let (mut parts, body) = request.into_parts();
    let name = HeaderValue::try_from(name).map_err(|e| e.to_string())?;
    parts.headers.entry(http::header::HOST).or_insert(name);
    sender.send_request(Request::from_parts(parts, body)).await.map_err(|e| e.to_string())
}

fn go_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
        std::io::ErrorKind::NotFound => "no such file or directory".into(),
        _ => error.to_string(),
    }
}

/// TLS that takes any certificate: only on the user's explicit demand.
fn unchecked() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the TLS provider supports the default protocol versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
        .with_no_client_auth()
}

#[derive(Debug)]
struct Unchecked(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
