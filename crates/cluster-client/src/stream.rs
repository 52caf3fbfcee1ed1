//! Answers that are streams: one JSON value after the other, and what is told behind them.

use crate::client::{Ask, Client, MakeBody, api_error, until, whole};
use crate::error::ClientError;
use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use tokio::time::Instant;

/// Most bytes of one value.
const VALUE_BYTES_MAX: usize = 64 << 20;

/// A stream of an answer's values. An error is its last item.
pub(crate) type Values<T> = BoxStream<'static, Result<T, ClientError>>;

impl Client {
    /// Sends, and reads the answer value by value.
    pub(crate) async fn stream<T: DeserializeOwned + Send + 'static>(
        &self,
        ask: Ask,
        body: MakeBody<'_>,
    ) -> Result<Values<T>, ClientError> {
        let deadline = self.deadline();
        let response = self.send(&ask, body).await?;
        let status = response.status();
        match status {
            StatusCode::OK => Ok(values(response.into_body(), deadline)),
            StatusCode::NO_CONTENT => Ok(futures::stream::empty().boxed()),
            _ if status.is_client_error() || status.is_server_error() => {
                Err(api_error(status, &whole(response, deadline).await?))
            }
            _ => Err(ClientError::Answer("expected streaming response with code 200/204".into())),
        }
    }
}

struct Reading<T> {
    body: Option<Incoming>,
    deadline: Option<Instant>,
    bytes: BytesMut,
    ready: VecDeque<Result<T, ClientError>>,
}

fn values<T: DeserializeOwned + Send + 'static>(body: Incoming, deadline: Option<Instant>) -> Values<T> {
    let reading = Reading { body: Some(body), deadline, bytes: BytesMut::new(), ready: VecDeque::new() };
    futures::stream::unfold(reading, |mut reading| async move {
        loop {
            if let Some(value) = reading.ready.pop_front() {
                return Some((value, reading));
            }
            reading.body.as_ref()?;
            reading.more().await;
        }
    })
    .boxed()
}

impl<T: DeserializeOwned> Reading<T> {
    /// Reads one frame and what is whole in it. The end of the body or an error takes the body away.
    async fn more(&mut self) {
        let Some(body) = &mut self.body else { return };
        let frame = match until(self.deadline, body.frame()).await {
            Ok(frame) => frame,
            Err(late) => return self.end_with(Some(late)),
        };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.take(data),
                Err(frame) => self.end_with(frame.trailers_ref().and_then(told)),
            },
            Some(Err(error)) => {
                self.end_with(Some(ClientError::Transport(format!("the answer was cut short: {error}"))))
            }
            None => self.end_with(None),
        }
    }

    fn take(&mut self, data: Bytes) {
        self.bytes.extend_from_slice(&data);
        let Some(end) = self.bytes.iter().rposition(|byte| *byte == b'\n') else {
            if self.bytes.len() > VALUE_BYTES_MAX {
                self.end_with(Some(ClientError::Answer("a value of the answer is too long".into())));
            }
            return;
        };
        let lines = self.bytes.split_to(end + 1);
        self.read(&lines);
    }

    fn read(&mut self, text: &[u8]) {
        for value in serde_json::Deserializer::from_slice(text).into_iter::<T>() {
            let value = value.map_err(|e| ClientError::Answer(e.to_string()));
            let broken = value.is_err();
            self.ready.push_back(value);
            if broken {
                self.body = None;
                return;
            }
        }
    }

    fn end_with(&mut self, error: Option<ClientError>) {
        let rest = std::mem::take(&mut self.bytes);
        if error.is_none() && !rest.is_empty() {
            self.read(&rest);
        }
        self.body = None;
        self.ready.extend(error.map(Err));
    }
}

/// The errors that trailers tell; empty ones mean that all is well.
fn told(trailers: &HeaderMap) -> Option<ClientError> {
    let values = trailers.get_all("x-stream-error").iter().map(|v| String::from_utf8_lossy(v.as_bytes()));
    let texts: Vec<_> = values.filter(|text| !text.is_empty()).collect();
    (!texts.is_empty()).then(|| ClientError::Api { code: 500, message: texts.join("; ") })
}
