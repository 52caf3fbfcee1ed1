//! What a host is made with.

use cluster_component::ports::Duplex;
use cluster_types::{Multiaddr, PeerId};
use futures::future::BoxFuture;
use libp2p_identity::Keypair;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
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
    /// The file of known addresses: read at first, written when the host stops.
    pub peerstore: Option<PathBuf>,
    /// Whether peers are looked for on the local network.
    pub mdns: bool,
    /// How many connections are kept.
    pub connections: Connections,
    /// What all connections may take; `None`: anything.
    pub resources: Option<Resources>,
    /// Whether it relays for others, once it can be reached from everywhere. Default: yes.
    pub relay_hop: bool,
    /// Whether it can be reached from everywhere. Default: other peers are asked.
    pub reachability: Option<Reachability>,
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
            peerstore: None,
            mdns: false,
            connections: Connections::default(),
            resources: None,
            relay_hop: true,
            reachability: None,
            dial_timeout: Duration::from_secs(3),
            pubsub: PubSubOptions::default(),
        }
    }
}

/// How many connections are kept. Defaults as the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// When there are more peers than this, connections are ended, down to the low mark.
    pub high_water: usize,
    /// When there are fewer than this, known peers are dialed.
    pub low_water: usize,
    /// Connections younger than this are left alone.
    pub grace: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        Self { high_water: 400, low_water: 100, grace: Duration::from_secs(120) }
    }
}

/// What all connections together may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Bytes of memory. As the reference, each MiB stands for one inbound connection.
    pub memory_bytes: u64,
    /// File descriptors, one for each connection.
    pub descriptors: u64,
}

/// From where a host can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachability {
    /// From everywhere.
    Public,
    /// Only from inside of its network.
    Private,
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
