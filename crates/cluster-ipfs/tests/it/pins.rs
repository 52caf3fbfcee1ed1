//! What pinning asks of the daemon.

use crate::{connector, counted_connector};
use bytes::Bytes;
use cluster_component::component::IpfsConnector;
use cluster_component::metrics::Metrics;
use cluster_component::ports::Block;
use cluster_component::rpc::Rpc;
use cluster_ipfs::{IpfsHttp, IpfsHttpConfig, Parts};
use cluster_testkit::ManualClock;
use cluster_testkit::kubo::FakeKubo;
use cluster_types::{Cid, IpfsPinStatus, PeerId, Pin, PinOptions};
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;

/// Pins, and tells the requests that it took.
async fn requests_of_pinning(connector: &IpfsHttp, kubo: &FakeKubo, cid: &str) -> u64 {
    let before = kubo.world().requests;
    let cid: Cid = cid.parse().expect("a CID");
    connector.pin(&Pin::new(cid, PinOptions::default()), None).await.expect("it is pinned");
    assert!(kubo.world().recursive.contains(&cid.to_string()));
    kubo.world().requests - before
}

#[tokio::test]
async fn once_the_daemon_has_listed_its_pins_it_is_not_asked_about_new_ones() {
    const HELD: &str = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    const FIRST: &str = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4";
    const SECOND: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    let kubo = FakeKubo::start();
    kubo.world().recursive.insert(HELD.into());
    let (connector, _tasks) = connector(&kubo).await;
    assert_eq!(requests_of_pinning(&connector, &kubo, FIRST).await, 2);

    let kinds = [IpfsPinStatus::Recursive, IpfsPinStatus::Direct];
    let listed: Vec<_> = Arc::clone(&connector).pin_ls(&kinds).try_collect().await.expect("it lists");
    assert_eq!(listed.concat().len(), 2);

    assert_eq!(requests_of_pinning(&connector, &kubo, SECOND).await, 1);
    // What it holds is only asked for, so that the daemon does not walk it again.
    for held in [HELD, FIRST, SECOND] {
        kubo.world().refuse_pins = Some("this would be a walk".into());
        assert_eq!(requests_of_pinning(&connector, &kubo, held).await, 1);
    }
}

/// As the reference counts them: by the status, with the bytes of both bodies, those included that are refusals.
#[tokio::test]
async fn requests_to_the_daemon_are_counted_with_their_bytes() {
    const ITEM: &str = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4";
    let (kubo, metrics) = (FakeKubo::start(), Arc::<Metrics>::default());
    let (connector, _tasks) = counted_connector(&kubo, Arc::clone(&metrics)).await;
    let begun = metrics.daemon_calls()[&200].times.count;
    let block = Block::claimed(ITEM.parse().expect("a CID"), Bytes::from_static(b"twelve bytes"));

    kubo.world().refuse_pins = Some("no room".into());
    let pin = Pin::new(block.cid, PinOptions::default());
    let refused = connector.pin(&pin, None).await.expect_err("it is refused").to_string();
    connector.block_put(stream::iter([Ok(block)]).boxed()).await.expect("it is taken");

    let calls = metrics.daemon_calls();
    assert!(refused.contains("no room"), "{refused}");
    assert_eq!((calls[&500].times.count, calls[&500].sent.sum), (2, 0));
    assert!(calls[&500].received.sum >= 2 * "no room".len() as u64, "{calls:?}");
    assert_eq!(calls[&200].times.count, begun + 1);
    assert!(calls[&200].sent.sum > "twelve bytes".len() as u64 && calls[&200].received.sum > 0, "{calls:?}");
}

#[tokio::test]
async fn requests_that_nobody_answers_are_counted_as_the_reference_counts_them() {
    let metrics = Arc::<Metrics>::default();
    let config = IpfsHttpConfig { node_multiaddress: "/ip4/127.0.0.1/tcp/1".into(), ..IpfsHttpConfig::default() };
    let clock = Arc::new(ManualClock::default());
    let parts = Parts { rpc: Rpc::new(PeerId::random()), clock, metrics: Arc::clone(&metrics) };
    let connector = IpfsHttp::new(config, parts).expect("an address");

    connector.id().await.expect_err("nobody is there");

    let counts: Vec<_> = metrics.daemon_calls().into_iter().map(|(status, seen)| (status, seen.times.count)).collect();
    assert_eq!(counts, [(500, 1)]);
}
