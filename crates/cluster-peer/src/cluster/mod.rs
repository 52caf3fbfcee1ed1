//! The main component: what users order, put into effect through the others. One file for each concern.

pub mod config;
mod gc;
mod members;
mod pin;
mod status;
mod upkeep;

pub use config::ClusterConfig;

use cluster_component::component::{Consensus, Informer, IpfsConnector, PeerMonitor, PinAllocator, StateRead};
use cluster_component::ports::Clock;
use cluster_component::rpc::Rpc;
use cluster_types::{Alert, Multiaddr};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

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
    /// Where this peer listens for others.
    pub addresses: Vec<Multiaddr>,
}

/// The main component.
pub struct MainCluster {
    config: ClusterConfig,
    parts: Parts,
    state: Arc<dyn StateRead>,
    alerts: Mutex<VecDeque<Alert>>,
    ready: watch::Sender<bool>,
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
        Self { config, parts, state, alerts: Mutex::default(), ready }
    }

    /// Becomes true once the pinset can be changed and the daemon has answered.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }
}
