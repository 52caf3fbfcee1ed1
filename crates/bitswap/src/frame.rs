//! Messages on a stream: each with its length before it.

use crate::Version;
use crate::message::{Malformed, Message};
use bytes::Bytes;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use std::io;

/// The largest message, in bytes, as the reference.
pub const MESSAGE_MAX: usize = 4 << 20;

/// Room is taken in such steps while bytes come in: a length that is only claimed costs nothing.
const STEP: usize = 64 << 10;

/// Why no message was read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream failed, or ended within a message.
    #[error("the stream of messages broke: {0}")]
    Io(#[from] io::Error),
    /// It is larger than [`MESSAGE_MAX`].
    #[error("a message of {0} bytes, more than {MESSAGE_MAX}")]
    TooLarge(u64),
    /// It makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Reads the next message; `None`: the stream ended before one.
///
/// # Errors
/// When the stream fails, or what comes is no message; then nothing that follows can be told.
pub async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Message>, FrameError> {
    match read_length(stream).await? {
        Some(length) => read_body(stream, length).await.map(Some),
        None => Ok(None),
    }
}

/// Reads the message that follows its length.
pub(crate) async fn read_body(stream: &mut (impl AsyncRead + Unpin), length: u64) -> Result<Message, FrameError> {
    let length = usize::try_from(length).ok().filter(|l| *l <= MESSAGE_MAX).ok_or(FrameError::TooLarge(length))?;
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let have = bytes.len();
        bytes.resize(length.min(have + STEP), 0);
        stream.read_exact(&mut bytes[have..]).await?;
    }
    Ok(Message::decode(Bytes::from(bytes))?)
}

/// Reads the length of the next message; `None`: the stream ended before one.
pub(crate) async fn read_length(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<u64>, FrameError> {
    let mut bytes = unsigned_varint::encode::u64_buffer();
    for at in 0..bytes.len() {
        if stream.read(&mut bytes[at..=at]).await? == 0 {
            return if at == 0 { Ok(None) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) };
        }
        if bytes[at] & 0x80 == 0 {
            let length = unsigned_varint::decode::u64(&bytes[..=at]);
            return Ok(Some(length.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?.0));
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a length of more than ten bytes").into())
}

/// Writes a message and flushes.
///
/// # Errors
/// When the stream fails.
pub async fn write_message(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &Message,
    version: Version,
) -> io::Result<()> {
    let body = message.encode(version);
    let mut buffer = unsigned_varint::encode::u64_buffer();
    stream.write_all(unsigned_varint::encode::u64(body.len() as u64, &mut buffer)).await?;
    stream.write_all(&body).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    #[test]
    fn messages_come_one_after_the_other_and_the_end_is_told() {
        let message = Message { full: true, ..Message::default() };
        let mut bytes = Vec::new();
        for _ in 0..2 {
            block_on(write_message(&mut bytes, &message, Version::V1_2_0)).expect("written");
        }

        let mut input = bytes.as_slice();
        for _ in 0..2 {
            assert_eq!(block_on(read_message(&mut input)).expect("read"), Some(message.clone()));
        }
        assert_eq!(block_on(read_message(&mut input)).expect("the end"), None);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for (bytes, told) in [
            (&b"\x81\x80\x80\x02"[..], "a message of 4194305 bytes"),
            (&b"\x05\x0a"[..], "broke"),
            (&b"\x80"[..], "broke"),
            (&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..], "broke"),
        ] {
            let error = block_on(read_message(&mut { bytes })).expect_err("refused").to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
