//! A configuration that is elsewhere: `service.json` names its URL, and every load fetches it.

use bytes::Bytes;
use cluster_component::config::{ConfigError, Document};
use http::header::{HOST, LOCATION};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;

/// A configuration has a few thousand bytes; more is none.
const BYTES_MAX: usize = 1 << 20;

/// As the reference's client.
const REDIRECTS_MAX: usize = 10;

/// The longest that one answer may take: a name of IPNS has to be found first.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// How the text begins that says that nobody answered.
pub const UNREACHABLE: &str = "could not fetch configuration from source";

/// Why there is no configuration at a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Nobody answered there.
    #[error("{UNREACHABLE}: {url} ({reason})")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// It is not there.
    #[error("unsuccessful request ({code}): {body}")]
    Refused {
        /// The status.
        code: u16,
        /// What was answered.
        body: String,
    },
    /// It is no configuration.
    #[error("{0}")]
    Nonsense(String),
}

impl From<SourceError> for ConfigError {
    fn from(error: SourceError) -> Self {
        ConfigError::new("source", error.to_string())
    }
}

/// Gets the configuration at this URL. One without a scheme counts as HTTP. May be called from anywhere: it has a thread
/// of its own, and blocks.
///
/// # Errors
/// When there is none, or it names another source.
pub fn fetch(url: &str) -> Result<Document, SourceError> {
    tracing::info!("loading configuration from {url}");
    let (target, shown) = (with_scheme(url), url.to_owned());
    let fetched = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let unreachable = |reason: String| SourceError::Unreachable { url: shown.clone(), reason };
        let runtime = runtime.map_err(|e| unreachable(e.to_string()))?;
        runtime.block_on(async {
            match tokio::time::timeout(ANSWER_MAX, get(&target)).await {
                Ok(answer) => answer.map_err(unreachable),
                Err(_) => Err(unreachable("no answer in time".into())),
            }
        })
    });
    let gone = |_| SourceError::Nonsense("the thread that fetches configurations ended".into());
    let (status, body) = fetched.join().map_err(gone)??;
    let text = String::from_utf8_lossy(&body).into_owned();
    if status.as_u16() >= 300 {
        return Err(SourceError::Refused { code: status.as_u16(), body: text });
    }
    let document = Document::parse(&text).map_err(|e| SourceError::Nonsense(e.message))?;
    if document.source().is_some() {
        return Err(SourceError::Nonsense("a sourced configuration cannot point to another source".into()));
    }
    Ok(document)
}

fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

type Http = Client<hyper_rustls::HttpsConnector<HttpConnector>, Empty<Bytes>>;

async fn get(url: &str) -> Result<(StatusCode, Bytes), String> {
    let https = HttpsConnectorBuilder::new().with_provider_and_webpki_roots(rustls::crypto::ring::default_provider());
    let connector = https.map_err(|e| e.to_string())?.https_or_http().enable_http1().build();
    let client: Http = Client::builder(TokioExecutor::new()).build(connector);
    let mut uri: Uri = url.parse().map_err(|e| format!("it is no URL: {e}"))?;
    for _ in 0..=REDIRECTS_MAX {
        let answer = ask(&client, &uri).await?;
        match redirect(&uri, &answer)? {
            Some(next) => uri = next,
            None => {
                let status = answer.status();
                let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
                return Ok((
                    status,
                    body.map_err(|e| format!("the answer breaks off or is too long: {e}"))?.to_bytes(),
                ));
            }
        }
    }
    Err(format!("stopped after {REDIRECTS_MAX} redirects"))
}

async fn ask(client: &Http, uri: &Uri) -> Result<Response<hyper::body::Incoming>, String> {
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let request = Request::get(uri.clone()).header(HOST, authority).body(Empty::new()).map_err(|e| e.to_string())?;
    client.request(request).await.map_err(|error| {
        let mut bottom: &dyn std::error::Error = &error;
        while let Some(source) = bottom.source() {
            bottom = source;
        }
        bottom.to_string()
    })
}

/// Where the answer points on to, if it does.
fn redirect(from: &Uri, answer: &Response<hyper::body::Incoming>) -> Result<Option<Uri>, String> {
    let Some(location) = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection()) else {
        return Ok(None);
    };
    let location = location.to_str().map_err(|_| "a redirect to what is no URL".to_owned())?;
    let whole = match (location.contains("://"), location.strip_prefix('/')) {
        (true, _) => location.to_owned(),
        (false, Some(path)) => {
            let scheme = from.scheme_str().unwrap_or("http");
            format!("{scheme}://{}/{path}", from.authority().map(ToString::to_string).unwrap_or_default())
        }
        (false, None) => return Err(format!("a redirect to {location}, which is no whole URL")),
    };
    whole.parse().map(Some).map_err(|e| format!("a redirect to {location}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Answers one request after the other with these, and then no more.
    fn server(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut request = [0; 4_096];
                let _read = stream.read(&mut request).expect("a request");
                stream.write_all(answer.as_bytes()).expect("answered");
            }
        });
        address.to_string()
    }

    fn answer(status: &str, more: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}")
    }

    #[test]
    fn what_is_there_is_read_through_redirects_and_without_a_scheme() {
        let moved = answer("302 Found", "Location: /there\r\n", "");
        let host = server(vec![moved, answer("200 OK", "", "{\"cluster\": {\"peername\": \"x\"}}")]);
        let document = fetch(&format!("{host}/here")).expect("fetched");
        assert!(document.has(cluster_component::config::Section::Cluster, ""));
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        let host = server(vec![answer("404 Not Found", "", "nothing here\n")]);
        let error = fetch(&format!("http://{host}/nope")).expect_err("404");
        assert_eq!(error.to_string(), "unsuccessful request (404): nothing here\n");

        let host = server(vec![answer("200 OK", "", "{\"source\": \"http://other\"}")]);
        let error = fetch(&format!("http://{host}/")).expect_err("a source of a source");
        assert_eq!(error.to_string(), "a sourced configuration cannot point to another source");

        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        let error = fetch(&format!("http://{free}/x")).expect_err("nobody listens");
        assert!(matches!(error, SourceError::Unreachable { .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("could not fetch configuration from source: http://{free}/x")));
    }
}
