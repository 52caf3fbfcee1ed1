//! What the outside world is to a peer: clock, chance and network, each behind a trait that a simulation can play.
//!
//! (The disk's traits and the type `Time` are in `cluster-types`, since decisions read through them too.)

use crate::errors::NetError;
use async_trait::async_trait;
use bytes::Bytes;
use cluster_types::{Cid, PeerId, Time};
use futures::stream::BoxStream;
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

    /// Listens. The stream is bounded: when the reader is too slow, the oldest messages are dropped.
    fn subscribe(&self, topic: &Topic) -> BoxStream<'static, Message>;
}

/// A block and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its name.
    pub cid: Cid,
    /// Its bytes.
    pub data: Bytes,
}

/// Getting blocks from other peers. What it returns has been verified against its name.
#[async_trait]
pub trait BlockExchange: Send + Sync + 'static {
    /// Gets one block.
    ///
    /// # Errors
    /// When nobody gave it in time: try again later.
    async fn get(&self, cid: &Cid) -> Result<Block, NetError>;

    /// Gets the DAG below these heads as far as the caller does not have it.
    fn fetch_dag(self: Arc<Self>, heads: Vec<Cid>) -> BoxStream<'static, Result<Block, NetError>>;
}

/// The blocks that this peer serves to others.
pub trait LocalBlocks: Send + Sync + 'static {
    /// Whether it is here.
    fn has(&self, cid: &Cid) -> bool;

    /// Its bytes, if it is here.
    fn get(&self, cid: &Cid) -> Option<Bytes>;
}
