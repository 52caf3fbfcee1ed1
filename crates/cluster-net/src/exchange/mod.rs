//! Blocks from other peers and for them: bitswap with everybody, and whole stretches of the pinset's DAG with peers that
//! speak the protocol of `bulk.rs`.

mod bulk;

use crate::host::Host;
use crate::options::Serve;
use async_trait::async_trait;
use bitswap::{Bitswap, Blocks, Link, PROTOCOLS, Version};
use bulk::Bulk;
use bytes::Bytes;
use cluster_component::component::Component;
use cluster_component::errors::{NetError, StartError};
use cluster_component::ports::{Below, Block, BlockExchange, LocalBlocks, Network};
use cluster_component::tasks::TaskScope;
use cluster_types::{Cid, PeerId};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

pub use bulk::PROTOCOL as BULK_PROTOCOL;

/// How long a block is waited for before whoever wants it is told that nobody gave it.
const GET_MAX: Duration = Duration::from_secs(30);

/// The exchange of blocks of a peer. Made before the host, which is told who serves its protocols.
pub struct Exchange {
    served: Arc<Served>,
    host: Arc<LateHost>,
    bitswap: Arc<Bitswap>,
    bulk: Bulk,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("bitswap", &self.bitswap).finish_non_exhaustive()
    }
}

impl Default for Exchange {
    fn default() -> Self {
        let (served, host) = (Arc::<Served>::default(), Arc::<LateHost>::default());
        let network = Arc::clone(&host) as Arc<dyn bitswap::Network>;
        let bitswap = Arc::new(Bitswap::new(network, Arc::clone(&served) as Arc<dyn Blocks>));
        Self { served, host, bitswap, bulk: Bulk::default() }
    }
}

impl Exchange {
    /// The protocols that it serves.
    #[must_use]
    pub fn protocols(self: &Arc<Self>) -> Vec<(&'static str, Serve)> {
        let bitswap = PROTOCOLS.into_iter().map(|protocol| {
            let bitswap = Arc::clone(&self.bitswap);
            let serve: Serve = Arc::new(move |peer, stream| Arc::clone(&bitswap).serve(peer, stream).boxed());
            (protocol, serve)
        });
        let this = Arc::clone(self);
        let bulk: Serve = Arc::new(move |peer, stream| {
            let this = Arc::clone(&this);
            async move { this.bulk.serve(peer, stream, &this.served).await }.boxed()
        });
        bitswap.chain([(BULK_PROTOCOL, bulk)]).collect()
    }

    /// Serves these blocks too.
    pub fn add(&self, blocks: Arc<dyn LocalBlocks>) {
        self.served.0.write().unwrap_or_else(PoisonError::into_inner).push(blocks);
    }

    /// Goes through this host. To be told once, before it is started.
    pub fn connect(&self, host: Arc<Host>) {
        let _told_before = self.host.0.set(host);
    }
}

#[async_trait]
impl Component for Exchange {
    fn key(&self) -> &'static str {
        "exchange"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        tasks.spawn_until_stopped("bitswap", Arc::clone(&self.bitswap).run());
        Ok(())
    }

    async fn shutdown(&self) {}
}

#[async_trait]
impl BlockExchange for Exchange {
    async fn get(&self, cid: &Cid) -> Result<Block, NetError> {
        match tokio::time::timeout(GET_MAX, self.bitswap.get(cid.0)).await {
            Ok(Ok(data)) => Ok(Block::verified(*cid, data)),
            Ok(Err(busy)) => Err(NetError::Closed(busy.to_string())),
            Err(_) => Err(NetError::NotFound(cid.to_string())),
        }
    }

    async fn get_below(&self, cid: &Cid, below: &Below) -> Result<Vec<Block>, NetError> {
        if let Some(host) = self.host.0.get() {
            let found = self.bulk.get(host, cid, below).await;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(vec![self.get(cid).await?])
    }
}

/// What is served, by whoever has it.
#[derive(Default)]
struct Served(RwLock<Vec<Arc<dyn LocalBlocks>>>);

impl Served {
    fn all(&self) -> Vec<Arc<dyn LocalBlocks>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Blocks for Served {
    fn get(&self, cid: &cid::Cid) -> Option<Bytes> {
        self.all().iter().find_map(|blocks| blocks.get(&Cid(*cid)))
    }
}

/// The host, once there is one.
#[derive(Default)]
struct LateHost(OnceLock<Arc<Host>>);

impl bitswap::Network for LateHost {
    fn peers(&self) -> BTreeSet<PeerId> {
        self.0.get().map(|host| host.connected()).unwrap_or_default()
    }

    fn open(&self, peer: PeerId) -> BoxFuture<'static, io::Result<(Box<dyn Link>, Version)>> {
        let host = self.0.get().cloned();
        async move {
            let host = host.ok_or(io::ErrorKind::NotConnected)?;
            let (stream, protocol) = host.open_any(peer, &PROTOCOLS).await.map_err(io::Error::other)?;
            Ok((Box::new(stream) as Box<dyn Link>, Version::of(protocol.as_ref())))
        }
        .boxed()
    }
}
