//! Every informer keeps the contract.

use cluster_component::ports::Clock;
use cluster_peer::informer::tags::{TagsConfig, TagsInformer};
use cluster_testkit::{ManualClock, contract};
use cluster_types::PeerId;
use std::sync::Arc;

#[tokio::test]
async fn tags_keeps_the_contract() {
    let (me, clock) = (PeerId::random(), Arc::new(ManualClock::default()));
    let informer = TagsInformer::new(TagsConfig::default(), me, Arc::clone(&clock) as Arc<dyn Clock>);
    contract::informer::run(&informer, me, &*clock, || {}).await;
}
