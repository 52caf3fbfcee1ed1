//! Bytes of each protocol, counted below the protocols.
//!
//! Streams name their protocol in their first bytes: what is written and read is looked at until the listening side has
//! agreed to one. Everything before, and streams that never get that far, count under the empty name.

use futures::io::{AsyncRead, AsyncWrite, IoSlice, IoSliceMut};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

/// Protocols that are told apart; more, which only a hostile peer names, count under the empty name.
const PROTOCOLS_MAX: usize = 128;

/// The longest line of a negotiation that is looked at.
const LINE_MAX: usize = 256;

/// Lines of a negotiation that are looked at: a peer that offers more protocols than this is not followed.
const LINES_MAX: usize = 64;

/// Bytes that passed since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

#[derive(Default)]
struct Counter {
    received: AtomicU64,
    sent: AtomicU64,
}

/// Counts what passes, by protocol. Clones count together.
#[derive(Clone, Default)]
pub struct Meter(Arc<Mutex<BTreeMap<String, Arc<Counter>>>>);

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.totals()).finish()
    }
}

impl Meter {
    /// What has passed of each protocol.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<String, Totals> {
        let counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = |counter: &Counter| Totals {
            received: counter.received.load(Ordering::Relaxed),
            sent: counter.sent.load(Ordering::Relaxed),
        };
        counters.iter().map(|(protocol, counter)| (protocol.clone(), totals(counter))).collect()
    }

    fn counter(&self, protocol: &str) -> Arc<Counter> {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counters.contains_key(protocol) || counters.len() < PROTOCOLS_MAX;
        let protocol = if known { protocol } else { "" };
        Arc::clone(counters.entry(protocol.to_owned()).or_default())
    }
}

/// A multiplexer whose streams are counted.
pub(crate) struct Metered<M> {
    inner: Pin<Box<M>>,
    meter: Meter,
}

impl<M> Metered<M> {
    pub(crate) fn new(inner: Pin<Box<M>>, meter: Meter) -> Self {
        Self { inner, meter }
    }
}

impl<M: StreamMuxer> StreamMuxer for Metered<M> {
    type Substream = MeteredStream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(self.inner.as_mut().poll_inbound(cx))?;
        Poll::Ready(Ok(MeteredStream::new(stream, &self.meter, Side::Listener)))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(self.inner.as_mut().poll_outbound(cx))?;
        Poll::Ready(Ok(MeteredStream::new(stream, &self.meter, Side::Dialer)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.as_mut().poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        self.inner.as_mut().poll(cx)
    }
}

/// Who opened a stream: this decides in which direction its protocol is agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Dialer,
    Listener,
}

/// A stream that is counted.
pub(crate) struct MeteredStream<S> {
    inner: Pin<Box<S>>,
    side: Side,
    counter: Arc<Counter>,
    /// While the protocol is not known.
    search: Option<(Search, Meter)>,
}

impl<S> MeteredStream<S> {
    fn new(stream: S, meter: &Meter, side: Side) -> Self {
        let search = Some((Search::default(), meter.clone()));
        Self { inner: Box::pin(stream), side, counter: meter.counter(""), search }
    }

    fn received(&mut self, parts: &[&[u8]], count: usize) {
        self.counter.received.fetch_add(count as u64, Ordering::Relaxed);
        if self.side == Side::Dialer {
            self.look(parts, count);
        }
    }

    fn sent(&mut self, parts: &[&[u8]], count: usize) {
        self.counter.sent.fetch_add(count as u64, Ordering::Relaxed);
        if self.side == Side::Listener {
            self.look(parts, count);
        }
    }

    /// Looks at bytes of the side that agrees.
    fn look(&mut self, parts: &[&[u8]], mut count: usize) {
        let Some((search, meter)) = &mut self.search else { return };
        for part in parts {
            let here = part.len().min(count);
            count -= here;
            match search.feed(&part[..here]) {
                Found::NotYet => {}
                Found::Never => return self.search = None,
                Found::Protocol(protocol) => {
                    self.counter = meter.counter(&protocol);
                    return self.search = None;
                }
            }
        }
    }
}

/// Finds the agreed protocol in the lines of the listening side.
#[derive(Default)]
struct Search {
    /// The length of the line, once it is known, and what of it has been seen.
    line: Vec<u8>,
    length: Option<usize>,
    lines: usize,
}

enum Found {
    NotYet,
    Never,
    Protocol(String),
}

impl Search {
    fn feed(&mut self, bytes: &[u8]) -> Found {
        for byte in bytes {
            let Some(length) = self.length else {
                // Lines are shorter than 128 bytes, or their length takes two bytes.
                self.line.push(*byte);
                if byte & 0x80 == 0 {
                    let length = self.line.iter().rev().fold(0, |sum, b| sum << 7 | usize::from(b & 0x7f));
                    self.length = Some(length);
                    self.line.clear();
                }
                if self.line.len() > 2 || self.length.is_some_and(|length| length == 0 || length > LINE_MAX) {
                    return Found::Never;
                }
                continue;
            };
            self.line.push(*byte);
            if self.line.len() == length {
                match self.end_of_line() {
                    Found::NotYet => {}
                    found => return found,
                }
            }
        }
        Found::NotYet
    }

    fn end_of_line(&mut self) -> Found {
        let line = std::mem::take(&mut self.line);
        self.length = None;
        self.lines += 1;
        match std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n')) {
            Some("/multistream/1.0.0" | "na") if self.lines < LINES_MAX => Found::NotYet,
            Some(protocol) if protocol.starts_with('/') => Found::Protocol(protocol.to_owned()),
            _ => Found::Never,
        }
    }
}

impl<S: AsyncRead> AsyncRead for MeteredStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = ready!(self.inner.as_mut().poll_read(cx, buf))?;
        self.received(&[&buf[..count]], count);
        Poll::Ready(Ok(count))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.inner.as_mut().poll_read_vectored(cx, bufs))?;
        let parts: Vec<&[u8]> = bufs.iter().map(|buf| &**buf).collect();
        self.received(&parts, count);
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite> AsyncWrite for MeteredStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(self.inner.as_mut().poll_write(cx, buf))?;
        self.sent(&[&buf[..count]], count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.inner.as_mut().poll_write_vectored(cx, bufs))?;
        let parts: Vec<&[u8]> = bufs.iter().map(|buf| &**buf).collect();
        self.sent(&parts, count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<u8> {
        let mut bytes = vec![u8::try_from(text.len() + 1).expect("short")];
        bytes.extend(text.as_bytes());
        bytes.push(b'\n');
        bytes
    }

    fn search(bytes: &[u8], step: usize) -> Option<String> {
        let mut search = Search::default();
        for part in bytes.chunks(step) {
            match search.feed(part) {
                Found::NotYet => {}
                Found::Never => return None,
                Found::Protocol(protocol) => return Some(protocol),
            }
        }
        None
    }

    #[test]
    fn the_protocol_is_what_the_listener_agrees_to() {
        let bytes = [line("/multistream/1.0.0"), line("na"), line("/ipfs/ping/1.0.0"), vec![0xff; 40]].concat();
        for step in [1, 3, 1000] {
            assert_eq!(search(&bytes, step).as_deref(), Some("/ipfs/ping/1.0.0"), "in steps of {step}");
        }
    }

    #[test]
    fn what_is_no_negotiation_is_given_up() {
        assert_eq!(search(&[0xff; 400], 7), None);
        assert_eq!(search(&[0; 400], 7), None);
        assert_eq!(search(&line("na").repeat(LINES_MAX + 1), 9), None);
    }

    #[test]
    fn protocols_that_nobody_speaks_do_not_fill_the_memory() {
        let meter = Meter::default();
        for n in 0..PROTOCOLS_MAX * 2 {
            meter.counter(&format!("/p/{n}"));
        }
        assert!(meter.totals().len() <= PROTOCOLS_MAX + 1);
    }
}
