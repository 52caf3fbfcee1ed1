//! What the outside world is to a peer: clock, chance and network, each behind a trait that a simulation can play.
//!
//! (The disk's traits and the type `Time` are in `cluster-types`, since decisions read through them too.)

use crate::errors::NetError;
use async_trait::async_trait;
use bytes::Bytes;
use cluster_types::msgpack::{Fields, Known, Malformed, Pack, Reader, Unpack, Writer};
use cluster_types::{Cid, Multiaddr, PeerId, Time};
use futures::io::{AsyncRead, AsyncWrite};
use futures::stream::BoxStream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The clock of a peer.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// What it shows now.
    fn now(&self) -> Time;

    /// Waits until the monotonic time is `at`. *Cancel safety:* may be dropped at any time.
    async fn sleep_until(&self, at: Duration);
}

/// Waits for a span of the clock's monotonic time.
pub async fn sleep(clock: &dyn Clock, span: Duration) {
    let at = clock.now().mono.saturating_add(span);
    clock.sleep_until(at).await;
}

/// A source of chance; a simulation gives a seeded one.
pub trait Entropy: Send + Sync {
    /// The next number.
    fn next_u64(&self) -> u64;

    /// A source of its own for another task, so that the order in which tasks draw does not matter.
    fn fork(&self) -> Box<dyn Entropy>;
}

/// A topic of the pubsub network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(pub String);

/// A message of a topic, with its author as the network verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who signed it.
    pub from: PeerId,
    /// What it says.
    pub data: Bytes,
}

/// One-to-many messages without guarantee of delivery.
#[async_trait]
pub trait PubSub: Send + Sync + 'static {
    /// Sends to everyone who listens, ourselves included.
    ///
    /// # Errors
    /// When the network is not running; a message that nobody hears is not an error.
    async fn publish(&self, topic: &Topic, data: Bytes) -> Result<(), NetError>;

    /// Listens, and passes on to others what `accepts` says. The stream is bounded: when the reader is too slow, the
    /// oldest messages are dropped.
    fn subscribe(&self, topic: &Topic, accepts: Accepts) -> BoxStream<'static, Message>;
}

/// Whether messages of an author are heard and passed on; asked for each message. Our own always are.
pub type Accepts = Arc<dyn Fn(&PeerId) -> bool + Send + Sync>;

/// Bytes both ways between two peers. Closing the writing half tells the other that nothing more will come; dropping
/// it all resets the stream.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// A stream to or from another peer.
pub type Duplex = Box<dyn ByteStream>;

/// Opens streams for calls to other peers. Streams that others open are handed to the switchboard.
#[async_trait]
pub trait Wire: Send + Sync + 'static {
    /// Opens a stream, connecting first where that is needed. *Cancel safety:* dropped, nothing was opened.
    ///
    /// # Errors
    /// When the peer cannot be reached, or does not speak the protocol.
    async fn open(&self, to: &PeerId) -> Result<Duplex, NetError>;
}

/// The connections of this peer.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// What this peer announces, without its name.
    fn addresses(&self) -> Vec<Multiaddr>;

    /// What is known of where a peer is, without its name.
    fn addresses_of(&self, peer: &PeerId) -> Vec<Multiaddr>;

    /// Whom it is connected to.
    fn connected(&self) -> BTreeSet<PeerId>;

    /// Connects to a peer at an address that ends with its name.
    ///
    /// # Errors
    /// When that fails within its time.
    async fn connect(&self, address: &Multiaddr) -> Result<PeerId, NetError>;

    /// Forgets where a peer is and ends its connections.
    async fn forget(&self, peer: &PeerId);

    /// Keeps the connections to a peer when there are too many, or no longer.
    fn protect(&self, peer: &PeerId, protected: bool);

    /// Bytes that have passed, by protocol.
    fn bandwidth(&self) -> BandwidthByProtocol;
}

/// Bytes that have passed, by protocol.
pub type BandwidthByProtocol = BTreeMap<String, Bandwidth>;

/// Bytes of one protocol. The rates are averages over about a minute.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bandwidth {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes received a second.
    pub rate_in: f64,
    /// Bytes sent a second.
    pub rate_out: f64,
}

/// A block and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its name.
    pub cid: Cid,
    /// Its bytes.
    pub data: Bytes,
    verified: bool,
}

impl Block {
    /// A block as somebody else gave it: whether the bytes are what the name says is not known.
    #[must_use]
    pub fn claimed(cid: Cid, data: Bytes) -> Self {
        Self { cid, data, verified: false }
    }

    /// A block whose bytes this process has hashed: nobody need do it again. It crosses no wire as such.
    #[must_use]
    pub fn verified(cid: Cid, data: Bytes) -> Self {
        Self { cid, data, verified: true }
    }

    /// Whether the bytes are known to be what the name says.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.verified
    }
}

impl Pack for Block {
    fn pack(&self, out: &mut Writer) {
        let mut fields = Fields::default();
        fields.when(!self.data.is_empty(), "d", |out| self.data.pack(out));
        fields.always("c", |out| self.cid.pack(out));
        fields.uint("s", self.data.len() as u64);
        fields.finish(out);
    }
}

impl Unpack for Block {
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (mut cid, mut data) = (None, Bytes::new());
        input.fields(|key, value| {
            match key {
                b"c" => cid = Unpack::unpack(value)?,
                b"d" => data = Unpack::unpack(value)?,
                _ => return Ok(Known::No),
            }
            Ok(Known::Yes)
        })?;
        Ok(Self::claimed(cid.ok_or(Malformed::new("the block has no CID"))?, data))
    }
}

/// Getting blocks from other peers. What it returns has been verified against its name.
#[async_trait]
pub trait BlockExchange: Send + Sync + 'static {
    /// Gets one block.
    ///
    /// # Errors
    /// When nobody gave it in time: try again later.
    async fn get(&self, cid: &Cid) -> Result<Block, NetError>;

    /// Gets a block of the pinset's DAG, first, and perhaps blocks below it, parents before children: as many as fit
    /// `below`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn get_below(&self, cid: &Cid, below: &Below) -> Result<Vec<Block>, NetError> {
        let _they_will_be_asked_for = below;
        Ok(vec![self.get(cid).await?])
    }
}

/// How far below a block of a DAG the walk of an answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Below {
    /// Blocks of the answer at most, the first included.
    pub most: u32,
    /// Where the walk turns back: who asks has these and all below them.
    pub known: Vec<Cid>,
}

/// The blocks that this peer serves to others.
pub trait LocalBlocks: Send + Sync + 'static {
    /// Whether it is here.
    fn has(&self, cid: &Cid) -> bool;

    /// Its bytes, if it is here.
    fn get(&self, cid: &Cid) -> Option<Bytes>;

    /// The block, first, and what is below it, parents before children: as many as fit `below` and `bytes_max`, which
    /// the last one may exceed. Nothing, if it is not here.
    fn get_below(&self, cid: &Cid, below: &Below, bytes_max: usize) -> Vec<Block> {
        let _a_store_that_knows_no_links = (below, bytes_max);
        self.get(cid).into_iter().map(|data| Block::claimed(*cid, data)).collect()
    }
}
