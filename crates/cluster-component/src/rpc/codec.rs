//! The framing of calls, which is gorpc's: msgpack values one behind the other, with no lengths before them.
//!
//! A call is a stream of its own. The caller sends a [`ServiceId`] and then what it asks; the callee sends a [`Response`]
//! before each value that it answers. Who asks for one value keeps its half open until it has it, since the end of that
//! half calls the call off; who asks for a stream of values ends its half, and the end of the other half is success.

use super::error::{RpcError, RpcErrorKind};
use crate::errors::NOT_PINNED;
use bytes::{Buf, Bytes, BytesMut};
use cluster_types::msgpack::{Fields, Known, Malformed, Pack, Reader, Unpack, Writer, measure};
use futures::io::{AsyncRead, AsyncReadExt};

/// Most bytes of one value: a block of 2 MiB with room around it, and what raft sends.
pub(super) const VALUE_MAX: usize = 16 << 20;

/// Most bytes of the head of a call or an answer.
pub(super) const HEAD_MAX: usize = 64 << 10;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// Which method is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ServiceId {
    pub(super) name: String,
    pub(super) method: String,
}

impl ServiceId {
    /// From `Service.Method`.
    pub(super) fn of(name: &str) -> Self {
        let (service, method) = name.split_once('.').unwrap_or((name, ""));
        Self { name: service.to_owned(), method: method.to_owned() }
    }
}

impl Pack for ServiceId {
    fn pack(&self, out: &mut Writer) {
        let mut fields = Fields::default();
        fields.always("Name", |out| self.name.as_str().pack(out));
        fields.always("Method", |out| self.method.as_str().pack(out));
        fields.finish(out);
    }
}

impl Unpack for ServiceId {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut id = Self::default();
        input.fields(|key, value| {
            match key {
                b"Name" => id.name = value.text()?,
                b"Method" => id.method = value.text()?,
                _ => return Ok(Known::No),
            }
            Ok(Known::Yes)
        })?;
        Ok(id)
    }
}

/// What stands before an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Response {
    service: ServiceId,
    error: String,
    kind: i64,
}

/// Error kinds of the wire.
const SERVER: i64 = 1;
const UNAUTHORIZED: i64 = 3;

impl Response {
    pub(super) fn success(service: ServiceId) -> Self {
        Self { service, ..Self::default() }
    }

    pub(super) fn failure(service: ServiceId, error: &RpcError) -> Self {
        let kind = match error.kind {
            RpcErrorKind::Unauthorized => UNAUTHORIZED,
            RpcErrorKind::NoSuchMethod => SERVER,
            _ => 0,
        };
        // An empty text would be taken for success.
        let error = if error.message.is_empty() { "failed".to_owned() } else { error.message.clone() };
        Self { service, error, kind }
    }

    pub(super) fn into_result(self) -> Result<(), RpcError> {
        let kind = match self.kind {
            _ if self.error.is_empty() => return Ok(()),
            UNAUTHORIZED => RpcErrorKind::Unauthorized,
            SERVER if self.error.starts_with("rpc: can't find") => RpcErrorKind::NoSuchMethod,
            SERVER => RpcErrorKind::Invalid,
            _ if self.error == NOT_PINNED => RpcErrorKind::NotFound,
            _ => RpcErrorKind::Failed,
        };
        Err(RpcError::new(kind, self.error))
    }
}

impl Pack for Response {
    fn pack(&self, out: &mut Writer) {
        let mut fields = Fields::default();
        fields.always("Service", |out| self.service.pack(out));
        fields.text("Error", &self.error);
        fields.int("ErrType", self.kind);
        fields.finish(out);
    }
}

impl Unpack for Response {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut response = Self::default();
        input.fields(|key, value| {
            match key {
                b"Service" => response.service = Unpack::unpack(value)?,
                b"Error" => response.error = value.text()?,
                b"ErrType" => response.kind = value.int()?,
                _ => return Ok(Known::No),
            }
            Ok(Known::Yes)
        })?;
        Ok(response)
    }
}

/// Why the next value did not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("the stream ended within a value")]
    Cut,
    #[error("a value is larger than {0} bytes")]
    TooLarge(usize),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the stream broke: {0}")]
    Broken(#[from] std::io::Error),
}

/// Takes values from a stream.
#[derive(Debug)]
pub(super) struct Values<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Values<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next value if it is here as a whole.
    pub(super) fn here(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        match measure(&self.buffer)? {
            Some(length) if length > max => Err(ReadError::TooLarge(max)),
            Some(length) => Ok(Some(self.buffer.split_to(length).freeze())),
            None if self.buffer.len() > max => Err(ReadError::TooLarge(max)),
            None => Ok(None),
        }
    }

    /// The next value; `None` at the end of the stream.
    pub(super) async fn next(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(value) = self.here(max)? {
                return Ok(Some(value));
            }
            if self.more().await? == 0 {
                return if self.buffer.has_remaining() { Err(ReadError::Cut) } else { Ok(None) };
            }
        }
    }

    /// Whether something of the next value is here.
    pub(super) fn has_more(&self) -> bool {
        self.buffer.has_remaining()
    }

    /// Reads what is there next; 0 at the end.
    async fn more(&mut self) -> std::io::Result<usize> {
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        let read = self.stream.read(&mut self.buffer[length..]).await;
        self.buffer.truncate(length + read.as_ref().copied().unwrap_or(0));
        read
    }

    /// Returns when the other side has ended or broken off, whatever else it sends.
    pub(super) async fn ended(&mut self) {
        let mut scrap = [0; 1024];
        while matches!(self.stream.read(&mut scrap).await, Ok(read) if read > 0) {}
    }
}
