//! What a host is made with.

use cluster_component::ports::Duplex;
use cluster_types::{Multiaddr, PeerId};
use futures::future::BoxFuture;
use libp2p_identity::Keypair;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use cluster_transport::Security;

/// Serves one stream that a peer opened, until it ends. Dropped when the host stops.
pub type Serve = Arc<dyn Fn(PeerId, Duplex) -> BoxFuture<'static, ()> + Send + Sync>;

/// The protocols whose streams are handed out, and who takes them.
pub type Protocols = BTreeMap<&'static str, Serve>;

/// The protocol of calls between peers.
pub const RPC_PROTOCOL: &str = "/ipfscluster/1.0/rpc";

/// What a host is made with.
#[derive(Clone)]
pub struct Options {
    /// Who it is.
    pub key: Keypair,
    /// What it says that it is, to other peers.
    pub agent: String,
    /// What peers of the cluster share; `None`: anybody may connect.
    pub secret: Option<[u8; 32]>,
    /// How connections are secured. Default: both ways are offered.
    pub security: Security,
    /// Where to listen. Addresses that it cannot listen on are told of and passed over, if another works.
    pub listen: Vec<Multiaddr>,
    /// Told to others instead of where it listens, if there are any.
    pub announce: Vec<Multiaddr>,
    /// Never told to others; `/ip4/10.0.0.0/ipcidr/8` stands for a network.
    pub no_announce: Vec<Multiaddr>,
    /// Peers of the cluster that an operator wrote down; each address ends with the peer's name.
    pub peers: Vec<Multiaddr>,
    /// How long a dial may take. Default 3 s.
    pub dial_timeout: Duration,
    /// How messages are spread.
    pub pubsub: PubSubOptions,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let private = self.secret.is_some();
        f.debug_struct("Options").field("listen", &self.listen).field("private", &private).finish_non_exhaustive()
    }
}

impl Options {
    /// The defaults of the reference, listening nowhere.
    #[must_use]
    pub fn new(key: Keypair) -> Self {
        Self {
            key,
            agent: "ipfs-cluster".into(),
            secret: None,
            security: Security::default(),
            listen: Vec::new(),
            announce: Vec::new(),
            no_announce: Vec::new(),
            peers: Vec::new(),
            dial_timeout: Duration::from_secs(3),
            pubsub: PubSubOptions::default(),
        }
    }
}

/// How messages are spread. Defaults as the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PubSubOptions {
    /// How often meshes are tended.
    pub heartbeat: Duration,
    /// For how long a message is remembered, so that it is not heard twice.
    pub seen_ttl: Duration,
    /// Multiplies the library's sizes of meshes.
    pub d_factor: usize,
    /// Heartbeats for which messages are kept.
    pub history_length: usize,
    /// Heartbeats of which others are told.
    pub history_gossip: usize,
    /// Whether own messages go to every peer.
    pub flood_publish: bool,
}

impl Default for PubSubOptions {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(10),
            seen_ttl: Duration::from_secs(30 * 60),
            d_factor: 4,
            history_length: 6,
            history_gossip: 2,
            flood_publish: false,
        }
    }
}
