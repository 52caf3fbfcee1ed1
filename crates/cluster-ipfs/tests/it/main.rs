//! The connector `ipfshttp` as others see it.

mod contract;
mod pins;

use cluster_component::component::{Component, IpfsConnector};
use cluster_component::metrics::Metrics;
use cluster_component::rpc::Rpc;
use cluster_component::tasks::TaskScope;
use cluster_ipfs::{IpfsHttp, IpfsHttpConfig, Parts};
use cluster_testkit::kubo::FakeKubo;
use cluster_testkit::{ManualClock, TokioSpawn};
use cluster_types::PeerId;
use std::sync::Arc;

/// A connector that is started, and its daemon has answered.
async fn connector(kubo: &FakeKubo) -> (Arc<IpfsHttp>, TaskScope) {
    counted_connector(kubo, Arc::default()).await
}

/// The same, whose requests are counted there.
async fn counted_connector(kubo: &FakeKubo, metrics: Arc<Metrics>) -> (Arc<IpfsHttp>, TaskScope) {
    let config = IpfsHttpConfig { node_multiaddress: kubo.multiaddr(), ..IpfsHttpConfig::default() };
    let clock = Arc::new(ManualClock::default());
    let parts = Parts { rpc: Rpc::new(PeerId::random()), clock, metrics };
    let connector = Arc::new(IpfsHttp::new(config, parts).expect("an address"));
    let tasks = TaskScope::new(Arc::new(TokioSpawn));
    Arc::clone(&connector).start(&tasks).await.expect("started");
    connector.ready().await.expect("the daemon answers");
    (connector, tasks)
}
