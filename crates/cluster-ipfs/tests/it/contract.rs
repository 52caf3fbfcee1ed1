//! The suite of all connectors, against a Kubo that is played.

use cluster_component::component::{Component, IpfsConnector};
use cluster_component::rpc::Rpc;
use cluster_component::tasks::TaskScope;
use cluster_ipfs::{IpfsHttp, IpfsHttpConfig, Parts};
use cluster_testkit::kubo::FakeKubo;
use cluster_testkit::{ManualClock, TokioSpawn, contract};
use cluster_types::PeerId;
use std::sync::Arc;

#[tokio::test]
async fn it_is_a_connector() {
    contract::connector::run(|| async {
        let kubo = FakeKubo::start();
        let config = IpfsHttpConfig { node_multiaddress: kubo.multiaddr(), ..IpfsHttpConfig::default() };
        let parts = Parts { rpc: Rpc::new(PeerId::random()), clock: Arc::new(ManualClock::default()) };
        let connector = Arc::new(IpfsHttp::new(config, parts).expect("an address"));
        let tasks = TaskScope::new(Arc::new(TokioSpawn));
        Arc::clone(&connector).start(&tasks).await.expect("started");
        (connector as Arc<dyn IpfsConnector>, (kubo, tasks))
    })
    .await;
}
