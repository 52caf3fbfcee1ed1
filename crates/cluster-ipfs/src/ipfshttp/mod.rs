//! IPFSConnector `ipfshttp`: a Kubo daemon beside the peer.
//!
//! One file for each concern: `pins` (with `may_hold`, which spares it questions), `blocks`, and here the component with the small calls.

mod blocks;
mod may_hold;
mod pins;

use crate::config::IpfsHttpConfig;
use crate::daemon::{Daemon, NodeAddress};
use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::PageStream;
use cluster_component::component::{Blocks, Component, IpfsConnector, ProgressSink};
use cluster_component::errors::{ConnectorError, StartError};
use cluster_component::metrics::Metrics;
use cluster_component::ports::{Clock, sleep};
use cluster_component::rpc::{Cluster as ClusterRpc, Rpc, Target};
use cluster_component::tasks::TaskScope;
use cluster_types::{
    Cid, IpfsId, IpfsPath, IpfsPin, IpfsPinStatus, Multiaddr, PeerId, Pin, RepoGcKey, RepoStat, peer_id,
};
use futures::StreamExt;
use futures::stream;
use may_hold::MayHold;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// What goes out as it is in a query, as Go's `url.QueryEscape` leaves it.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How often the daemon is tried until it has answered once.
const READY_INTERVAL: Duration = Duration::from_secs(1);

/// Peers whose addresses the daemon is told at a time.
const CONNECTS_AT_ONCE: usize = 10;

/// Most rows of a garbage collection that are kept.
const GC_ROWS_MAX: usize = 10_000_000;

fn escape(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

/// What the connector is made of.
#[allow(missing_debug_implementations)] // Its parts are traits that need not show themselves.
pub struct Parts {
    /// Asks for metrics and for the others' daemons.
    pub rpc: Rpc,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where requests to the daemon are counted.
    pub metrics: Arc<Metrics>,
}

/// The connector.
pub struct IpfsHttp {
    config: IpfsHttpConfig,
    daemon: Daemon,
    rpc: Rpc,
    clock: Arc<dyn Clock>,
    ready: watch::Sender<bool>,
    triggers: AtomicU64,
    may_hold: MayHold,
}

impl fmt::Debug for IpfsHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpfsHttp").field("daemon", &self.config.node_multiaddress).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct IdAnswer {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Addresses", default)]
    addresses: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct PathAnswer {
    #[serde(rename = "Path")]
    path: String,
}

#[derive(Deserialize)]
struct GcAnswer {
    #[serde(rename = "Key", default)]
    key: Option<GcLink>,
    #[serde(rename = "Error", default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct GcLink {
    #[serde(rename = "/")]
    cid: Cid,
}

#[derive(Deserialize)]
struct SwarmAnswer {
    #[serde(rename = "Peers", default)]
    peers: Option<Vec<SwarmPeer>>,
}

#[derive(Deserialize)]
struct SwarmPeer {
    #[serde(rename = "Peer")]
    peer: String,
}

impl IpfsHttp {
    /// A connector that is not started.
    ///
    /// # Errors
    /// When the daemon's address is none.
    pub fn new(config: IpfsHttpConfig, parts: Parts) -> Result<Self, StartError> {
        let address = NodeAddress::parse(&config.node_multiaddress)
            .map_err(|reason| StartError { component: "ipfshttp", reason })?;
        let (ready, _) = watch::channel(false);
        let daemon = Daemon::new(address, Arc::clone(&parts.clock)).counted(parts.metrics);
        Ok(Self {
            config,
            daemon,
            rpc: parts.rpc,
            clock: parts.clock,
            ready,
            triggers: AtomicU64::new(0),
            may_hold: MayHold::default(),
        })
    }

    fn timeout(&self) -> Duration {
        self.config.ipfs_request_timeout.get()
    }

    fn read<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ConnectorError> {
        serde_json::from_slice(bytes)
            .map_err(|e| ConnectorError::Unavailable(format!("the daemon's answer to {what} makes no sense: {e}")))
    }

    async fn wait_for_daemon(self: Arc<Self>) {
        let mut failures = 0_u32;
        while let Err(error) = self.id().await {
            failures += 1;
            if failures.is_multiple_of(10) {
                tracing::warn!(%error, tries = failures, "the IPFS daemon does not answer");
            }
            sleep(&*self.clock, READY_INTERVAL).await;
        }
        self.ready.send_replace(true);
        let delay = self.config.connect_swarms_delay.get();
        if !delay.is_zero() {
            sleep(&*self.clock, delay).await;
            self.connect_to_members().await;
        }
    }

    /// Tells the daemon where the other members' daemons are.
    async fn connect_to_members(&self) {
        let mut peers = self.rpc.stream::<ClusterRpc::Peers>(Target::Local, ());
        while let Some(Ok(page)) = peers.next().await {
            let others = page.into_iter().filter(|peer| peer.id != Some(self.rpc.me()) && peer.error.is_empty());
            let addresses: Vec<Multiaddr> = others.flat_map(|peer| peer.ipfs.addresses.unwrap_or_default()).collect();
            if let Err(error) = self.connect_swarms(&addresses).await {
                tracing::debug!(%error, "the daemon could not be told of the others");
            }
        }
    }

    /// Counts work that changes how full the repository is; every so often metrics are found out at once.
    fn count_trigger(&self) {
        let Ok(interval) = u64::try_from(self.config.informer_trigger_interval) else { return };
        if interval == 0 || !(self.triggers.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(interval) {
            return;
        }
        let rpc = self.rpc.clone();
        // Bounded by the call's own work; nobody waits for it.
        drop(tokio::spawn(async move { rpc.call::<ClusterRpc::SendInformersMetrics>(Target::Local, ()).await }));
    }
}

#[async_trait]
impl Component for IpfsHttp {
    fn key(&self) -> &'static str {
        "ipfshttp"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        tasks.spawn_until_stopped("ipfshttp-ready", self.wait_for_daemon());
        Ok(())
    }

    async fn shutdown(&self) {}
}

#[async_trait]
impl IpfsConnector for IpfsHttp {
    async fn ready(&self) -> Result<(), ConnectorError> {
        let stopped = |_| ConnectorError::Unavailable("the connector is stopping".into());
        self.ready.subscribe().wait_for(|ready| *ready).await.map(drop).map_err(stopped)
    }

    async fn id(&self) -> Result<IpfsId, ConnectorError> {
        let answer: IdAnswer = Self::read("id", &self.daemon.call("id", self.timeout()).await?)?;
        let id = peer_id::parse(&answer.id).map_err(|e| ConnectorError::Unavailable(e.to_string()))?;
        let address = |text: &String| match text.parse() {
            Ok(address) => Some(address),
            Err(error) => {
                tracing::warn!(address = text, %error, "an address of the daemon is left out");
                None
            }
        };
        let addresses = answer.addresses.iter().flatten().filter_map(address).collect();
        Ok(IpfsId { id: Some(id), addresses })
    }

    async fn pin(&self, pin: &Pin, progress: Option<ProgressSink>) -> Result<(), ConnectorError> {
        self.pin_item(pin, progress).await
    }

    async fn unpin(&self, cid: &Cid) -> Result<(), ConnectorError> {
        self.unpin_item(cid).await
    }

    async fn pin_ls_cid(&self, pin: &Pin) -> Result<IpfsPinStatus, ConnectorError> {
        self.held_how(&pin.cid, pin.max_depth).await
    }

    fn pin_ls(self: Arc<Self>, kinds: &[IpfsPinStatus]) -> PageStream<IpfsPin, ConnectorError> {
        self.list_pins(kinds.to_vec())
    }

    async fn resolve(&self, path: &str) -> Result<Cid, ConnectorError> {
        let path = IpfsPath::parse_lenient(path).map_err(|e| ConnectorError::Invalid(e.to_string()))?;
        if let Some(cid) = path.bare_cid() {
            return Ok(cid);
        }
        let call = format!("resolve?arg={}", escape(path.as_str()));
        let answer: PathAnswer = Self::read("resolve", &self.daemon.call(&call, self.timeout()).await?)?;
        let resolved: IpfsPath = answer.path.parse().map_err(|e| ConnectorError::Unavailable(format!("{e}")))?;
        let text = || ConnectorError::Unavailable(format!("{path} leads to {resolved}, which can change"));
        resolved.root().ok_or_else(text)
    }

    async fn repo_stat(&self) -> Result<RepoStat, ConnectorError> {
        Self::read("repo/stat", &self.daemon.call("repo/stat?size-only=true", self.timeout()).await?)
    }

    async fn repo_gc(&self) -> Result<Vec<RepoGcKey>, ConnectorError> {
        self.count_trigger();
        let collect = async {
            let mut lines = self.daemon.lines("repo/gc?stream-errors=true", Duration::ZERO).await?;
            let mut rows = Vec::new();
            while let Some(row) = lines.next::<GcAnswer>().await? {
                if rows.len() < GC_ROWS_MAX {
                    rows.push(RepoGcKey { key: row.key.map(|key| key.cid), error: row.error.unwrap_or_default() });
                }
            }
            Ok(rows)
        };
        // Order: an answer before the end of the time for it.
        tokio::select! {
            biased;
            rows = collect => rows,
            () = sleep(&*self.clock, self.config.repogc_timeout.get()) => {
                Err(ConnectorError::Unavailable("repo/gc: context deadline exceeded".into()))
            }
        }
    }

    async fn connect_swarms(&self, addresses: &[Multiaddr]) -> Result<(), ConnectorError> {
        let connect = |address: &Multiaddr| {
            let call = format!("swarm/connect?arg={}", escape(&address.to_string()));
            async move {
                if let Err(error) = self.daemon.call(&call, self.timeout()).await {
                    tracing::debug!(%error, "the daemon could not connect to another");
                }
            }
        };
        stream::iter(addresses.iter().map(connect)).for_each_concurrent(CONNECTS_AT_ONCE, |done| done).await;
        Ok(())
    }

    async fn swarm_peers(&self) -> Result<Vec<PeerId>, ConnectorError> {
        let answer: SwarmAnswer = Self::read("swarm/peers", &self.daemon.call("swarm/peers", self.timeout()).await?)?;
        let parse =
            |peer: SwarmPeer| peer_id::parse(&peer.peer).map_err(|e| ConnectorError::Unavailable(e.to_string()));
        answer.peers.unwrap_or_default().into_iter().map(parse).collect()
    }

    async fn block_put(&self, blocks: Blocks) -> Result<(), ConnectorError> {
        self.put_blocks(blocks).await
    }

    async fn block_get(&self, cid: &Cid) -> Result<Bytes, ConnectorError> {
        self.daemon.call(&format!("block/get?arg={cid}"), self.timeout()).await
    }
}
