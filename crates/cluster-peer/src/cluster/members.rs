//! Who this peer is and who the others are.

use super::{MainCluster, VERSION};
use cluster_component::PageStream;
use cluster_component::errors::ClusterError;
use cluster_component::ports::{Clock, sleep};
use cluster_component::rpc::{Cluster as ClusterRpc, PROTOCOL, RpcErrorKind, Target};
use cluster_types::{IpfsId, Multiaddr, PeerId, PeerInfo, PeerIpfs, PingValue};
use futures::StreamExt;
use multiaddr::Protocol;
use std::sync::Arc;
use std::time::Duration;

/// The longest that listing the members may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(15);

/// Members that are asked at a time.
const ASKED_AT_ONCE: usize = 64;

impl MainCluster {
    pub(super) async fn peer_info(&self) -> PeerInfo {
        let me = self.parts.rpc.me();
        let peers = self.parts.consensus.peers().await.unwrap_or_default();
        let ipfs = match self.parts.connector.id().await {
            Ok(id) => PeerIpfs { id: id.id, addresses: Some(id.addresses), error: String::new() },
            Err(error) => PeerIpfs { error: error.to_string(), ..PeerIpfs::default() },
        };
        let others = peers.iter().filter(|peer| **peer != me).flat_map(|peer| self.known_addresses(peer));
        PeerInfo {
            id: Some(me),
            addresses: Some(self.own_addresses()),
            cluster_peers_addresses: Some(others.collect()),
            cluster_peers: Some(peers.into_iter().collect()),
            version: VERSION.to_owned(),
            commit: String::new(),
            rpc_protocol_version: PROTOCOL.to_owned(),
            error: String::new(),
            ipfs,
            peername: self.config.peername.clone(),
        }
    }

    fn own_addresses(&self) -> Vec<Multiaddr> {
        let addresses = self.parts.network.iter().flat_map(|network| network.addresses());
        addresses.map(|address| address.with(Protocol::P2p(self.parts.rpc.me()))).collect()
    }

    /// Where a peer can be reached: by its names if it has any, else by all that is known.
    fn known_addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let known: Vec<Multiaddr> = self.parts.network.iter().flat_map(|network| network.addresses_of(peer)).collect();
        let named: Vec<Multiaddr> = known.iter().filter(|address| is_name(address)).cloned().collect();
        let mut told = if named.is_empty() { known } else { named };
        told.sort_by_cached_key(ToString::to_string);
        told.into_iter().map(|address| address.with(Protocol::P2p(*peer))).collect()
    }

    /// Asks every member; those that cannot be asked are there with an error, those that refuse are left out.
    pub(super) fn list_peers(self: Arc<Self>) -> PageStream<PeerInfo, ClusterError> {
        let list = async move {
            let members = self.parts.consensus.peers().await?;
            let ask = |peer: PeerId| {
                let this = Arc::clone(&self);
                async move { this.ask_peer(peer).await }
            };
            let found = futures::stream::iter(members.into_iter().map(ask)).buffer_unordered(ASKED_AT_ONCE);
            Ok(found.filter_map(std::future::ready).collect::<Vec<_>>().await)
        };
        let pages = futures::stream::once(list);
        pages.filter(|page| std::future::ready(!matches!(page, Ok(peers) if peers.is_empty()))).boxed()
    }

    async fn ask_peer(&self, peer: PeerId) -> Option<PeerInfo> {
        let asked = self.parts.rpc.call::<ClusterRpc::ID>(Target::Peer(peer), ());
        let failed = |error: String| Some(PeerInfo { id: Some(peer), error, ..PeerInfo::default() });
        // Order: an answer before the end of the time for it.
        tokio::select! {
            biased;
            answer = asked => match answer {
                Ok(info) => Some(info),
                Err(error) if error.kind == RpcErrorKind::Unauthorized => None,
                Err(error) => failed(error.message),
            },
            () = sleep(&*self.parts.clock as &dyn Clock, LIST_TIMEOUT) => failed(super::late().message),
        }
    }

    /// A peer's daemon, by its latest ping.
    pub(super) fn daemon_of(&self, peer: &PeerId) -> IpfsId {
        let ping = self.parts.monitor.latest_for("ping", peer);
        let value: PingValue = ping.and_then(|m| serde_json::from_str(&m.value).ok()).unwrap_or_default();
        IpfsId { id: value.ipfs_id, addresses: value.ipfs_addresses }
    }

    /// A peer's name, by its latest ping.
    pub(super) fn name_of(&self, peer: &PeerId) -> String {
        if *peer == self.parts.rpc.me() {
            return self.config.peername.clone();
        }
        let ping = self.parts.monitor.latest_for("ping", peer);
        let value: PingValue = ping.and_then(|m| serde_json::from_str(&m.value).ok()).unwrap_or_default();
        value.peer_name
    }
}

/// Whether others can use an address of a daemon: names, and IP addresses that Go calls global unicast, private ones
/// among them.
pub(super) fn is_of_use_to_others(address: &Multiaddr) -> bool {
    match address.iter().next() {
        _ if is_name(address) => true,
        Some(Protocol::Ip4(ip)) => {
            !(ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_unspecified() || ip.is_broadcast())
        }
        Some(Protocol::Ip6(ip)) => {
            let link_local = ip.segments()[0] & 0xffc0 == 0xfe80;
            !(ip.is_loopback() || link_local || ip.is_multicast() || ip.is_unspecified())
        }
        _ => false,
    }
}

fn is_name(address: &Multiaddr) -> bool {
    let first = address.iter().next();
    matches!(first, Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_addresses_that_they_can_use() {
        let told = |text: &str| is_of_use_to_others(&text.parse().expect("an address"));
        assert!(told("/ip4/10.9.9.9/tcp/4001") && told("/dns4/host/tcp/1") && told("/ip6/fc00::1/tcp/1"));
        assert!(!told("/ip4/127.0.0.1/tcp/4001") && !told("/ip6/fe80::1/tcp/1") && !told("/ip4/0.0.0.0/tcp/1"));
    }
}
