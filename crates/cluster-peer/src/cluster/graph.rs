//! Who is connected to whom, and how much has passed.

use super::MainCluster;
use cluster_component::errors::ClusterError;
use cluster_component::ports::sleep;
use cluster_component::rpc::{Cluster as ClusterRpc, IPFSConnector as ConnectorRpc, RpcError, Target};
use cluster_types::{BandwidthByProtocol, ConnectGraph, PeerId, PeerInfo, ProtocolBandwidth};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest that a member may take.
const MEMBER_TIMEOUT: Duration = Duration::from_secs(15);

/// Members that are asked at a time.
const ASKED_AT_ONCE: usize = 16;

/// What a member says.
struct Seen {
    peers: Vec<PeerInfo>,
    swarm: Vec<PeerId>,
}

impl MainCluster {
    /// Asks every member whom it sees. One that does not answer is there without links.
    pub(super) async fn draw_graph(&self) -> Result<ConnectGraph, ClusterError> {
        let members = self.parts.consensus.peers().await?;
        let asked = members.into_iter().map(|member| async move { (member, self.ask_whom_it_sees(member).await) });
        let answers: Vec<_> = futures::stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).collect().await;
        let mut graph = ConnectGraph {
            cluster_id: self.parts.rpc.me(),
            id_to_peername: BTreeMap::new(),
            ipfs_links: BTreeMap::new(),
            cluster_links: BTreeMap::new(),
            cluster_trust_links: BTreeMap::new(),
            cluster_to_ipfs: BTreeMap::new(),
        };
        for (member, answer) in answers {
            graph.cluster_trust_links.insert(member, self.parts.consensus.trusts(&member));
            match answer {
                Ok(seen) => draw(&mut graph, member, seen),
                Err(error) => {
                    tracing::debug!(peer = %member, %error, "whom a peer sees is not known");
                    graph.cluster_links.insert(member, Vec::new());
                }
            }
        }
        Ok(graph)
    }

    async fn ask_whom_it_sees(&self, member: PeerId) -> Result<Seen, RpcError> {
        let asked = async {
            let mut pages = self.parts.rpc.stream::<ClusterRpc::Peers>(Target::Peer(member), ());
            let mut peers = Vec::new();
            while let Some(page) = pages.next().await {
                peers.extend(page?);
            }
            let swarm = self.parts.rpc.call::<ConnectorRpc::SwarmPeers>(Target::Peer(member), ()).await;
            Ok(Seen { peers, swarm: swarm.unwrap_or_default() })
        };
        // Order: an answer before the end of the time for it.
        tokio::select! {
            biased;
            seen = asked => seen,
            () = sleep(&*self.parts.clock, MEMBER_TIMEOUT) => Err(super::late()),
        }
    }

    pub(super) fn traffic(&self) -> BandwidthByProtocol {
        let Some(network) = &self.parts.network else { return BandwidthByProtocol::new() };
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let passed = network.bandwidth().into_iter().map(|(protocol, passed)| {
            let traffic = ProtocolBandwidth {
                total_in: number(passed.bytes_in),
                total_out: number(passed.bytes_out),
                rate_in: passed.rate_in,
                rate_out: passed.rate_out,
            };
            (protocol, traffic)
        });
        passed.collect()
    }
}

fn draw(graph: &mut ConnectGraph, member: PeerId, seen: Seen) {
    let mut links = Vec::new();
    for peer in &seen.peers {
        match peer.id {
            Some(id) if id == member => {
                graph.id_to_peername.insert(member, peer.peername.clone());
                if let (Some(daemon), true) = (peer.ipfs.id, peer.ipfs.error.is_empty()) {
                    graph.cluster_to_ipfs.insert(member, daemon);
                    graph.ipfs_links.insert(daemon, seen.swarm.clone());
                }
            }
            Some(id) if peer.error.is_empty() => links.push(id),
            _ => {}
        }
    }
    links.sort_unstable();
    graph.cluster_links.insert(member, links);
}
