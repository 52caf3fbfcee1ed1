//! An IPFS daemon that is played: pins and blocks in memory, with faults that a test switches.

use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::component::{BlockLease, Blocks, Component, IpfsConnector, ProgressSink};
use cluster_component::errors::{ConnectorError, StartError};
use cluster_component::ports::{Clock, sleep};
use cluster_component::tasks::TaskScope;
use cluster_component::{PAGE_MAX, PageStream};
use cluster_types::{
    Cid, IpfsId, IpfsPath, IpfsPin, IpfsPinStatus, Multiaddr, PeerId, Pin, PinProgress, RepoGcKey, RepoStat,
};
use futures::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What the daemon has and how it misbehaves.
#[derive(Debug)]
pub struct World {
    /// Who it is.
    pub id: PeerId,
    /// Where it says it can be reached.
    pub addresses: Vec<Multiaddr>,
    /// What it holds.
    pub pins: BTreeMap<Cid, IpfsPinStatus>,
    /// Blocks it was given.
    pub blocks: BTreeMap<Cid, Bytes>,
    /// Where paths lead.
    pub paths: BTreeMap<String, Cid>,
    /// How full it is.
    pub repo: RepoStat,
    /// Pinning these fails, with these words.
    pub unpinnable: BTreeMap<Cid, String>,
    /// Unpinning these fails, with these words.
    pub stuck: BTreeMap<Cid, String>,
    /// Every call fails as if nobody listened.
    pub down: bool,
    /// Storing the block after so many fails as if no room were left.
    pub room_for_blocks: Option<usize>,
    /// What was asked of it, in order, such as `pin <cid>`.
    pub calls: Vec<String>,
}

/// The daemon's connector.
pub struct FakeConnector {
    world: Mutex<World>,
    /// CIDs whose pinning waits until they are let go.
    held: watch::Sender<BTreeSet<Cid>>,
    up: watch::Sender<bool>,
    leases: Arc<AtomicUsize>,
    /// How long pinning takes, by whose clock; at once if `None`.
    pace: Mutex<Option<(Arc<dyn Clock>, Duration)>>,
}

impl fmt::Debug for FakeConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeConnector").field("world", &self.world).finish_non_exhaustive()
    }
}

impl Default for FakeConnector {
    fn default() -> Self {
        let world = World {
            id: PeerId::random(),
            addresses: Vec::new(),
            pins: BTreeMap::new(),
            blocks: BTreeMap::new(),
            paths: BTreeMap::new(),
            repo: RepoStat { repo_size: 1_000, storage_max: 10_000 },
            unpinnable: BTreeMap::new(),
            stuck: BTreeMap::new(),
            down: false,
            room_for_blocks: None,
            calls: Vec::new(),
        };
        Self {
            world: Mutex::new(world),
            held: watch::Sender::default(),
            up: watch::Sender::new(true),
            leases: Arc::default(),
            pace: Mutex::default(),
        }
    }
}

struct Lease(Arc<AtomicUsize>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl FakeConnector {
    /// What it has, to look at and to change.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on every call fails, or none does.
    pub fn set_down(&self, down: bool) {
        self.world().down = down;
        self.up.send_replace(!down);
    }

    /// Pinning this does not end until [`let_go`](Self::let_go).
    pub fn hold(&self, cid: Cid) {
        self.held.send_modify(|held| {
            held.insert(cid);
        });
    }

    /// Pinning this may end.
    pub fn let_go(&self, cid: &Cid) {
        self.held.send_modify(|held| {
            held.remove(cid);
        });
    }

    /// From now on pinning takes so long.
    pub fn set_pace(&self, clock: Arc<dyn Clock>, span: Duration) {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = Some((clock, span));
    }

    async fn take_its_time(&self) {
        let pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((clock, span)) = pace {
            sleep(&*clock, span).await;
        }
    }

    /// Leases of blocks that are not dropped.
    pub fn leases(&self) -> usize {
        self.leases.load(Ordering::SeqCst)
    }

    /// How it holds this; as [`IpfsConnector::pin_ls_cid`], without the asking.
    pub fn holds(&self, cid: &Cid) -> Option<IpfsPinStatus> {
        self.world().pins.get(cid).copied()
    }

    /// Notes the call, and refuses it while the daemon is down.
    fn called(&self, call: String) -> Result<MutexGuard<'_, World>, ConnectorError> {
        let mut world = self.world();
        if world.down {
            return Err(ConnectorError::Unavailable(format!("{call}: connection refused")));
        }
        world.calls.push(call);
        Ok(world)
    }
}

#[async_trait]
impl Component for FakeConnector {
    fn key(&self) -> &'static str {
        "fake"
    }

    async fn start(self: Arc<Self>, _tasks: &TaskScope) -> Result<(), StartError> {
        Ok(())
    }

    async fn shutdown(&self) {}
}

#[async_trait]
impl IpfsConnector for FakeConnector {
    async fn ready(&self) -> Result<(), ConnectorError> {
        let mut up = self.up.subscribe();
        // The sender lives as long as `self`, which is borrowed.
        let _never_closed = up.wait_for(|up| *up).await;
        Ok(())
    }

    async fn id(&self) -> Result<IpfsId, ConnectorError> {
        let world = self.called("id".into())?;
        Ok(IpfsId { id: Some(world.id), addresses: world.addresses.clone() })
    }

    async fn pin(&self, pin: &Pin, progress: Option<ProgressSink>) -> Result<(), ConnectorError> {
        drop(self.called(format!("pin {}", pin.cid))?);
        if let Some(progress) = progress {
            progress(PinProgress { blocks: 1, bytes: 1 });
        }
        let mut held = self.held.subscribe();
        // The sender lives as long as `self`, which is borrowed.
        drop(held.wait_for(|held| !held.contains(&pin.cid)).await);
        self.take_its_time().await;
        let mut world = self.called(format!("pinned {}", pin.cid))?;
        if let Some(error) = world.unpinnable.get(&pin.cid) {
            return Err(ConnectorError::Refused(error.clone()));
        }
        let status = if pin.max_depth == 0 { IpfsPinStatus::Direct } else { IpfsPinStatus::Recursive };
        world.pins.insert(pin.cid, status);
        Ok(())
    }

    async fn unpin(&self, cid: &Cid) -> Result<(), ConnectorError> {
        let mut world = self.called(format!("unpin {cid}"))?;
        if let Some(error) = world.stuck.get(cid) {
            return Err(ConnectorError::Refused(error.clone()));
        }
        world.pins.remove(cid);
        Ok(())
    }

    async fn pin_ls_cid(&self, pin: &Pin) -> Result<IpfsPinStatus, ConnectorError> {
        let world = self.called(format!("pin_ls {}", pin.cid))?;
        Ok(world.pins.get(&pin.cid).copied().unwrap_or(IpfsPinStatus::Unpinned))
    }

    fn pin_ls(self: Arc<Self>, kinds: &[IpfsPinStatus]) -> PageStream<IpfsPin, ConnectorError> {
        let pages = self.called("pin_ls".into()).map(|world| {
            let wanted = world.pins.iter().filter(|(_, status)| kinds.contains(status));
            let pins: Vec<IpfsPin> = wanted.map(|(cid, status)| IpfsPin { cid: *cid, status: *status }).collect();
            pins.chunks(PAGE_MAX).map(<[IpfsPin]>::to_vec).collect::<Vec<_>>()
        });
        match pages {
            Ok(pages) => stream::iter(pages.into_iter().map(Ok)).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn resolve(&self, path: &str) -> Result<Cid, ConnectorError> {
        let world = self.called(format!("resolve {path}"))?;
        if let Some(cid) = world.paths.get(path) {
            return Ok(*cid);
        }
        let parsed = IpfsPath::parse_lenient(path).map_err(|e| ConnectorError::Invalid(e.to_string()))?;
        parsed.bare_cid().ok_or_else(|| ConnectorError::Refused(format!("no link named in {path}")))
    }

    async fn repo_stat(&self) -> Result<RepoStat, ConnectorError> {
        Ok(self.called("repo_stat".into())?.repo)
    }

    async fn repo_gc(&self) -> Result<Vec<RepoGcKey>, ConnectorError> {
        let mut world = self.called("repo_gc".into())?;
        let world = &mut *world;
        let pins = &world.pins;
        let garbage: Vec<Cid> = world.blocks.keys().filter(|cid| !pins.contains_key(cid)).copied().collect();
        garbage.iter().for_each(|cid| drop(world.blocks.remove(cid)));
        Ok(garbage.into_iter().map(|cid| RepoGcKey { key: Some(cid), error: String::new() }).collect())
    }

    async fn connect_swarms(&self, _addresses: &[Multiaddr]) -> Result<(), ConnectorError> {
        self.called("connect_swarms".into()).map(drop)
    }

    async fn swarm_peers(&self) -> Result<Vec<PeerId>, ConnectorError> {
        self.called("swarm_peers".into()).map(|_| Vec::new())
    }

    async fn block_put(&self, mut blocks: Blocks) -> Result<(), ConnectorError> {
        drop(self.called("block_put".into())?);
        while let Some(block) = blocks.next().await {
            let block = block.map_err(|error| ConnectorError::Invalid(error.to_string()))?;
            let mut world = self.called(format!("block {}", block.cid))?;
            if world.room_for_blocks.is_some_and(|room| world.blocks.len() >= room) {
                return Err(ConnectorError::Full("no room is left".into()));
            }
            world.blocks.insert(block.cid, block.data);
        }
        Ok(())
    }

    async fn block_get(&self, cid: &Cid) -> Result<Bytes, ConnectorError> {
        let world = self.called(format!("block_get {cid}"))?;
        world.blocks.get(cid).cloned().ok_or_else(|| ConnectorError::NotFound(format!("block {cid} was not found")))
    }

    fn lease(&self) -> BlockLease {
        self.leases.fetch_add(1, Ordering::SeqCst);
        Box::new(Lease(Arc::clone(&self.leases)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_types::PinOptions;
    use futures::FutureExt;

    fn cid() -> Cid {
        "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN".parse().expect("a CID")
    }

    #[tokio::test]
    async fn a_pin_that_is_held_back_ends_when_it_is_let_go() {
        let daemon = FakeConnector::default();
        let pin = Pin::new(cid(), PinOptions::default());
        daemon.hold(cid());
        let mut work = daemon.pin(&pin, None);

        assert_eq!((&mut work).now_or_never(), None);
        assert_eq!(daemon.holds(&cid()), None);

        daemon.let_go(&cid());
        assert_eq!(work.await, Ok(()));
        assert_eq!(daemon.holds(&cid()), Some(IpfsPinStatus::Recursive));
    }

    #[tokio::test]
    async fn a_daemon_that_is_down_answers_nothing_and_is_not_ready() {
        let daemon = FakeConnector::default();
        daemon.set_down(true);

        assert!(matches!(daemon.id().await, Err(ConnectorError::Unavailable(_))));
        assert_eq!(daemon.ready().now_or_never(), None);

        daemon.set_down(false);
        assert!(daemon.id().await.is_ok());
        assert_eq!(daemon.ready().now_or_never(), Some(Ok(())));
    }

    #[test]
    fn leases_are_counted_until_they_are_dropped() {
        let daemon = FakeConnector::default();
        let lease = daemon.lease();
        assert_eq!(daemon.leases(), 1);
        drop(lease);
        assert_eq!(daemon.leases(), 0);
    }
}
