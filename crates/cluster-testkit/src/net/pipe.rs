//! Bytes both ways in memory, which a fault can break.

use futures::io::{AsyncRead, AsyncWrite};
use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

/// Bytes that may be on their way.
const ON_THE_WAY_MAX: usize = 64 * 1024;

/// One direction.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// Nothing more will come.
    ended: bool,
    /// What is on its way is lost.
    broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    fn break_off(&mut self) {
        self.broken = true;
        self.bytes.clear();
        self.wake();
    }
}

type Shared = Arc<Mutex<Pipe>>;

fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One end of a stream.
pub(super) struct End {
    incoming: Shared,
    outgoing: Shared,
}

/// Breaks a stream from outside.
pub(super) struct Breaker([Weak<Mutex<Pipe>>; 2]);

impl Breaker {
    pub(super) fn break_off(&self) {
        self.0.iter().filter_map(Weak::upgrade).for_each(|pipe| lock(&pipe).break_off());
    }

    pub(super) fn is_gone(&self) -> bool {
        self.0.iter().all(|pipe| pipe.strong_count() == 0)
    }
}

/// A new stream: its ends, and what breaks it.
pub(super) fn pair() -> (End, End, Breaker) {
    let (there, back) = (Shared::default(), Shared::default());
    let breaker = Breaker([Arc::downgrade(&there), Arc::downgrade(&back)]);
    let near = End { incoming: Arc::clone(&back), outgoing: Arc::clone(&there) };
    (near, End { incoming: there, outgoing: back }, breaker)
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<Result<usize>> {
        let mut pipe = lock(&self.incoming);
        if !pipe.bytes.is_empty() {
            let count = into.len().min(pipe.bytes.len());
            into.iter_mut().zip(pipe.bytes.drain(..count)).for_each(|(to, byte)| *to = byte);
            if let Some(writer) = pipe.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Ok(count));
        }
        if pipe.broken {
            return Poll::Ready(Err(Error::from(ErrorKind::ConnectionReset)));
        }
        if pipe.ended {
            return Poll::Ready(Ok(0));
        }
        pipe.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<Result<usize>> {
        let mut pipe = lock(&self.outgoing);
        if pipe.broken || pipe.ended {
            return Poll::Ready(Err(Error::from(ErrorKind::BrokenPipe)));
        }
        let room = ON_THE_WAY_MAX.saturating_sub(pipe.bytes.len());
        if room == 0 && !from.is_empty() {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = room.min(from.len());
        pipe.bytes.extend(&from[..count]);
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        let mut pipe = lock(&self.outgoing);
        pipe.ended = true;
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        lock(&self.incoming).break_off();
        let mut outgoing = lock(&self.outgoing);
        if outgoing.ended { outgoing.wake() } else { outgoing.break_off() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn bytes_pass_and_a_closed_half_ends() {
        let (mut near, mut far, _) = pair();
        block_on(async {
            near.write_all(b"question").await.expect("written");
            near.close().await.expect("closed");
            let mut question = Vec::new();
            far.read_to_end(&mut question).await.expect("read");
            far.write_all(&question).await.expect("written");
            drop(far);
            let mut answer = Vec::new();
            assert!(near.read_to_end(&mut answer).await.is_err(), "a stream that is dropped is reset");
        });
    }

    #[test]
    fn a_broken_stream_fails_at_both_ends() {
        let (mut near, mut far, breaker) = pair();
        breaker.break_off();
        block_on(async {
            assert!(near.write(b"x").await.is_err());
            assert!(far.read(&mut [0]).await.is_err());
        });
        drop((near, far));
        assert!(breaker.is_gone());
    }
}
