//! What pinning asks of the daemon.

use crate::connector;
use cluster_component::component::IpfsConnector;
use cluster_ipfs::IpfsHttp;
use cluster_testkit::kubo::FakeKubo;
use cluster_types::{Cid, IpfsPinStatus, Pin, PinOptions};
use futures::TryStreamExt;
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
