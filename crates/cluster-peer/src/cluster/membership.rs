//! Joining, taking in, putting out and leaving.

use super::MainCluster;
use cluster_component::component::Leadership;
use cluster_component::errors::{ClusterError, NetError};
use cluster_component::ports::sleep;
use cluster_component::rpc::{
    Cluster as ClusterRpc, Consensus as ConsensusRpc, PinTracker as TrackerRpc, RpcError, RpcErrorKind, Target,
};
use cluster_types::{Multiaddr, PeerId, PeerInfo};
use futures::StreamExt;
use multiaddr::Protocol;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether somebody new is there.
const NEW_MEMBERS_INTERVAL: Duration = Duration::from_secs(1);

/// Newcomers of this span are greeted together.
const GREETED_EVERY: Duration = Duration::from_secs(5);

/// So long a last message takes to go out.
const SAID_AFTER: Duration = Duration::from_millis(500);

/// In larger clusters newcomers wait for the next ping, so that they are not drowned.
const GREETED_UP_TO: usize = 100;

impl MainCluster {
    /// Has a member take this peer in, and tells all that it is there.
    pub(super) async fn join_at(&self, address: &Multiaddr) -> Result<(), ClusterError> {
        let me = self.parts.rpc.me();
        if address.iter().last() == Some(Protocol::P2p(me)) {
            return Ok(());
        }
        let network = self.parts.network.as_ref().ok_or_else(|| {
            ClusterError::Invalid(format!("cannot join at {address}: this peer is not connected to a network"))
        })?;
        let failed = |error: NetError| RpcError::new(RpcErrorKind::Unreachable, error.to_string());
        let peer = network.connect(address).await.map_err(failed)?;
        if peer == me {
            return Ok(());
        }
        self.parts.rpc.call::<ClusterRpc::PeerAdd>(Target::Peer(peer), me).await?;
        // It may have been put out before, here too.
        self.parts.consensus.add_peer(me).await?;
        self.note_member(peer);
        self.announce().await;
        self.parts.consensus.wait_for_sync().await?;
        self.joined.notify_one();
        tracing::info!(%peer, "joined the cluster");
        Ok(())
    }

    /// Counts a peer as a member until its own ping comes. What was known of it stays known.
    pub(super) fn note_member(&self, peer: PeerId) {
        let known = self.parts.monitor.latest_for("ping", &peer).map(|ping| ping.value);
        self.parts.monitor.log_metric(self.ping_of(peer, known.unwrap_or_default()));
    }

    /// Publishes everything that others go by.
    pub(super) async fn announce(&self) {
        self.ping_now().await;
        for informer in &self.parts.informers {
            self.inform(&**informer).await;
        }
    }

    /// What can wait after joining: the daemon is told of the others' daemons, and what failed is tried again.
    pub(super) async fn settle_in(self: Arc<Self>) {
        loop {
            self.joined.notified().await;
            sleep(&*self.parts.clock, self.config.monitor_ping_interval.get()).await;
            let others = self.parts.consensus.peers().await.unwrap_or_default();
            let addresses: Vec<Multiaddr> = others.iter().flat_map(|peer| self.daemon_of(peer).addresses).collect();
            if let Err(error) = self.parts.connector.connect_swarms(&addresses).await {
                tracing::debug!(%error, "the daemon could not be told of the others");
            }
            let mut pages = self.parts.rpc.stream::<TrackerRpc::RecoverAll>(Target::Local, ());
            while pages.next().await.is_some() {}
        }
    }

    /// Takes in a peer; returns what it says of itself.
    pub(super) async fn add_member(&self, peer: PeerId) -> Result<PeerInfo, ClusterError> {
        let _one_at_a_time = self.membership.lock().await;
        self.parts.consensus.add_peer(peer).await?;
        let mut info = self.parts.rpc.call::<ClusterRpc::ID>(Target::Peer(peer), ()).await?;
        self.note_member(peer);
        let (me, known) = (self.parts.rpc.me(), info.cluster_peers.get_or_insert_with(Vec::new));
        if !known.contains(&me) {
            known.push(me);
        }
        tracing::info!(%peer, "a peer was taken in");
        Ok(info)
    }

    /// Moves a peer's pins, puts it out, and tells it so.
    pub(super) async fn remove_member(&self, peer: PeerId) -> Result<(), ClusterError> {
        let _one_at_a_time = self.membership.lock().await;
        let members = self.parts.consensus.peers().await?;
        if members.iter().all(|member| *member == peer) {
            // The words of the reference's raft.
            return Err(ClusterError::Invalid("cannot remove ourselves from a 1-peer cluster".into()));
        }
        let is_gone = !members.contains(&peer) && !self.answers(&peer).await;
        let moved = self.vacate(peer, is_gone).await?;
        self.parts.consensus.remove_peer(&peer).await?;
        tracing::info!(%peer, pins = moved, "a peer was put out");
        if peer != self.parts.rpc.me() && !is_gone {
            self.tell_to_leave(peer).await;
        }
        if let Some(network) = &self.parts.network {
            network.protect(&peer, false);
        }
        Ok(())
    }

    /// It hears it from others too; a peer of the reference takes no notice.
    async fn tell_to_leave(&self, peer: PeerId) {
        // Order: an answer before the end of the time for it.
        tokio::select! {
            biased;
            told = self.parts.rpc.call::<ConsensusRpc::RmPeer>(Target::Peer(peer), peer) => {
                if let Err(error) = told {
                    tracing::warn!(%peer, %error, "the peer could not be told to leave");
                }
            }
            () = sleep(&*self.parts.clock, Duration::from_secs(10)) => {
                tracing::warn!(%peer, "the peer did not answer when it was told to leave");
            }
        }
    }

    /// Looks whether this peer was put out; if so, it is time to stop.
    pub(super) async fn watch_membership(self: Arc<Self>) {
        let me = self.parts.rpc.me();
        loop {
            sleep(&*self.parts.clock, self.config.peer_watch_interval.get()).await;
            if matches!(self.parts.consensus.peers().await, Ok(peers) if !peers.contains(&me)) {
                tracing::error!(
                    "this peer was removed from its cluster and stops. To join again, start it with --bootstrap and \
                     the address of a member"
                );
                self.removed.send_replace(true);
                return;
            }
        }
    }

    /// Tells newcomers at once that this peer is there, and what the pinset is, and not only at the next ping and the next
    /// announcement.
    pub(super) async fn greet_newcomers(self: Arc<Self>) {
        let mut known = BTreeSet::new();
        loop {
            sleep(&*self.parts.clock, NEW_MEMBERS_INTERVAL).await;
            let Ok(members) = self.parts.consensus.peers().await else { continue };
            let newcomer = members.iter().any(|peer| !known.contains(peer) && *peer != self.parts.rpc.me());
            known = members;
            if newcomer && known.len() <= GREETED_UP_TO {
                self.announce().await;
                self.parts.consensus.greet();
                // Peers that come and go must not make this one talk all the time.
                sleep(&*self.parts.clock, GREETED_EVERY).await;
            }
        }
    }

    /// A peer that left because it was stopped is back when it starts. (Under raft it must join.)
    pub(super) async fn come_back(&self) {
        let by_itself = self.parts.consensus.leadership() == Leadership::EveryPeer;
        if !self.config.leave_on_shutdown || !by_itself {
            return;
        }
        if let Err(error) = self.parts.consensus.add_peer(self.parts.rpc.me()).await {
            tracing::error!(%error, "this peer could not come back to its cluster");
        }
    }

    /// Leaves the cluster, if that is what a stop means here.
    pub(super) async fn leave(&self) {
        if !self.config.leave_on_shutdown || *self.removed.borrow() || !*self.ready.borrow() {
            return;
        }
        match self.parts.consensus.remove_peer(&self.parts.rpc.me()).await {
            Ok(()) => {
                tracing::info!("left the cluster");
                // The network ends next: what was just said must be on its way.
                sleep(&*self.parts.clock, SAID_AFTER).await;
            }
            Err(error) => tracing::error!(%error, "the cluster could not be left"),
        }
    }
}
