//! Tells a peer with another secret from a broken connection.
//!
//! Private networks have no handshake that could fail: with the wrong secret everything is noise. What comes first is
//! known, however, so that noise is recognised at once, and not by whatever the layers above make of it.

use futures::io::{AsyncRead, AsyncWrite};
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What every connection begins with, in both directions.
const GREETING: &[u8; 20] = b"\x13/multistream/1.0.0\n";

/// The other side does not have the secret that this one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other peer has another secret, or none: cluster.secret must be the same on all peers")]
pub struct WrongSecret;

/// The other side hung up before it said anything, as peers with another secret do once they have seen noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other peer hung up at once: is cluster.secret the same on both peers?")]
pub struct HungUp;

/// Whether an error comes from another secret, at whatever depth.
#[must_use]
pub fn is_wrong_secret(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(<dyn Error>::is::<WrongSecret>)
}

/// Whether an error comes from a peer that hung up before it said anything.
#[must_use]
pub fn is_hung_up(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(<dyn Error>::is::<HungUp>)
}

/// What an error comes from in the end, in words.
#[must_use]
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    causes(error).last().unwrap_or(error).to_string()
}

/// An error and everything that it wraps. Layers wrap each other's errors in `io::Error`, whose `source` passes over
/// what it wraps.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

/// The error of a connection that ended before it began.
pub(crate) fn hung_up() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, HungUp)
}

/// A stream whose first bytes are looked at as they pass.
#[derive(Debug)]
pub(crate) struct Guard<S> {
    inner: S,
    /// How much of the greeting has been seen.
    seen: usize,
}

impl<S> Guard<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, seen: 0 }
    }

    fn check(&mut self, read: &[u8]) -> io::Result<()> {
        let rest = &GREETING[self.seen..];
        let here = rest.len().min(read.len());
        if read[..here] != rest[..here] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, WrongSecret));
        }
        self.seen += here;
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if self.seen == GREETING.len() {
            return Poll::Ready(read);
        }
        match read {
            Ok(0) | Err(_) if !buf.is_empty() => Poll::Ready(Err(hung_up())),
            read => {
                let read = read?;
                self.check(&buf[..read])?;
                Poll::Ready(Ok(read))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::{AsyncReadExt, Cursor};

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        block_on(Guard::new(Cursor::new(bytes.to_vec())).read_to_end(&mut out)).map(|_| out)
    }

    #[test]
    fn a_greeting_and_what_follows_pass_unchanged() {
        let bytes = [GREETING.as_slice(), b"\x07/noise\n"].concat();
        assert_eq!(read(&bytes).expect("passes"), bytes);
    }

    #[test]
    fn an_early_end_is_no_wrong_secret() {
        for end in [0, 7] {
            let error = read(&GREETING[..end]).expect_err("ended");
            assert!(is_hung_up(&error) && !is_wrong_secret(&error));
        }
    }

    #[test]
    fn noise_is_a_wrong_secret_also_when_wrapped() {
        let error = read(b"\x13/multistreaX/1.0.0\n").expect_err("refused");
        assert!(is_wrong_secret(&error));
        assert!(is_wrong_secret(&io::Error::other(io::Error::other(error))));
        assert!(!is_wrong_secret(&io::Error::other("something else")));
    }
}
