//! What requests to the daemon come to, as the reference counts them: to the end of the answer, and with its bytes.

use super::call::RequestBody;
use bytes::Bytes;
use cluster_component::metrics::{DaemonCall, Metrics};
use cluster_component::ports::Clock;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// A request that is followed to the end of its answer, or until it is given up; then it is counted.
pub(super) struct Asked {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    begun: Duration,
    status: StatusCode,
    sent: Arc<AtomicU64>,
    received: u64,
}

impl Asked {
    /// Begins now.
    pub(super) fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let begun = clock.now().mono;
        // What a request without an answer is counted as.
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self { metrics, clock, begun, status, sent: Arc::default(), received: 0 }
    }

    /// Counts what is sent of this body.
    pub(super) fn sending(&self, body: RequestBody) -> RequestBody {
        let sent = Arc::clone(&self.sent);
        let count = move |frame: Frame<Bytes>| {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            sent.fetch_add(length, Ordering::Relaxed);
            frame
        };
        body.map_frame(count).boxed_unsync()
    }

    /// Follows the answer.
    pub(super) fn answered(mut self, response: Response<Incoming>) -> Response<Followed> {
        self.status = response.status();
        response.map(|body| Followed { body, asked: self })
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.metrics.daemon_call(DaemonCall {
            status: self.status.as_u16(),
            took: self.clock.now().mono.saturating_sub(self.begun),
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received,
        });
    }
}

/// The body of an answer.
pub(super) struct Followed {
    body: Incoming,
    asked: Asked,
}

impl Body for Followed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.asked.received += frame.data_ref().map_or(0, |data| data.len() as u64);
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
