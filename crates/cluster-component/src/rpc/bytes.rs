//! Counts the bytes of a call.

use crate::ports::Duplex;
use futures::io::{AsyncRead, AsyncWrite};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

/// How many bytes have passed. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Passed(Arc<(AtomicU64, AtomicU64)>);

impl Passed {
    pub(super) fn received(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    pub(super) fn sent(&self) -> u64 {
        self.0.1.load(Ordering::Relaxed)
    }
}

/// A stream whose bytes are counted.
pub(super) struct Counted {
    pub(super) inner: Duplex,
    pub(super) passed: Passed,
}

fn add(counter: &AtomicU64, passed: &Poll<io::Result<usize>>) {
    if let Poll::Ready(Ok(count)) = passed {
        counter.fetch_add(*count as u64, Ordering::Relaxed);
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        add(&self.passed.0.0, &read);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        add(&self.passed.0.1, &written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
