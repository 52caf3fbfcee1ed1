//! What peers say of themselves: identity, version, connections, garbage collections.

use crate::text_map::{or_default, or_empty};
use crate::{Multiaddr, PeerId, RepoGcKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a peer says of itself: the answer of `/id`. The reference calls it `ID`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerInfo {
    /// Who it is; `None` only when it could not be found out.
    #[serde(with = "or_empty")]
    pub id: Option<PeerId>,
    /// Where it listens; each ends in `/p2p/<id>`.
    pub addresses: Option<Vec<Multiaddr>>,
    /// The peers it knows, itself among them.
    pub cluster_peers: Option<Vec<PeerId>>,
    /// Where the others can be reached.
    pub cluster_peers_addresses: Option<Vec<Multiaddr>>,
    /// Its version.
    pub version: String,
    /// Its commit; always empty, as the reference.
    pub commit: String,
    /// The protocol by which peers call each other.
    pub rpc_protocol_version: String,
    /// Why it could not be asked, or empty.
    pub error: String,
    /// Its IPFS daemon.
    pub ipfs: PeerIpfs,
    /// Its name.
    pub peername: String,
}

/// What a peer says of its IPFS daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerIpfs {
    /// Who it is; `None` when it could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<PeerId>,
    /// Where it can be reached; `None` when it could not be asked.
    pub addresses: Option<Vec<Multiaddr>>,
    /// Why it could not be asked, or empty.
    pub error: String,
}

/// The answer of `/version`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Version {
    /// The version that clients see.
    pub version: String,
}

/// Who is connected to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectGraph {
    /// The peer that drew it.
    pub cluster_id: PeerId,
    /// Names of the peers.
    #[serde(with = "crate::text_map")]
    pub id_to_peername: BTreeMap<PeerId, String>,
    /// Which daemons each daemon is connected to.
    #[serde(with = "crate::text_map")]
    pub ipfs_links: BTreeMap<PeerId, Vec<PeerId>>,
    /// Which peers each peer sees.
    #[serde(with = "crate::text_map")]
    pub cluster_links: BTreeMap<PeerId, Vec<PeerId>>,
    /// Which peers are trusted.
    #[serde(with = "crate::text_map")]
    pub cluster_trust_links: BTreeMap<PeerId, bool>,
    /// The daemon of each peer.
    #[serde(with = "crate::text_map")]
    pub cluster_to_ipfs: BTreeMap<PeerId, PeerId>,
}

/// A garbage collection at one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoGc {
    /// Where.
    pub peer: PeerId,
    /// Its name.
    pub peername: String,
    /// What was removed, and what went wrong.
    #[serde(default, deserialize_with = "or_default")]
    pub keys: Vec<RepoGcKey>,
    /// Why it could not be done at all, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Garbage collections over all peers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GlobalRepoGc {
    /// What each peer says.
    #[serde(with = "crate::text_map")]
    pub peer_map: BTreeMap<PeerId, RepoGc>,
}

/// Traffic of one protocol, in bytes and bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ProtocolBandwidth {
    /// Bytes received.
    pub total_in: i64,
    /// Bytes sent.
    pub total_out: i64,
    /// Bytes received a second.
    pub rate_in: f64,
    /// Bytes sent a second.
    pub rate_out: f64,
}

/// Traffic by protocol.
pub type BandwidthByProtocol = BTreeMap<String, ProtocolBandwidth>;
