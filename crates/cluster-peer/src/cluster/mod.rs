//! The main component: what users order, put into effect through the others. One file for each concern.

mod alerts;
mod allocation;
pub mod config;
mod expiry;
mod gc;
mod graph;
mod members;
mod membership;
mod merge;
mod pin;
mod repin;
mod source;
mod status;
mod upkeep;

pub use config::ClusterConfig;

use cluster_component::component::{Consensus, Informer, IpfsConnector, PeerMonitor, PinAllocator, StateRead};
use cluster_component::ports::{Clock, Network};
use cluster_component::rpc::{Rpc, RpcError, RpcErrorKind};
use cluster_component::trace::Tracer;
use cluster_types::Alert;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, watch};

/// The version that clients and peers see: that of the reference whose API and protocols these are.
pub const VERSION: &str = "1.1.6";

/// Alerts that are kept.
const ALERTS_MAX: usize = 1_000;

/// What the main component is made of.
#[allow(missing_debug_implementations)] // Its parts are traits that need not show themselves.
pub struct Parts {
    /// The switchboard, which also says which peer this is.
    pub rpc: Rpc,
    /// The pinset.
    pub consensus: Arc<dyn Consensus>,
    /// The daemon.
    pub connector: Arc<dyn IpfsConnector>,
    /// Figures of all peers.
    pub monitor: Arc<dyn PeerMonitor>,
    /// Chooses peers.
    pub allocator: Arc<dyn PinAllocator>,
    /// Find out figures of this peer.
    pub informers: Vec<Arc<dyn Informer>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Connections to others; `None`: this peer is alone.
    pub network: Option<Arc<dyn Network>>,
    /// Is told what was done about single pins.
    pub tracer: Tracer,
}

/// The main component.
pub struct MainCluster {
    config: ClusterConfig,
    parts: Parts,
    state: Arc<dyn StateRead>,
    alerts: Mutex<VecDeque<Alert>>,
    ready: watch::Sender<bool>,
    /// Whether this peer was put out.
    removed: watch::Sender<bool>,
    /// Why the pinset cannot be used, if it cannot.
    failed: watch::Sender<Option<String>>,
    /// A peer fell silent.
    lost: Notify,
    /// Taking in and putting out go one after the other.
    membership: tokio::sync::Mutex<()>,
    /// This peer joined a cluster.
    joined: Notify,
}

impl fmt::Debug for MainCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MainCluster").field("me", &self.parts.rpc.me()).finish_non_exhaustive()
    }
}

impl MainCluster {
    /// A main component that is not started.
    #[must_use]
    pub fn new(config: ClusterConfig, parts: Parts) -> Self {
        let state = parts.consensus.state();
        let (ready, _) = watch::channel(false);
        let (removed, _) = watch::channel(false);
        let (failed, _) = watch::channel(None);
        Self {
            config,
            parts,
            state,
            alerts: Mutex::default(),
            ready,
            removed,
            failed,
            lost: Notify::new(),
            membership: tokio::sync::Mutex::default(),
            joined: Notify::new(),
        }
    }

    /// Becomes true when this peer was put out of its cluster: it should stop then.
    #[must_use]
    pub fn removal(&self) -> watch::Receiver<bool> {
        self.removed.subscribe()
    }

    /// Says why the pinset cannot be used, once that is known: this peer should stop then.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failed.subscribe()
    }

    /// Becomes true once the pinset can be changed and the daemon has answered.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }
}

/// A peer took longer than it may.
fn late() -> RpcError {
    RpcError::new(RpcErrorKind::Unreachable, "context deadline exceeded")
}
