//! One line for each request, written when its answer has been sent or given up.

use super::body::{Aborted, ResponseBody};
use bytes::Bytes;
use cluster_component::metrics::{Held, Metrics};
use http::{Method, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;
use time::OffsetDateTime;
use time::macros::format_description;

/// Where the lines go: to the log, or to a file in Apache's Common Log Format, as the reference.
#[derive(Debug, Clone, Default)]
pub struct AccessLog {
    file: Option<Arc<Mutex<File>>>,
}

/// Why the file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the access log {path}: {reason}")]
pub struct AccessLogError {
    path: String,
    reason: String,
}

impl AccessLog {
    /// Lines go to the log, as structured fields.
    #[must_use]
    pub fn to_log() -> Self {
        Self::default()
    }

    /// Lines are appended to a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn to_file(path: &Path) -> Result<Self, AccessLogError> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|e| AccessLogError { path: path.display().to_string(), reason: e.to_string() })?;
        Ok(Self { file: Some(Arc::new(Mutex::new(file))) })
    }

    /// The log, or the file of this name, which is relative to a folder.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn named(folder: &Path, file: &str) -> Result<Self, AccessLogError> {
        if file.is_empty() { Ok(Self::to_log()) } else { Self::to_file(&folder.join(file)) }
    }

    /// Notes down a request; the entry is written once the body that it is given has been sent.
    pub(crate) fn entry<B>(&self, from: Arc<str>, request: &Request<B>) -> Entry {
        Entry {
            log: self.clone(),
            from,
            method: request.method().clone(),
            target: request.uri().path_and_query().map_or_else(|| "*".to_owned(), |p| p.as_str().to_owned()),
            version: request.version(),
            status: 0,
            bytes: 0,
            begun: Instant::now(),
            counted: None,
        }
    }
}

/// A request that is being answered.
pub(crate) struct Entry {
    log: AccessLog,
    from: Arc<str>,
    method: Method,
    target: String,
    version: Version,
    status: u16,
    bytes: u64,
    begun: Instant,
    counted: Option<Counted>,
}

/// Where a request is counted.
struct Counted {
    metrics: Arc<Metrics>,
    _in_flight: Held,
}

impl Entry {
    /// Counts the request until its answer has been sent, and then the bytes of that.
    pub(crate) fn counted(mut self, metrics: &Arc<Metrics>) -> Self {
        let in_flight = Held::one(&metrics.requests_in_flight);
        self.counted = Some(Counted { metrics: Arc::clone(metrics), _in_flight: in_flight });
        self
    }

    /// Follows the answer to its end.
    pub(crate) fn follow(mut self, response: Response<ResponseBody>) -> Response<ResponseBody> {
        self.status = response.status().as_u16();
        response.map(|body| http_body_util::BodyExt::boxed_unsync(Logged { body, entry: self }))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(counted) = &self.counted {
            counted.metrics.response_bytes.saw(self.bytes);
        }
        match &self.log.file {
            None => tracing::info!(
                target: "restapilog",
                remote = %self.from,
                method = %self.method,
                uri = %self.target,
                status = self.status,
                bytes = self.bytes,
                micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX),
                "request"
            ),
            Some(file) => {
                let line = common_log_line(self, OffsetDateTime::now_utc());
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = file.write_all(line.as_bytes()) {
                    tracing::error!(%error, "a line of the access log could not be written");
                }
            }
        }
    }
}

/// `host - - [22/Nov/2026:08:58:55 +0000] "GET /id HTTP/1.1" 401 56`, in UTC.
fn common_log_line(entry: &Entry, now: OffsetDateTime) -> String {
    let format = format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
    let when = now.format(format).unwrap_or_default();
    let target = entry.target.replace('\\', "\\\\").replace('"', "\\\"");
    let Entry { from, method, version, status, bytes, .. } = entry;
    format!("{from} - - [{when}] \"{method} {target} {version:?}\" {status} {bytes}\n")
}

struct Logged {
    body: ResponseBody,
    entry: Entry,
}

impl Body for Logged {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.entry.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::buffered;
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_line_in_the_file_is_that_of_the_common_log_format() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("access.log");
        let log = AccessLog::to_file(&path).expect("opened");
        let request = Request::builder().uri("/pins?x=\"y\"").body(()).unwrap_or_default();

        let response = log.entry("127.0.0.1".into(), &request).follow(Response::new(buffered("12345")));
        response.into_body().collect().await.expect("sent");

        let line = std::fs::read_to_string(&path).expect("written");
        let (head, tail) = line.split_once('[').expect("a date");
        assert_eq!(head, "127.0.0.1 - - ");
        assert!(
            tail.ends_with(" +0000] \"GET /pins HTTP/1.1\" 200 5\n") || tail.contains("HTTP/1.1\" 200 5\n"),
            "{line}"
        );
    }
}
