//! Answers: whole, or line by line; either way with what the daemon tells behind them.

use super::figures::Followed;
use bytes::{Buf, Bytes, BytesMut};
use cluster_component::errors::ConnectorError;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;

/// Most bytes of an answer that is read as a whole: a block is 2 MiB, or larger where the operator wants that.
const WHOLE_MAX: usize = 64 << 20;

/// Most bytes of a line.
const LINE_MAX: usize = 1 << 20;

/// Reads an answer as a whole. An error behind it is an error.
pub(super) async fn read_whole(response: Response<Followed>, shown: &str) -> Result<Bytes, ConnectorError> {
    let broken = |e: &dyn std::fmt::Display| ConnectorError::Unavailable(format!("{shown}: the answer broke off: {e}"));
    let collected = Limited::new(response.into_body(), WHOLE_MAX).collect().await.map_err(|e| broken(&e))?;
    match collected.trailers().and_then(late_error) {
        Some(error) => Err(ConnectorError::Refused(format!("{shown}: {error}"))),
        None => Ok(collected.to_bytes()),
    }
}

/// The error that the daemon tells behind an answer.
fn late_error(trailers: &HeaderMap) -> Option<String> {
    let value = trailers.get("x-stream-error")?;
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    (!text.is_empty()).then_some(text)
}

/// An answer read as it comes.
pub(crate) struct Pieces {
    body: Followed,
    shown: String,
}

impl Pieces {
    pub(super) fn new(response: Response<Followed>, shown: String) -> Self {
        Self { body: response.into_body(), shown }
    }

    /// The next bytes; `None` at the end. An error behind the answer is an error. *Cancel safety:* nothing is lost when
    /// dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ConnectorError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(ConnectorError::Unavailable(format!("{}: the answer broke off: {error}", self.shown)));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(frame) => {
                        if let Some(error) = frame.trailers_ref().and_then(late_error) {
                            return Err(ConnectorError::Refused(format!("{}: {error}", self.shown)));
                        }
                    }
                },
            }
        }
    }
}

/// An answer whose lines are JSON values.
pub(crate) struct Lines {
    pieces: Pieces,
    bytes: BytesMut,
    ended: bool,
}

impl Lines {
    pub(super) fn new(response: Response<Followed>, shown: String) -> Self {
        Self { pieces: Pieces::new(response, shown), bytes: BytesMut::new(), ended: false }
    }

    /// The next value; `None` at the end. *Cancel safety:* nothing is lost when dropped.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ConnectorError> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line = self.bytes.split_to(end + 1);
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return self.value(&line).map(Some);
            }
            if self.ended {
                let rest = std::mem::take(&mut self.bytes);
                let empty = rest.iter().all(u8::is_ascii_whitespace);
                return if empty { Ok(None) } else { self.value(&rest).map(Some) };
            }
            self.read().await?;
        }
    }

    fn value<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T, ConnectorError> {
        serde_json::from_slice(line).map_err(|e| {
            let start = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
            ConnectorError::Unavailable(format!("{}: the answer makes no sense: {e}: {start:?}", self.pieces.shown))
        })
    }

    async fn read(&mut self) -> Result<(), ConnectorError> {
        if self.bytes.remaining() > LINE_MAX {
            return Err(ConnectorError::Unavailable(format!(
                "{}: a line of the answer is too long",
                self.pieces.shown
            )));
        }
        match self.pieces.next().await? {
            None => self.ended = true,
            Some(data) => self.bytes.extend_from_slice(&data),
        }
        Ok(())
    }
}
