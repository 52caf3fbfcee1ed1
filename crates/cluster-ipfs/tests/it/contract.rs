//! The suite of all connectors, against a Kubo that is played.

use crate::connector;
use cluster_component::component::IpfsConnector;
use cluster_testkit::contract;
use cluster_testkit::kubo::FakeKubo;
use std::sync::Arc;

#[tokio::test]
async fn it_is_a_connector() {
    contract::connector::run(|| async {
        let kubo = FakeKubo::start();
        let (connector, tasks) = connector(&kubo).await;
        (connector as Arc<dyn IpfsConnector>, (kubo, tasks))
    })
    .await;
}
