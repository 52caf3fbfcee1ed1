//! Content from the web, fetched while it is sent on.

use crate::transport::{bottom_reason, web_client};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::header::LOCATION;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use std::io;
use url::Url;

/// As Go's client.
const REDIRECTS_MAX: usize = 10;

/// The content behind a URL.
pub(crate) fn fetch(url: Url) -> BoxStream<'static, io::Result<Bytes>> {
    futures::stream::once(open(url)).try_flatten().boxed()
}

async fn open(mut url: Url) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
    let client = web_client(true);
    for _ in 0..=REDIRECTS_MAX {
        let failed = |reason: String| io::Error::other(format!("Get \"{url}\": {reason}"));
        let request = Request::get(url.as_str()).body(crate::client::no_body()).map_err(|e| failed(e.to_string()))?;
        let target = url.host_str().zip(url.port_or_known_default());
        let response = client.request(request).await.map_err(|e| failed(bottom_reason(target, &e)))?;
        if response.status().is_success() {
            return Ok(response.into_body().into_data_stream().map_err(io::Error::other).boxed());
        }
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        match location.filter(|_| leads_on(response.status())) {
            Some(location) => url = url.join(location).map_err(|e| failed(format!("redirected to {location}: {e}")))?,
            None => {
                let status = response.status().as_u16();
                return Err(io::Error::other(format!("got non-2XX status code {status}: {url}")));
            }
        }
    }
    Err(io::Error::other(format!("Get \"{url}\": stopped after {REDIRECTS_MAX} redirects")))
}

fn leads_on(status: StatusCode) -> bool {
    let found = [StatusCode::MOVED_PERMANENTLY, StatusCode::FOUND, StatusCode::SEE_OTHER];
    found.contains(&status) || [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT].contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// Answers each request by its path: `/content`, `/once` and `/ever` (both lead on), or nothing.
    fn serve() -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let asked = lines.next().unwrap_or_default();
                lines.find(String::is_empty);
                let answer = match asked.split(' ').nth(1) {
                    Some("/content") => "200 OK\r\nContent-Length: 5\r\n\r\nhello",
                    Some("/once") => "302 Found\r\nLocation: content\r\nContent-Length: 0\r\n\r\n",
                    Some("/ever") => "302 Found\r\nLocation: /ever\r\nContent-Length: 0\r\n\r\n",
                    _ => "404 Not Found\r\nContent-Length: 0\r\n\r\n",
                };
                let head = answer.replacen("\r\n", "\r\nConnection: close\r\n", 1);
                let _the_client_may_be_gone = (&stream).write_all(format!("HTTP/1.1 {head}").as_bytes());
            }
        });
        url.parse().expect("a URL")
    }

    async fn content(url: Url) -> Result<Vec<u8>, String> {
        let chunks: Vec<Bytes> = fetch(url).try_collect().await.map_err(|error| error.to_string())?;
        Ok(chunks.concat())
    }

    #[tokio::test]
    async fn content_is_fetched_over_redirects_and_what_is_no_content_is_an_error() {
        let url = serve();
        let at = |path: &str| url.join(path).expect("a URL");

        assert_eq!(content(at("content")).await, Ok(b"hello".to_vec()));
        assert_eq!(content(at("once")).await, Ok(b"hello".to_vec()));
        let error = content(at("ever")).await.unwrap_err();
        assert!(error.ends_with("stopped after 10 redirects"), "{error}");
        let error = content(at("nowhere")).await.unwrap_err();
        assert_eq!(error, format!("got non-2XX status code 404: {url}nowhere"));
    }
}
