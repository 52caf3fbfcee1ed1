//! The interfaces of the components.
//!
//! Async methods are only where something waits on the outside; the rest are plain calls. All are usable as `dyn`,
//! since which implementation runs is chosen by configuration.

use crate::PageStream;
use crate::errors::{
    AllocationError, ClusterError, ConnectorError, ConsensusError, NetError, StartError, StateError, TAKES_NO_MESSAGES,
    TrackerError,
};
use crate::ports::Block;
use crate::tasks::TaskScope;
use async_trait::async_trait;
use bytes::Bytes;
use cluster_types::{
    AddParams, Added, Alert, BandwidthByProtocol, Cid, ConnectGraph, GlobalPinInfo, GlobalRepoGc, IpfsId, IpfsPin,
    IpfsPinStatus, Metric, MetricName, Multiaddr, PeerId, PeerInfo, Pin, PinInfo, PinOptions, PinsetDigest, RepoGc,
    RepoGcKey, RepoStat, Timestamp, TrackerStatus,
};
use futures::stream::BoxStream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A part of a peer that can be started and stopped.
///
/// Constructors take everything they need and spawn nothing; `start` spawns into `tasks`.
#[async_trait]
pub trait Component: Send + Sync + 'static {
    /// Its key in the configuration, such as `crdt`.
    fn key(&self) -> &'static str;

    /// Begins its work.
    ///
    /// # Errors
    /// When it cannot: the peer does not start.
    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError>;

    /// Ends its work in order: what was acknowledged is kept, what waits is told.
    async fn shutdown(&self);
}

/// A change of the pinset, as the consensus tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinsetChange {
    /// The pin is there, new or changed.
    Pinned(Arc<Pin>),
    /// The pin is gone.
    Unpinned(Cid),
    /// Changes were missed: compare everything.
    Resync,
}

/// Who may order changes of the pinset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// Every peer.
    EveryPeer,
    /// One peer; the others pass orders on to it.
    Peer(PeerId),
    /// Nobody at the moment.
    Electing,
}

/// Keeps the pinset the same at all peers.
#[async_trait]
pub trait Consensus: Component {
    /// Returns when changes can be logged.
    ///
    /// # Errors
    /// When that will not come about.
    async fn ready(&self) -> Result<(), ConsensusError>;

    /// Makes a pin part of the pinset. When this returns, it is durable.
    ///
    /// *Cancel safety:* dropped before its end, the change may or may not have been made.
    ///
    /// # Errors
    /// When the change was not made durable.
    async fn log_pin(&self, pin: Pin) -> Result<(), ConsensusError>;

    /// Removes a pin from the pinset. When this returns, that is durable. Removing what is not there is no error.
    ///
    /// # Errors
    /// As [`log_pin`](Self::log_pin).
    async fn log_unpin(&self, cid: &Cid) -> Result<(), ConsensusError>;

    /// The pinset for reading.
    fn state(&self) -> Arc<dyn StateRead>;

    /// Changes from now on. Bounded: a reader that is too slow finds a [`PinsetChange::Resync`].
    fn changes(&self) -> BoxStream<'static, PinsetChange>;

    /// The members, this peer among them.
    ///
    /// # Errors
    /// When they are not known.
    async fn peers(&self) -> Result<BTreeSet<PeerId>, ConsensusError>;

    /// Newcomers are there: tells them at once what they would hear of later by themselves.
    fn greet(&self) {}

    /// Takes in a member.
    ///
    /// # Errors
    /// When it was not taken in.
    async fn add_peer(&self, peer: PeerId) -> Result<(), ConsensusError>;

    /// Puts out a member.
    ///
    /// # Errors
    /// When it was not put out.
    async fn remove_peer(&self, peer: &PeerId) -> Result<(), ConsensusError>;

    /// Who may order changes.
    fn leadership(&self) -> Leadership;

    /// Whether this peer's orders and answers count. Asked for every remote call.
    fn trusts(&self, peer: &PeerId) -> bool;

    /// Trusts a peer from now on, or no more.
    fn set_trust(&self, peer: &PeerId, trusted: bool);

    /// Returns when what the others had is here too, as far as that can be known.
    ///
    /// # Errors
    /// When that will not come about.
    async fn wait_for_sync(&self) -> Result<(), ConsensusError>;

    /// Removes everything it has stored. Only before `start` or after `shutdown`.
    ///
    /// # Errors
    /// When something is left.
    async fn clean(&self) -> Result<(), ConsensusError>;

    /// Answers a message of another member in a form that only this kind of consensus knows.
    ///
    /// # Errors
    /// When it cannot be read, or this kind knows no such messages.
    async fn message(&self, _message: Bytes) -> Result<Bytes, ConsensusError> {
        Err(ConsensusError::Unsupported(format!("the consensus here is {}, which {TAKES_NO_MESSAGES}", self.key())))
    }

    /// Returns when it broke and cannot go on, with the reason: this peer should stop then. Most cannot break.
    async fn broken(&self) -> String {
        std::future::pending().await
    }
}

/// Reading the pinset.
pub trait StateRead: Send + Sync + 'static {
    /// One pin.
    ///
    /// # Errors
    /// When the store or the stored pin is damaged.
    fn get(&self, cid: &Cid) -> Result<Option<Pin>, StateError>;

    /// Whether it is there.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn contains(&self, cid: &Cid) -> Result<bool, StateError>;

    /// Up to `limit` pins that follow `after` in the listing order (see [`Cid::sort_key`]); from the first if `None`.
    /// Fewer than `limit` means that there are no more. Stored pins that cannot be read are logged and left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn page(&self, after: Option<&Cid>, limit: usize) -> Result<Vec<Pin>, StateError>;

    /// All pins in the listing order. Pins that change meanwhile may be seen as before or after.
    fn list(self: Arc<Self>) -> PageStream<Pin, StateError>;

    /// How many pins there are.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn len(&self) -> Result<u64, StateError>;

    /// What stands for the whole pinset: the same at two peers whose pinsets are the same.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn digest(&self) -> Result<PinsetDigest, StateError>;

    /// Whether there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn is_empty(&self) -> Result<bool, StateError> {
        Ok(self.page(None, 1)?.is_empty())
    }
}

/// What [`State::freeze`] shows a pin to: its CID and its stored form.
pub type VisitPin<'a> = dyn FnMut(&Cid, &[u8]) -> Result<(), StateError> + 'a;

/// A pinset that a consensus without a store of its own writes to.
///
/// With the pins goes a *mark*: bytes by which the consensus knows how far the pinset is. Pins and mark are always of
/// the same moment.
pub trait State: StateRead {
    /// Applies changes in order, whole or not at all, and takes up the mark. [`PinsetChange::Resync`] changes nothing.
    /// Visible when this returns; durable, if it ever is, once the datastore is synced.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing of it is visible.
    fn apply(&self, changes: &[PinsetChange], mark: Bytes) -> Result<(), StateError>;

    /// The mark of what is there; `None` if nothing was ever applied, or the pinset was lost with the process.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn mark(&self) -> Result<Option<Bytes>, StateError>;

    /// Puts these pins in the place of all. Durable when this returns, for states that are durable at all. Cut short,
    /// by an error or a crash, it leaves no mark: the pinset must be replaced again.
    ///
    /// # Errors
    /// When the store cannot be written, or the first error of the pins.
    fn replace(
        &self,
        pins: &mut dyn Iterator<Item = Result<Pin, StateError>>,
        mark: Option<Bytes>,
    ) -> Result<(), StateError>;

    /// Visits every pin of one moment, and returns the mark of that moment. Changes meanwhile are not seen. The visitor
    /// may end it with an error of its own.
    ///
    /// # Errors
    /// When the store cannot be read, a stored pin is damaged, or the visitor says so.
    fn freeze(&self, visit: &mut VisitPin<'_>) -> Result<Option<Bytes>, StateError>;
}

/// Makes the daemon hold what the pinset says it shall, and knows how that stands.
#[async_trait]
pub trait PinTracker: Component {
    /// Takes note of a pin, new or changed.
    ///
    /// # Errors
    /// When it could not; the next reconciliation will.
    async fn track(&self, pin: Pin) -> Result<(), TrackerError>;

    /// Takes note that a pin is gone.
    ///
    /// # Errors
    /// When it could not; the next reconciliation will.
    async fn untrack(&self, cid: &Cid) -> Result<(), TrackerError>;

    /// How one item stands, the daemon having been asked. Failures are part of the answer.
    async fn status(&self, cid: &Cid) -> PinInfo;

    /// How every item stands that passes the filter, in the listing order.
    fn status_all(self: Arc<Self>, filter: TrackerStatus) -> PageStream<PinInfo, TrackerError>;

    /// Tries again what failed. Returns how the item stands then.
    ///
    /// # Errors
    /// When it is not in the pinset and nothing of it is left to do.
    async fn recover(&self, cid: &Cid) -> Result<PinInfo, TrackerError>;

    /// Tries again everything that failed; the stream tells what was queued.
    fn recover_all(self: Arc<Self>) -> PageStream<PinInfo, TrackerError>;

    /// How many pins wait in the queue.
    fn pin_queue_len(&self) -> u64;
}

pub use cluster_types::PinProgress;

/// Where the progress of a pin is told: bytes and blocks as far as the daemon tells them.
pub type ProgressSink = Arc<dyn Fn(PinProgress) + Send + Sync>;

/// Keeps blocks that were just put from being collected until it is dropped.
pub type BlockLease = Box<dyn Send + Sync>;

/// Blocks on their way to a daemon. Only its end commits; an error in it means that the rest never came.
pub type Blocks = BoxStream<'static, Result<Block, ClusterError>>;

/// Speaks to an IPFS daemon.
#[async_trait]
pub trait IpfsConnector: Component {
    /// Returns when the daemon has answered once.
    ///
    /// # Errors
    /// When the connector is being stopped.
    async fn ready(&self) -> Result<(), ConnectorError>;

    /// Who the daemon is.
    ///
    /// # Errors
    /// When it cannot be asked.
    async fn id(&self) -> Result<IpfsId, ConnectorError>;

    /// Pins, fetching what is missing. Returns at once when it is pinned already as it should be.
    /// *Cancel safety:* dropped, the daemon is told to stop; what it has fetched stays collectable.
    ///
    /// # Errors
    /// When it is not pinned then.
    async fn pin(&self, pin: &Pin, progress: Option<ProgressSink>) -> Result<(), ConnectorError>;

    /// Unpins. Unpinning what is not pinned is no error.
    ///
    /// # Errors
    /// When it may still be pinned.
    async fn unpin(&self, cid: &Cid) -> Result<(), ConnectorError>;

    /// How the daemon holds what this pin wants.
    ///
    /// # Errors
    /// When it cannot be asked.
    async fn pin_ls_cid(&self, pin: &Pin) -> Result<IpfsPinStatus, ConnectorError>;

    /// What the daemon holds, of the kinds named (direct, recursive, indirect).
    fn pin_ls(self: Arc<Self>, kinds: &[IpfsPinStatus]) -> PageStream<IpfsPin, ConnectorError>;

    /// The CID that a path such as `/ipfs/<cid>/a/b` or `/ipns/<name>` leads to.
    ///
    /// # Errors
    /// When it leads nowhere or cannot be followed.
    async fn resolve(&self, path: &str) -> Result<Cid, ConnectorError>;

    /// How full the repository is.
    ///
    /// # Errors
    /// When the daemon cannot be asked.
    async fn repo_stat(&self) -> Result<RepoStat, ConnectorError>;

    /// Collects garbage.
    ///
    /// # Errors
    /// When it could not be done at all; single failures are rows.
    async fn repo_gc(&self) -> Result<Vec<RepoGcKey>, ConnectorError>;

    /// Has the daemon connect to others.
    ///
    /// # Errors
    /// When it cannot be asked; single failures are logged.
    async fn connect_swarms(&self, addresses: &[Multiaddr]) -> Result<(), ConnectorError>;

    /// Whom the daemon is connected to.
    ///
    /// # Errors
    /// When it cannot be asked.
    async fn swarm_peers(&self) -> Result<Vec<PeerId>, ConnectorError>;

    /// Stores blocks. When this returns, all are durable as far as the daemon promises that.
    ///
    /// # Errors
    /// When any of them may be missing.
    async fn block_put(&self, blocks: Blocks) -> Result<(), ConnectorError>;

    /// One block that the daemon has or can get.
    ///
    /// # Errors
    /// When it has not and cannot.
    async fn block_get(&self, cid: &Cid) -> Result<Bytes, ConnectorError>;

    /// Keeps blocks put from now on from being collected until the lease is dropped. Daemons that collect only when
    /// told need none.
    fn lease(&self) -> BlockLease {
        Box::new(())
    }
}

/// One entry on its way in. The entries of a directory follow one another.
pub struct Part {
    /// Its path, `/`-separated, without a leading slash.
    pub path: String,
    /// What it is, with its content.
    pub kind: PartKind,
    /// Unix mode, when the client sent one.
    pub mode: Option<u32>,
    /// Modification time, when the client sent one.
    pub mtime: Option<Timestamp>,
}

/// What an entry is.
pub enum PartKind {
    /// A file and its bytes. Only an end of the stream without an error ends the file.
    File(BoxStream<'static, Result<Bytes, ClusterError>>),
    /// A directory; its entries are parts of their own.
    Directory,
    /// A symbolic link to this target.
    Symlink(String),
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("path", &self.path).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PartKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PartKind::File(_) => "File",
            PartKind::Directory => "Directory",
            PartKind::Symlink(_) => "Symlink",
        })
    }
}

/// Takes in content: makes a DAG of it, stores its blocks at the peers that shall hold it, and pins it.
pub trait Adder: Send + Sync + 'static {
    /// The stream tells each entry when it is done, and ends when all is pinned. A file part must be read to its end
    /// before the next part is asked for. Dropping the stream gives up; nothing is pinned then.
    fn add(
        self: Arc<Self>,
        params: AddParams,
        parts: BoxStream<'static, Result<Part, ClusterError>>,
    ) -> BoxStream<'static, Result<Added, ClusterError>>;
}

/// Collects the metrics of all peers.
#[async_trait]
pub trait PeerMonitor: Component {
    /// Tells all peers a metric of this one.
    ///
    /// # Errors
    /// When the network is not running.
    async fn publish(&self, metric: Metric) -> Result<(), NetError>;

    /// Takes note of a metric.
    fn log_metric(&self, metric: Metric);

    /// The latest of each peer that is valid and not expired, by peer.
    fn latest(&self, name: &str) -> BTreeMap<PeerId, Metric>;

    /// The latest of one peer, valid or not.
    fn latest_for(&self, name: &str, peer: &PeerId) -> Option<Metric>;

    /// All names seen.
    fn names(&self) -> BTreeSet<MetricName>;

    /// Alerts from now on. Bounded: when the reader is too slow, the oldest are dropped.
    fn alerts(&self) -> BoxStream<'static, Alert>;
}

/// Finds out figures of this peer.
#[async_trait]
pub trait Informer: Send + Sync + 'static {
    /// Its key in the configuration, such as `disk`.
    fn key(&self) -> &'static str;

    /// The figures now. One that could not be found out is there and invalid.
    async fn metrics(&self) -> Vec<Metric>;
}

/// What an allocator chooses from.
#[derive(Debug, Clone, Copy)]
pub struct AllocationRequest<'a> {
    /// For what.
    pub cid: &'a Cid,
    /// Metrics of the peers that hold it already, by metric name, then peer.
    pub current: &'a BTreeMap<MetricName, BTreeMap<PeerId, Metric>>,
    /// Metrics of the peers that the user asked for.
    pub priority: &'a BTreeMap<MetricName, BTreeMap<PeerId, Metric>>,
    /// Metrics of the others.
    pub candidates: &'a BTreeMap<MetricName, BTreeMap<PeerId, Metric>>,
}

/// Chooses peers for a pin. Pure: the same request has the same answer.
pub trait PinAllocator: Send + Sync + 'static {
    /// Its key in the configuration, such as `balanced`.
    fn key(&self) -> &'static str;

    /// The metrics it goes by. A peer that lacks one of them is not chosen.
    fn needs(&self) -> &[MetricName];

    /// All priority peers and candidates in the order in which they should be taken.
    ///
    /// # Errors
    /// When the request makes no sense.
    fn allocate(&self, request: &AllocationRequest<'_>) -> Result<Vec<PeerId>, AllocationError>;
}

/// The main component: what users order, put into effect through the others.
#[async_trait]
pub trait Cluster: Component {
    /// What this peer says of itself. Its daemon is asked.
    async fn id(&self) -> PeerInfo;

    /// The version that clients see.
    fn version(&self) -> String;

    /// What every member says of itself; those that cannot be asked are there with an error.
    fn peers(self: Arc<Self>) -> PageStream<PeerInfo, ClusterError>;

    /// Pins a CID with these options.
    ///
    /// # Errors
    /// As [`ClusterError`] says; nothing was changed.
    async fn pin(&self, cid: Cid, options: PinOptions) -> Result<Pin, ClusterError>;

    /// Pins with everything given, as adders do for shards.
    ///
    /// # Errors
    /// As [`pin`](Self::pin).
    async fn pin_object(&self, pin: Pin) -> Result<Pin, ClusterError>;

    /// Pins what a path leads to.
    ///
    /// # Errors
    /// As [`pin`](Self::pin), and when the path leads nowhere.
    async fn pin_path(&self, path: &str, options: PinOptions) -> Result<Pin, ClusterError>;

    /// Unpins. Returns the pin as it was.
    ///
    /// # Errors
    /// When there is none, or it may not be removed by itself.
    async fn unpin(&self, cid: &Cid) -> Result<Pin, ClusterError>;

    /// Unpins what a path leads to.
    ///
    /// # Errors
    /// As [`unpin`](Self::unpin), and when the path leads nowhere.
    async fn unpin_path(&self, path: &str) -> Result<Pin, ClusterError>;

    /// A pin as it is stored.
    ///
    /// # Errors
    /// When there is none.
    async fn pin_get(&self, cid: &Cid) -> Result<Pin, ClusterError>;

    /// All pins in the listing order.
    fn pins(self: Arc<Self>) -> PageStream<Pin, ClusterError>;

    /// Peers for blocks that are about to be put with these options.
    ///
    /// # Errors
    /// When there are too few.
    async fn block_allocate(&self, pin: Pin) -> Result<Vec<PeerId>, ClusterError>;

    /// How one item stands at all peers.
    ///
    /// # Errors
    /// When the pinset cannot be read.
    async fn status(&self, cid: &Cid) -> Result<GlobalPinInfo, ClusterError>;

    /// How all items stand at all peers.
    fn status_all(self: Arc<Self>, filter: TrackerStatus) -> PageStream<GlobalPinInfo, ClusterError>;

    /// Tries again at all peers what failed of one item.
    ///
    /// # Errors
    /// When the pinset cannot be read.
    async fn recover(&self, cid: &Cid) -> Result<GlobalPinInfo, ClusterError>;

    /// Tries again at this peer what failed of one item.
    ///
    /// # Errors
    /// When there is no such pin.
    async fn recover_local(&self, cid: &Cid) -> Result<PinInfo, ClusterError>;

    /// Tries again at all peers everything that failed; tells what was queued.
    fn recover_all(self: Arc<Self>) -> PageStream<GlobalPinInfo, ClusterError>;

    /// Collects garbage at all peers.
    ///
    /// # Errors
    /// When the members are not known.
    async fn repo_gc(&self) -> Result<GlobalRepoGc, ClusterError>;

    /// Collects garbage at this peer.
    ///
    /// # Errors
    /// When the daemon could not.
    async fn repo_gc_local(&self) -> Result<RepoGc, ClusterError>;

    /// Takes in a peer; returns what it says of itself.
    ///
    /// # Errors
    /// When it was not taken in or does not answer.
    async fn peer_add(&self, peer: PeerId) -> Result<PeerInfo, ClusterError>;

    /// Moves a peer's pins to others and puts it out.
    ///
    /// # Errors
    /// When its pins cannot be moved; then nothing was changed.
    async fn peer_remove(&self, peer: PeerId) -> Result<(), ClusterError>;

    /// Has the member at this address take this peer in.
    ///
    /// # Errors
    /// When it cannot be reached or refuses.
    async fn join(&self, address: &Multiaddr) -> Result<(), ClusterError>;

    /// Who is connected to whom.
    ///
    /// # Errors
    /// When the members are not known.
    async fn connect_graph(&self) -> Result<ConnectGraph, ClusterError>;

    /// Traffic of this peer, by protocol.
    fn bandwidth(&self) -> BandwidthByProtocol;

    /// What was noticed of failing peers, newest first.
    fn alerts(&self) -> Vec<Alert>;

    /// The daemon of a peer, from its latest `ping`.
    fn ipfs_id_of(&self, peer: &PeerId) -> IpfsId;

    /// Finds out and publishes this peer's metrics now.
    ///
    /// # Errors
    /// When they could not be published.
    async fn send_metrics(&self) -> Result<(), ClusterError>;
}

/// A way in for clients. Holds an [`Rpc`](crate::rpc::Rpc) and the [`Adder`], and nothing else of the peer.
pub trait Api: Component {
    /// Where it listens, ports filled in.
    fn listen_addrs(&self) -> Vec<Multiaddr>;
}
