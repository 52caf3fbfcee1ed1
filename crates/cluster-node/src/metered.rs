//! A connector and a datastore that count what is asked of the ones behind them.

use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::PageStream;
use cluster_component::component::{BlockLease, Blocks, Component, IpfsConnector, ProgressSink};
use cluster_component::errors::{ConnectorError, StartError};
use cluster_component::metrics::Metrics;
use cluster_component::tasks::TaskScope;
use cluster_types::store::{Batch, Datastore, DatastoreRead, Row, StoreError, Table, Visit};
use cluster_types::{Cid, IpfsId, IpfsPin, IpfsPinStatus, Multiaddr, PeerId, Pin, RepoGcKey, RepoStat};
use futures::StreamExt;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

/// The datastore behind, and where its times are noted.
pub(crate) struct MeteredStore {
    pub(crate) inner: Arc<dyn Datastore>,
    pub(crate) metrics: Arc<Metrics>,
}

impl DatastoreRead for MeteredStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), StoreError> {
        self.inner.scan(table, from, to, visit)
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreError> {
        self.inner.last(table)
    }
}

impl Datastore for MeteredStore {
    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let begun = Instant::now();
        let written = self.inner.write(batch);
        self.metrics.store_writes.took(begun.elapsed());
        written
    }

    fn sync(&self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let synced = self.inner.sync();
        self.metrics.store_syncs.took(begun.elapsed());
        synced
    }

    fn disk_bytes(&self) -> u64 {
        self.inner.disk_bytes()
    }
}

/// The connector behind, and what is counted.
pub(crate) struct Metered {
    pub(crate) inner: Arc<dyn IpfsConnector>,
    pub(crate) metrics: Arc<Metrics>,
}

#[async_trait]
impl Component for Metered {
    fn key(&self) -> &'static str {
        self.inner.key()
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        Arc::clone(&self.inner).start(tasks).await
    }

    async fn shutdown(&self) {
        self.inner.shutdown().await;
    }
}

#[async_trait]
impl IpfsConnector for Metered {
    async fn ready(&self) -> Result<(), ConnectorError> {
        self.inner.ready().await
    }

    async fn id(&self) -> Result<IpfsId, ConnectorError> {
        self.inner.id().await
    }

    async fn pin(&self, pin: &Pin, progress: Option<ProgressSink>) -> Result<(), ConnectorError> {
        self.metrics.pin_adds.add(1);
        let pinned = self.inner.pin(pin, progress).await;
        match &pinned {
            Ok(()) => self.metrics.ipfs_pins.add(1),
            Err(_) => self.metrics.pin_add_errors.add(1),
        }
        pinned
    }

    async fn unpin(&self, cid: &Cid) -> Result<(), ConnectorError> {
        let unpinned = self.inner.unpin(cid).await;
        if unpinned.is_ok() {
            self.metrics.ipfs_pins.add(-1);
        }
        unpinned
    }

    async fn pin_ls_cid(&self, pin: &Pin) -> Result<IpfsPinStatus, ConnectorError> {
        self.inner.pin_ls_cid(pin).await
    }

    /// A list that is read to its end says how many items there are.
    fn pin_ls(self: Arc<Self>, kinds: &[IpfsPinStatus]) -> PageStream<IpfsPin, ConnectorError> {
        let pages = Arc::clone(&self.inner).pin_ls(kinds);
        let counted = futures::stream::unfold((pages, self, 0_i64), |(mut pages, metered, count)| async move {
            match pages.next().await {
                Some(Ok(page)) => {
                    let count = count + i64::try_from(page.len()).unwrap_or(0);
                    Some((Ok(page), (pages, metered, count)))
                }
                Some(Err(error)) => Some((Err(error), (pages, metered, count))),
                None => {
                    metered.metrics.ipfs_pins.set(count);
                    None
                }
            }
        });
        counted.boxed()
    }

    async fn resolve(&self, path: &str) -> Result<Cid, ConnectorError> {
        self.inner.resolve(path).await
    }

    async fn repo_stat(&self) -> Result<RepoStat, ConnectorError> {
        self.inner.repo_stat().await
    }

    async fn repo_gc(&self) -> Result<Vec<RepoGcKey>, ConnectorError> {
        self.inner.repo_gc().await
    }

    async fn connect_swarms(&self, addresses: &[Multiaddr]) -> Result<(), ConnectorError> {
        self.inner.connect_swarms(addresses).await
    }

    async fn swarm_peers(&self) -> Result<Vec<PeerId>, ConnectorError> {
        self.inner.swarm_peers().await
    }

    async fn block_put(&self, blocks: Blocks) -> Result<(), ConnectorError> {
        self.metrics.block_puts.add(1);
        let metrics = Arc::clone(&self.metrics);
        let counted = blocks.inspect(move |block| {
            if let Ok(block) = block {
                metrics.blocks_added.add(1);
                metrics.blocks_added_bytes.add(block.data.len() as u64);
            }
        });
        let put = self.inner.block_put(counted.boxed()).await;
        if put.is_err() {
            self.metrics.block_put_errors.add(1);
        }
        put
    }

    async fn block_get(&self, cid: &Cid) -> Result<Bytes, ConnectorError> {
        self.inner.block_get(cid).await
    }

    fn lease(&self) -> BlockLease {
        self.inner.lease()
    }
}
