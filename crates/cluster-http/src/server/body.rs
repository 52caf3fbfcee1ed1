//! Bodies of answers: whole ones, and streams of lines that end in a trailer or, where the client takes none, abruptly.

use bytes::Bytes;
use cluster_component::PageStream;
use cluster_component::metrics::Metrics;
use cluster_component::rpc::RpcError;
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// The body of a request. It ends in an error when the client sends nothing of it for too long while it is waited for.
pub(crate) struct RequestBody {
    body: Incoming,
    patience: Duration,
    /// Set while it is waited for.
    late: Option<Pin<Box<Sleep>>>,
    /// What came of it so far, and where that is counted.
    came: u64,
    counted: Option<Arc<Metrics>>,
}

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The connection broke, or what came makes no sense.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// The client sent nothing for so long.
    #[error("the client sent nothing for {} s: send the rest without pauses, or raise stall_timeout", .0.as_secs_f64())]
    Stalled(Duration),
}

impl RequestBody {
    /// The patience is for each piece of it; zero is no limit.
    pub(super) fn new(body: Incoming, patience: Duration) -> Self {
        Self { body, patience, late: None, came: 0, counted: None }
    }

    /// Counts its bytes, once it was read or given up.
    pub(super) fn count(&mut self, metrics: &Arc<Metrics>) {
        self.counted = Some(Arc::clone(metrics));
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(metrics) = &self.counted {
            metrics.request_bytes.saw(self.came);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.late = None;
            if let Some(Ok(frame)) = &frame {
                self.came += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)));
        }
        let patience = self.patience;
        if patience.is_zero() {
            return Poll::Pending;
        }
        let late = self.late.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(late.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyError::Stalled(patience))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, Aborted>;

/// Ends a connection without the end of its body, so that the client does not take half a list for a whole one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Aborted(pub String);

/// The trailer that tells of errors after the first line.
pub(crate) const STREAM_ERROR: HeaderName = HeaderName::from_static("x-stream-error");

/// A body that is here as a whole.
pub fn buffered(bytes: impl Into<Bytes>) -> ResponseBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// No body.
#[must_use]
pub fn empty() -> ResponseBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// What happens at the end of a stream of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Whether the client said `TE: trailers`: others never see one.
    pub(crate) takes_trailers: bool,
    /// Whether success is told by an empty trailer, as lists do, or by none, as adds do.
    pub(crate) empty_trailer: bool,
}

/// A body of lines: each page is one chunk. `first` goes before what is left in `pages`.
pub fn lines<T: Send + 'static>(
    first: Vec<T>,
    pages: PageStream<T, RpcError>,
    takes_trailers: bool,
    write: fn(&T, &mut Vec<u8>),
) -> ResponseBody {
    let pages = futures::stream::iter([Ok(first)]).chain(pages);
    let chunks = pages.map(move |page| {
        let page = page.map_err(|error| error.message)?;
        let mut chunk = Vec::with_capacity(page.len() * 512);
        page.iter().for_each(|item| write(item, &mut chunk));
        Ok(Bytes::from(chunk))
    });
    chunked(chunks, Ending { takes_trailers, empty_trailer: true })
}

/// A body of chunks that may end in an error.
pub(crate) fn chunked(
    chunks: impl futures::Stream<Item = Result<Bytes, String>> + Send + 'static,
    ending: Ending,
) -> ResponseBody {
    enum State<S> {
        Open(S),
        Closed,
    }
    let frames = futures::stream::unfold(State::Open(Box::pin(chunks)), move |state| async move {
        let State::Open(mut chunks) = state else { return None };
        match chunks.next().await {
            Some(Ok(chunk)) => Some((Ok(Frame::data(chunk)), State::Open(chunks))),
            Some(Err(error)) => {
                tracing::warn!(%error, "a streamed answer ends early");
                // What was told before goes out first: a connection that is cut forgets what it has not sent.
                tokio::task::yield_now().await;
                let last = if ending.takes_trailers { Ok(trailer(&error)) } else { Err(Aborted(error)) };
                Some((last, State::Closed))
            }
            None if ending.takes_trailers && ending.empty_trailer => Some((Ok(trailer("")), State::Closed)),
            None => None,
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

fn trailer(error: &str) -> Frame<Bytes> {
    let one_line = error.replace(['\r', '\n'], " ");
    let value = HeaderValue::from_bytes(one_line.as_bytes()).unwrap_or_else(|_| HeaderValue::from_static("error"));
    Frame::trailers(HeaderMap::from_iter([(STREAM_ERROR, value)]))
}

/// A body with something that is dropped when it has been sent, or given up.
pub(crate) struct Guarded<G> {
    pub(crate) body: ResponseBody,
    pub(crate) _guard: G,
}

impl<G: Unpin> Body for Guarded<G> {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether the client said that it takes trailers.
pub(crate) fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(http::header::TE).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_component::rpc::RpcErrorKind;
    use futures::executor::block_on;

    fn pages(end: Option<&str>) -> PageStream<u8, RpcError> {
        let error = end.map(|text| Err(RpcError::new(RpcErrorKind::Failed, text)));
        futures::stream::iter([Ok(vec![2, 3])].into_iter().chain(error)).boxed()
    }

    fn digit(item: &u8, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{item}\n").as_bytes());
    }

    #[test]
    fn a_whole_stream_ends_in_an_empty_trailer() {
        let body = block_on(lines(vec![1], pages(None), true, digit).collect()).expect("whole");
        assert_eq!(body.trailers().and_then(|t| t.get(STREAM_ERROR)), Some(&HeaderValue::from_static("")));
        assert_eq!(body.to_bytes(), "1\n2\n3\n");
    }

    #[test]
    fn an_error_is_told_in_the_trailer_or_cuts_the_body() {
        let told = block_on(lines(vec![1], pages(Some("peer\ngone")), true, digit).collect()).expect("with trailer");
        assert_eq!(told.trailers().and_then(|t| t.get(STREAM_ERROR)), Some(&HeaderValue::from_static("peer gone")));

        let cut = block_on(lines(vec![1], pages(Some("peer gone")), false, digit).collect());
        assert_eq!(cut.expect_err("cut").0, "peer gone");
    }

    #[test]
    fn te_is_a_list() {
        let headers = |value: &'static str| HeaderMap::from_iter([(http::header::TE, HeaderValue::from_static(value))]);
        assert!(takes_trailers(&headers("gzip, Trailers")));
        assert!(!takes_trailers(&headers("gzip")));
        assert!(!takes_trailers(&HeaderMap::new()));
    }
}
