//! What the main component does by itself: readiness, pings, metrics, recovery; and its interfaces.

use super::members::is_of_use_to_others;
use super::{MainCluster, VERSION};
use async_trait::async_trait;
use cluster_component::PageStream;
use cluster_component::component::{Cluster, Component, Informer};
use cluster_component::errors::{ClusterError, StartError};
use cluster_component::ports::sleep;
use cluster_component::rpc::{PinTracker as TrackerRpc, Target};
use cluster_component::tasks::TaskScope;
use cluster_types::{
    Alert, BandwidthByProtocol, Cid, ConnectGraph, GlobalPinInfo, GlobalRepoGc, IpfsId, Metric, Multiaddr, PeerId,
    PeerInfo, Pin, PinInfo, PinOptions, PingValue, RepoGc, Timestamp, TrackerStatus,
};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;

/// The wait before metrics that could not be found out are tried again.
const METRICS_AGAIN: Duration = Duration::from_secs(8);

impl MainCluster {
    /// A pinset that broke while it was in use is told as one that never was ready.
    async fn watch_consensus(self: Arc<Self>) {
        let reason = self.parts.consensus.broken().await;
        tracing::error!(reason, "the pinset cannot be used any more");
        self.failed.send_replace(Some(reason));
    }

    /// Waits for the pinset and the daemon. The API serves meanwhile.
    async fn become_ready(self: Arc<Self>) {
        if let Err(error) = self.parts.consensus.ready().await {
            tracing::error!(%error, "the pinset is not ready");
            self.failed.send_replace(Some(error.to_string()));
            return;
        }
        self.come_back().await;
        // Pings tell others that this peer is there; its daemon may come later.
        self.publish_ping(&self.ping_value(self.daemon_of(&self.parts.rpc.me()))).await;
        tracing::info!("Waiting for IPFS to be ready...");
        match self.parts.connector.ready().await {
            Ok(()) => {}
            Err(error) => return tracing::error!(%error, "the IPFS daemon is not ready"),
        }
        if let Ok(IpfsId { id: Some(id), .. }) = self.parts.connector.id().await {
            tracing::info!("IPFS is ready. Peer ID: {id}");
        }
        self.ping_now().await;
        self.ready.send_replace(true);
        tracing::info!("** IPFS Cluster is READY **");
    }

    async fn keep_pinging(self: Arc<Self>) {
        loop {
            self.ping_now().await;
            sleep(&*self.parts.clock, self.config.monitor_ping_interval.get()).await;
        }
    }

    /// Says that this peer is there. A daemon that is down leaves its last known address.
    pub(super) async fn ping_now(&self) {
        let daemon = match self.parts.connector.id().await {
            Ok(id) => id,
            Err(_) => self.daemon_of(&self.parts.rpc.me()),
        };
        self.publish_ping(&self.ping_value(daemon)).await;
    }

    fn ping_value(&self, daemon: IpfsId) -> PingValue {
        PingValue {
            peer_name: self.config.peername.clone(),
            ipfs_id: daemon.id,
            ipfs_addresses: daemon.addresses.into_iter().filter(is_of_use_to_others).collect(),
        }
    }

    async fn publish_ping(&self, value: &PingValue) {
        let ping = self.ping_of(self.parts.rpc.me(), serde_json::to_string(value).unwrap_or_default());
        if let Err(error) = self.parts.monitor.publish(ping).await {
            tracing::warn!(%error, "the ping could not be published");
        }
    }

    /// A ping that counts from now on.
    pub(super) fn ping_of(&self, peer: PeerId, value: String) -> Metric {
        let ttl = self.config.monitor_ping_interval.get() * 2;
        Metric {
            name: "ping".into(),
            peer,
            value,
            expire: self.parts.clock.now().wall.saturating_add(ttl),
            valid: true,
            weight: 0,
            partitionable: false,
            received_at: Timestamp::ZERO,
        }
    }

    /// Finds out an informer's metrics, again and again, at half the time that they count.
    async fn keep_informing(self: Arc<Self>, informer: Arc<dyn Informer>) {
        loop {
            let ttl = self.inform(&*informer).await;
            sleep(&*self.parts.clock, ttl.map_or(METRICS_AGAIN, |ttl| ttl / 2)).await;
        }
    }

    /// Publishes what is valid; returns the shortest time that any of it counts.
    pub(super) async fn inform(&self, informer: &dyn Informer) -> Option<Duration> {
        let (now, mut shortest) = (self.parts.clock.now().wall, None::<Duration>);
        for metric in informer.metrics().await {
            if metric.is_discardable(now) {
                continue;
            }
            let ttl = metric.expire.saturating_since(now);
            shortest = Some(shortest.map_or(ttl, |shortest| shortest.min(ttl)));
            if let Err(error) = self.parts.monitor.publish(metric).await {
                tracing::warn!(%error, informer = informer.key(), "a metric could not be published");
                return None;
            }
        }
        shortest
    }

    async fn keep_recovering(self: Arc<Self>) {
        loop {
            sleep(&*self.parts.clock, self.config.pin_recover_interval.get()).await;
            let mut pages = self.parts.rpc.stream::<TrackerRpc::RecoverAll>(Target::Local, ());
            while let Some(page) = pages.next().await {
                if let Err(error) = page {
                    tracing::warn!(%error, "failed items could not be tried again");
                }
            }
        }
    }
}

#[async_trait]
impl Component for MainCluster {
    fn key(&self) -> &'static str {
        "cluster"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        if self.parts.informers.is_empty() {
            return Err(StartError { component: "cluster", reason: "no informers are passed".into() });
        }
        tasks.spawn_until_stopped("cluster-ready", Arc::clone(&self).become_ready());
        tasks.spawn_until_stopped("cluster-consensus", Arc::clone(&self).watch_consensus());
        tasks.spawn_until_stopped("cluster-ping", Arc::clone(&self).keep_pinging());
        for informer in &self.parts.informers {
            tasks.spawn_until_stopped("cluster-inform", Arc::clone(&self).keep_informing(Arc::clone(informer)));
        }
        tasks.spawn_until_stopped("cluster-expire", Arc::clone(&self).keep_expiring());
        tasks.spawn_until_stopped("cluster-recover", Arc::clone(&self).keep_recovering());
        tasks.spawn_until_stopped("cluster-heal", Arc::clone(&self).keep_healing());
        tasks.spawn_until_stopped("cluster-newcomers", Arc::clone(&self).greet_newcomers());
        tasks.spawn_until_stopped("cluster-joined", Arc::clone(&self).settle_in());
        tasks.spawn_until_stopped("cluster-membership", Arc::clone(&self).watch_membership());
        tasks.spawn_until_stopped("cluster-alerts", self.collect_alerts());
        Ok(())
    }

    async fn shutdown(&self) {
        self.leave().await;
    }
}

#[async_trait]
impl Cluster for MainCluster {
    async fn id(&self) -> PeerInfo {
        self.peer_info().await
    }

    fn version(&self) -> String {
        VERSION.to_owned()
    }

    fn peers(self: Arc<Self>) -> PageStream<PeerInfo, ClusterError> {
        self.list_peers()
    }

    async fn pin(&self, cid: Cid, options: PinOptions) -> Result<Pin, ClusterError> {
        self.log_pin(Pin::new(cid, options)).await
    }

    async fn pin_object(&self, pin: Pin) -> Result<Pin, ClusterError> {
        self.log_pin(pin).await
    }

    async fn pin_path(&self, path: &str, options: PinOptions) -> Result<Pin, ClusterError> {
        self.pin_what_path_leads_to(path, options).await
    }

    async fn unpin(&self, cid: &Cid) -> Result<Pin, ClusterError> {
        self.log_unpin(cid).await
    }

    async fn unpin_path(&self, path: &str) -> Result<Pin, ClusterError> {
        let cid = self.parts.connector.resolve(path).await?;
        self.log_unpin(&cid).await
    }

    async fn pin_get(&self, cid: &Cid) -> Result<Pin, ClusterError> {
        self.state.get(cid)?.ok_or(ClusterError::NotPinned)
    }

    fn pins(self: Arc<Self>) -> PageStream<Pin, ClusterError> {
        Arc::clone(&self.state).list().map(|page| Ok(page?)).boxed()
    }

    async fn block_allocate(&self, pin: Pin) -> Result<Vec<PeerId>, ClusterError> {
        self.allocate_blocks(pin).await
    }

    async fn status(&self, cid: &Cid) -> Result<GlobalPinInfo, ClusterError> {
        self.ask_about::<TrackerRpc::Status>(cid).await
    }

    fn status_all(self: Arc<Self>, filter: TrackerStatus) -> PageStream<GlobalPinInfo, ClusterError> {
        self.list_status(filter)
    }

    async fn recover(&self, cid: &Cid) -> Result<GlobalPinInfo, ClusterError> {
        self.ask_about::<TrackerRpc::Recover>(cid).await
    }

    async fn recover_local(&self, cid: &Cid) -> Result<PinInfo, ClusterError> {
        Ok(self.parts.rpc.call::<TrackerRpc::Recover>(Target::Local, *cid).await?)
    }

    fn recover_all(self: Arc<Self>) -> PageStream<GlobalPinInfo, ClusterError> {
        self.list_recovered()
    }

    async fn repo_gc(&self) -> Result<GlobalRepoGc, ClusterError> {
        self.gc_everywhere().await
    }

    async fn repo_gc_local(&self) -> Result<RepoGc, ClusterError> {
        self.gc_here().await
    }

    async fn peer_add(&self, peer: PeerId) -> Result<PeerInfo, ClusterError> {
        self.add_member(peer).await
    }

    async fn peer_remove(&self, peer: PeerId) -> Result<(), ClusterError> {
        self.remove_member(peer).await
    }

    async fn join(&self, address: &Multiaddr) -> Result<(), ClusterError> {
        self.join_at(address).await
    }

    async fn connect_graph(&self) -> Result<ConnectGraph, ClusterError> {
        self.draw_graph().await
    }

    fn bandwidth(&self) -> BandwidthByProtocol {
        self.traffic()
    }

    fn alerts(&self) -> Vec<Alert> {
        self.kept_alerts()
    }

    fn ipfs_id_of(&self, peer: &PeerId) -> IpfsId {
        self.daemon_of(peer)
    }

    async fn send_metrics(&self) -> Result<(), ClusterError> {
        for informer in &self.parts.informers {
            self.inform(&**informer).await;
        }
        Ok(())
    }
}
