//! IPFSConnector `embedded`: the component.

use crate::config::{EmbeddedConfig, Size};
use crate::fetch::{Shelf, blocking, unwalkable};
use crate::identity;
use crate::pins::Pins;
use crate::sources::Sources;
use crate::store::{BlockError, Blockstore, Root};
use crate::swarm::Host;
use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::component::{BlockLease, Blocks, Component, IpfsConnector, ProgressSink, StateRead};
use cluster_component::content::Content;
use cluster_component::errors::{ClusterError, ConnectorError, StartError};
use cluster_component::ports::{Block, BlockExchange, Clock, LocalBlocks};
use cluster_component::tasks::TaskScope;
use cluster_component::{PAGE_MAX, PageStream};
use cluster_types::store::{Datastore, StoreError};
use cluster_types::{Cid, IpfsId, IpfsPath, IpfsPin, IpfsPinStatus, Multiaddr, PeerId, Pin, RepoGcKey, RepoStat};
use dag::links::Walk;
use futures::{FutureExt, StreamExt, stream};
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Bytes that are written with one call, as far as they have come; as many are gathered meanwhile.
const WRITE_BYTES: usize = 4 << 20;

/// Bytes after which the disk begins to store them, so that little is left to do at the end.
const SYNC_BYTES: usize = 32 << 20;

/// Pages of a list of pins that wait for the reader.
const PAGES_AHEAD: usize = 2;

/// Roots that are read at a time.
const ROOTS: usize = 1_000;

/// Origins of a pin that are connected to, as the other connector.
const ORIGINS_MAX: usize = 10;

/// Peers that are connected to at a time.
const CONNECTS_AT_ONCE: usize = 8;

/// Most rows of a garbage collection that are kept.
const GC_ROWS_MAX: usize = 10_000_000;

/// What the connector is made of.
#[allow(missing_debug_implementations)] // Its parts are traits that need not show themselves.
pub struct Parts {
    /// The folder of the node.
    pub folder: PathBuf,
    /// The index of blocks, and the pins.
    pub store: Arc<dyn Datastore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where blocks come from that are not here.
    pub exchange: Option<Arc<dyn BlockExchange>>,
    /// What this peer shall hold: not collected, even before it is pinned.
    pub wanted: Option<Wanted>,
}

/// The pinset, and which peer this is in its allocations.
#[allow(missing_debug_implementations)] // As above.
pub struct Wanted {
    /// The pinset.
    pub pinset: Arc<dyn StateRead>,
    /// This peer.
    pub me: PeerId,
}

/// The connector.
pub struct Embedded {
    pub(crate) shelf: Arc<Shelf>,
    id: PeerId,
    folder: PathBuf,
    wanted: Option<Arc<Wanted>>,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the node's folder, which is made if it is not there. What a crash left is mended.
    ///
    /// # Errors
    /// When the folder or the datastore cannot be used.
    pub fn open(config: EmbeddedConfig, parts: Parts) -> Result<Self, StartError> {
        let failed = |reason: String| StartError { component: "embedded", reason };
        let segments = parts.folder.join("segments");
        std::fs::create_dir_all(&segments).map_err(|e| failed(format!("{}: {e}", segments.display())))?;
        let bytes_max = bytes_max(&config, &segments).map_err(|e| failed(format!("{}: {e}", segments.display())))?;
        let key = identity::load_or_make(&parts.folder.join("key")).map_err(|e| failed(e.to_string()))?;
        let store = Blockstore::open(&segments, Arc::clone(&parts.store), bytes_max);
        let store = store.map_err(|e| failed(e.to_string()))?;
        let (store, id) = (Arc::new(store), key.public().to_peer_id());
        let swarm = config.swarm.clone();
        let (pins, clock) = (Pins::new(parts.store), parts.clock);
        let host = || Arc::new(Host::new(key, swarm.clone(), Arc::clone(&store), pins.clone(), Arc::clone(&clock)));
        let outside = swarm.enabled.then(host);
        let shelf = Shelf { config, store, pins, sources: Sources::new(parts.exchange, outside), clock };
        Ok(Self { shelf: Arc::new(shelf), id, folder: parts.folder, wanted: parts.wanted.map(Arc::new) })
    }

    /// The blocks that it has, for others.
    #[must_use]
    pub fn blocks(&self) -> Arc<dyn LocalBlocks> {
        Arc::new(OwnBlocks(Arc::clone(&self.shelf)))
    }

    /// The content that it has, for a gateway.
    #[must_use]
    pub fn content(&self) -> Arc<dyn Content> {
        Arc::new(crate::content::EmbeddedContent::new(Arc::clone(&self.shelf)))
    }
}

/// What others are served: what is here, and nothing that would have to be fetched.
struct OwnBlocks(Arc<Shelf>);

impl LocalBlocks for OwnBlocks {
    fn has(&self, cid: &Cid) -> bool {
        matches!(self.0.store.present(cid), Ok(Some(_)))
    }

    fn get(&self, cid: &Cid) -> Option<Bytes> {
        self.0.store.get(cid).ok().flatten()
    }
}

/// Bytes that the blocks in a folder may have.
pub(crate) fn bytes_max(config: &EmbeddedConfig, folder: &Path) -> std::io::Result<u64> {
    Ok(match Size::parse(&config.storage_max) {
        Some(Size::Bytes(bytes)) => bytes,
        Some(Size::Percent(percent)) => {
            let system = rustix::fs::statvfs(folder)?;
            (u128::from(system.f_blocks) * u128::from(system.f_frsize) * u128::from(percent) / 100) as u64
        }
        None => u64::MAX,
    })
}

#[async_trait]
impl Component for Embedded {
    fn key(&self) -> &'static str {
        "embedded"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        match &self.shelf.sources.outside {
            Some(host) => host.start(tasks).await,
            None => Ok(()),
        }
    }

    async fn shutdown(&self) {
        let shelf = Arc::clone(&self.shelf);
        if let Err(error) = blocking(move || shelf.store.close()).await {
            tracing::warn!(%error, "the embedded IPFS node was not closed in order; the next start takes longer");
        }
    }
}

#[async_trait]
impl IpfsConnector for Embedded {
    async fn ready(&self) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn id(&self) -> Result<IpfsId, ConnectorError> {
        let addresses = self.shelf.sources.outside.as_ref().map(|host| host.addresses()).unwrap_or_default();
        Ok(IpfsId { id: Some(self.id), addresses })
    }

    async fn pin(&self, pin: &Pin, progress: Option<ProgressSink>) -> Result<(), ConnectorError> {
        if self.pin_ls_cid(pin).await?.satisfies(pin.max_depth) {
            return Ok(());
        }
        let origins = pin.options.origins.as_deref().unwrap_or_default();
        let origins = &origins[..origins.len().min(ORIGINS_MAX)];
        // The origins are connected to while the pin is under way, and no longer.
        let connect = async {
            let _best_effort = self.connect_swarms(origins).await; // They are not the only ones who may have it.
            std::future::pending().await
        };
        // Order: the pin is what counts.
        tokio::select! {
            biased;
            pinned = self.shelf.hold(pin, progress) => pinned,
            never = connect => never,
        }
    }

    async fn unpin(&self, cid: &Cid) -> Result<(), ConnectorError> {
        if self.shelf.config.unpin_disable {
            let text = "ipfs unpinning is disallowed by configuration on this peer";
            return Err(ConnectorError::Forbidden(text.into()));
        }
        let (shelf, cid) = (Arc::clone(&self.shelf), *cid);
        blocking(move || match shelf.pins.get(&cid) {
            Ok(IpfsPinStatus::Unpinned) => Ok(()),
            Ok(_) => shelf.pins.remove(&cid).map_err(BlockError::from),
            Err(error) => Err(error.into()),
        })
        .await
    }

    async fn pin_ls_cid(&self, pin: &Pin) -> Result<IpfsPinStatus, ConnectorError> {
        let held = self.shelf.pins.get(&pin.cid).map_err(BlockError::from)?;
        // As a daemon that is asked for one kind of pin.
        Ok(if held.satisfies(pin.max_depth) { held } else { IpfsPinStatus::Unpinned })
    }

    fn pin_ls(self: Arc<Self>, kinds: &[IpfsPinStatus]) -> PageStream<IpfsPin, ConnectorError> {
        let known = [IpfsPinStatus::Recursive, IpfsPinStatus::Direct, IpfsPinStatus::Indirect];
        let kinds: Vec<IpfsPinStatus> = kinds.iter().filter(|kind| known.contains(kind)).copied().collect();
        if kinds.is_empty() {
            let error = ConnectorError::Invalid("no pinType provided for pin/ls".into());
            return stream::iter([Err(error)]).boxed();
        }
        let (sender, receiver) = mpsc::channel(PAGES_AHEAD);
        let shelf = Arc::clone(&self.shelf);
        let list = async move {
            let told = sender.clone();
            if let Err(error) = blocking(move || list_pins(&shelf, &kinds, &sender)).await {
                let _nobody_reads = told.send(Err(error)).await;
            }
            None
        };
        let pages =
            stream::unfold(
                receiver,
                |mut receiver| async move { receiver.recv().await.map(|page| (Some(page), receiver)) },
            );
        stream::select(pages, stream::once(list)).filter_map(std::future::ready).boxed()
    }

    async fn resolve(&self, path: &str) -> Result<Cid, ConnectorError> {
        let path = IpfsPath::parse_lenient(path).map_err(|e| ConnectorError::Invalid(e.to_string()))?;
        let Some(root) = path.root() else {
            let text = format!("{path} cannot be followed: the embedded IPFS node resolves /ipfs/ paths only");
            return Err(ConnectorError::Invalid(text));
        };
        let names: Vec<&str> = path.segments().skip(2).collect();
        Ok(self.shelf.follow(root, &names.join("/")).await?.cid)
    }

    async fn repo_stat(&self) -> Result<RepoStat, ConnectorError> {
        let repo_size = self.shelf.store.bytes();
        let system = rustix::fs::statvfs(&self.folder)
            .map_err(|e| ConnectorError::Unavailable(format!("{}: {e}", self.folder.display())))?;
        // What others leave of the device counts too.
        let room = repo_size.saturating_add(system.f_bavail.saturating_mul(system.f_frsize));
        Ok(RepoStat { repo_size, storage_max: self.shelf.store.bytes_max().min(room) })
    }

    async fn repo_gc(&self) -> Result<Vec<RepoGcKey>, ConnectorError> {
        let (shelf, wanted) = (Arc::clone(&self.shelf), self.wanted.clone());
        let collected = blocking(move || {
            shelf.store.collect(|root| {
                pinned_roots(&shelf.pins, root)?;
                wanted.map_or(Ok(()), |wanted| wanted.roots(root))
            })
        });
        let collected = collected.await?;
        tracing::info!(blocks = collected.removed.len(), bytes = collected.freed_bytes, "garbage was collected");
        let removed = collected.removed.into_iter().map(|cid| RepoGcKey { key: Some(Cid(cid)), error: String::new() });
        let failed = collected.failures.into_iter().map(|error| RepoGcKey { key: None, error });
        Ok(removed.take(GC_ROWS_MAX).chain(failed).collect())
    }

    async fn connect_swarms(&self, addresses: &[Multiaddr]) -> Result<(), ConnectorError> {
        let Some(host) = &self.shelf.sources.outside else { return Ok(()) };
        let connect = |address: Multiaddr| async move {
            if let Err(error) = host.connect(&address).await {
                tracing::debug!(%address, %error, "the embedded IPFS node did not connect");
            }
        };
        stream::iter(addresses.to_vec()).for_each_concurrent(CONNECTS_AT_ONCE, connect).await;
        Ok(())
    }

    async fn swarm_peers(&self) -> Result<Vec<PeerId>, ConnectorError> {
        Ok(self.shelf.sources.outside.as_ref().map(|host| host.connected()).unwrap_or_default())
    }

    async fn block_put(&self, blocks: Blocks) -> Result<(), ConnectorError> {
        let lease = self.shelf.store.lease();
        // Its end is met by whoever looks whether more has come, and then by whoever waits.
        let mut blocks = blocks.fuse().boxed();
        let mut writing = Writing { shelf: Arc::clone(&self.shelf), batch: None, sync: None, unsynced: 0 };
        let mut any = false;
        while let Some(batch) = gather(&mut blocks).await {
            writing.finish_batch().await?;
            let batch = batch.map_err(|error| ConnectorError::Invalid(error.to_string()))?;
            writing.begin_batch(batch);
            any = true;
        }
        writing.finish_batch().await?;
        if !any {
            return Err(ConnectorError::Invalid("BlockStream: no blocks to peek in blocks channel".into()));
        }
        let shelf = Arc::clone(&self.shelf);
        blocking(move || shelf.store.commit(&lease)).await
    }

    async fn block_get(&self, cid: &Cid) -> Result<Bytes, ConnectorError> {
        self.shelf.read_block(*cid).await
    }

    fn lease(&self) -> BlockLease {
        Box::new(self.shelf.store.lease())
    }
}

/// What is under way for a stream of blocks: while one batch is written, the next is gathered, and what was written before
/// goes to the disk.
struct Writing {
    shelf: Arc<Shelf>,
    batch: Option<Work>,
    sync: Option<Work>,
    /// Bytes written since the last sync was begun.
    unsynced: usize,
}

type Work = tokio::task::JoinHandle<Result<(), BlockError>>;

impl Writing {
    fn begin_batch(&mut self, batch: Batch) {
        self.unsynced += batch.bytes;
        let shelf = Arc::clone(&self.shelf);
        self.batch = Some(tokio::task::spawn_blocking(move || {
            shelf.store.put(&batch.claimed)?;
            shelf.store.put_verified(&batch.verified)
        }));
    }

    async fn finish_batch(&mut self) -> Result<(), ConnectorError> {
        if let Some(batch) = self.batch.take() {
            finished(batch).await?;
        }
        let idle = self.sync.as_ref().is_none_or(Work::is_finished);
        if self.unsynced < SYNC_BYTES || !idle {
            return Ok(());
        }
        if let Some(sync) = self.sync.take() {
            finished(sync).await?;
        }
        self.unsynced = 0;
        let shelf = Arc::clone(&self.shelf);
        self.sync = Some(tokio::task::spawn_blocking(move || shelf.store.sync()));
        Ok(())
    }
}

/// Blocks that are written together.
#[derive(Default)]
struct Batch {
    /// Of others: hashed before they are written.
    claimed: Vec<(cid::Cid, Bytes)>,
    /// Made or hashed by this process.
    verified: Vec<(cid::Cid, Bytes)>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, block: Block) {
        self.bytes += block.data.len();
        let blocks = if block.is_verified() { &mut self.verified } else { &mut self.claimed };
        blocks.push((*block.cid, block.data));
    }
}

/// Waits for a block, and takes what has come with it.
async fn gather(blocks: &mut Blocks) -> Option<Result<Batch, ClusterError>> {
    let mut batch = Batch::default();
    let mut next = Some(blocks.next().await?);
    while let Some(block) = next {
        match block {
            Ok(block) => batch.push(block),
            Err(error) => return Some(Err(error)),
        }
        next = if batch.bytes < WRITE_BYTES { blocks.next().now_or_never().flatten() } else { None };
    }
    Some(Ok(batch))
}

async fn finished(writing: Work) -> Result<(), ConnectorError> {
    let cut = |e| ConnectorError::Unavailable(format!("the embedded IPFS node is stopping: {e}"));
    Ok(writing.await.map_err(cut)??)
}

/// Roots are told one after the other; an error of the teller ends it.
type Tell<'a> = &'a mut dyn FnMut(Root) -> Result<(), BlockError>;

fn pinned_roots(pins: &Pins, root: Tell<'_>) -> Result<(), BlockError> {
    each_pin(pins, &mut |pin| match pin.status {
        IpfsPinStatus::Direct => root(Root::Single(*pin.cid)),
        _ => root(Root::Pinned(*pin.cid)),
    })
}

fn each_pin(pins: &Pins, tell: &mut dyn FnMut(IpfsPin) -> Result<(), BlockError>) -> Result<(), BlockError> {
    let mut after = None;
    loop {
        let page = pins.page(after.as_ref(), ROOTS)?;
        let last = page.len() < ROOTS;
        after = page.last().map(|pin| pin.cid);
        page.into_iter().try_for_each(&mut *tell)?;
        if last {
            return Ok(());
        }
    }
}

impl Wanted {
    fn roots(&self, root: Tell<'_>) -> Result<(), BlockError> {
        let mut after = None;
        loop {
            let unreadable = |e| StoreError::Io(format!("the pinset cannot be read, and nothing was removed: {e}"));
            let page = self.pinset.page(after.as_ref(), ROOTS).map_err(unreadable)?;
            let last = page.len() < ROOTS;
            after = page.last().map(|pin| pin.cid);
            for pin in page {
                // Without allocations it is for everybody.
                if pin.allocations.is_empty() || pin.allocations.contains(&self.me) {
                    root(if pin.max_depth == 0 { Root::Single(*pin.cid) } else { Root::Wanted(*pin.cid) })?;
                }
            }
            if last {
                return Ok(());
            }
        }
    }
}

type Pages = mpsc::Sender<Result<Vec<IpfsPin>, ConnectorError>>;

/// Sends pages until all are told or nobody reads.
fn list_pins(shelf: &Shelf, kinds: &[IpfsPinStatus], pages: &Pages) -> Result<(), ConnectorError> {
    let mut page = Vec::new();
    let mut tell = |pin: IpfsPin| {
        page.push(pin);
        let full = page.len() == PAGE_MAX;
        !full || pages.blocking_send(Ok(std::mem::take(&mut page))).is_ok()
    };
    for kind in kinds {
        let goes_on = match kind {
            IpfsPinStatus::Indirect => list_indirect(shelf, &mut tell)?,
            kind => list_roots(shelf, *kind, &mut tell)?,
        };
        if !goes_on {
            return Ok(());
        }
    }
    if !page.is_empty() {
        let _nobody_reads = pages.blocking_send(Ok(page));
    }
    Ok(())
}

fn list_roots(
    shelf: &Shelf,
    kind: IpfsPinStatus,
    tell: &mut dyn FnMut(IpfsPin) -> bool,
) -> Result<bool, ConnectorError> {
    let mut after = None;
    loop {
        let page = shelf.pins.page(after.as_ref(), ROOTS).map_err(BlockError::from)?;
        let last = page.len() < ROOTS;
        after = page.last().map(|pin| pin.cid);
        if !page.into_iter().filter(|pin| pin.status == kind).all(&mut *tell) {
            return Ok(false);
        }
        if last {
            return Ok(true);
        }
    }
}

/// What is held as a part of recursive pins, and is no root itself.
fn list_indirect(shelf: &Shelf, tell: &mut dyn FnMut(IpfsPin) -> bool) -> Result<bool, ConnectorError> {
    let (mut roots, mut held) = (Vec::new(), HashSet::new());
    each_pin(&shelf.pins, &mut |pin| {
        held.insert(pin.cid);
        if pin.status == IpfsPinStatus::Recursive {
            roots.push(pin.cid);
        }
        Ok(())
    })?;
    let mut walk: Option<Walk> = None;
    for root in roots {
        let walk = match &mut walk {
            Some(walk) => {
                walk.also(*root);
                walk
            }
            none => none.insert(Walk::new(*root)),
        };
        while let Some(cid) = walk.next() {
            let Some(present) = shelf.store.present(&cid)? else { continue };
            if !present.leaf && cid.codec() != dag::RAW {
                let data = shelf.store.get(&cid)?.unwrap_or_default();
                walk.supply(&cid, &data).map_err(|e| unwalkable(&e))?;
            }
            let cid = Cid(cid);
            if !held.contains(&cid) && !tell(IpfsPin { cid, status: IpfsPinStatus::Indirect }) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
