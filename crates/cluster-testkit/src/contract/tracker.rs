//! What every [`PinTracker`] must do.

use super::{cid, pin};
use crate::{FakeConnector, eventually};
use cluster_component::component::{PinTracker, StateRead};
use cluster_component::errors::TrackerError;
use cluster_types::{Cid, IpfsPinStatus, PeerId, Pin, PinInfo, PinProgress, TrackerStatus};
use futures::{FutureExt, StreamExt};
use std::sync::Arc;

/// A started tracker and the world around it.
#[allow(missing_debug_implementations)] // Its parts are traits that need not show themselves.
pub struct Subject {
    /// The tracker.
    pub tracker: Arc<dyn PinTracker>,
    /// Its daemon.
    pub daemon: Arc<FakeConnector>,
    /// Makes a pin part of the pinset, and has the consensus tell it.
    pub log_pin: Box<dyn Fn(Pin) + Send + Sync>,
    /// The same for removing one.
    pub log_unpin: Box<dyn Fn(Cid) + Send + Sync>,
    /// The pinset.
    pub state: Arc<dyn StateRead>,
}

/// Runs the suite; each part has a world of its own.
///
/// # Panics
/// When the tracker does not keep the contract.
pub async fn run(make: &mut dyn FnMut() -> futures::future::BoxFuture<'static, Subject>) {
    pins_and_unpins_what_the_pinset_says(make().await).await;
    leaves_to_others_what_is_theirs(make().await).await;
    shows_work_and_failure_and_tries_again(make().await).await;
    asks_the_daemon_about_one_item(make().await).await;
    lists_in_order_and_by_filter(make().await).await;
    knows_nothing_of_what_is_not_pinned(make().await).await;
}

async fn list(tracker: &Arc<dyn PinTracker>, filter: TrackerStatus) -> Vec<PinInfo> {
    let mut pages = Arc::clone(tracker).status_all(filter);
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        found.extend(page.expect("a page"));
    }
    found
}

fn status_of(subject: &Subject, cid: Cid) -> TrackerStatus {
    let tracker = Arc::clone(&subject.tracker);
    async move { tracker.status(&cid).await.status.status }.now_or_never().unwrap_or(TrackerStatus::UNDEFINED)
}

async fn reaches(subject: &Subject, cid: Cid, status: TrackerStatus) {
    eventually("the item stands as it should", || status_of(subject, cid) == status).await;
}

async fn pins_and_unpins_what_the_pinset_says(subject: Subject) {
    (subject.log_pin)(pin(1, "one"));
    reaches(&subject, cid(1), TrackerStatus::PINNED).await;
    assert_eq!(subject.daemon.holds(&cid(1)), Some(IpfsPinStatus::Recursive));
    assert_eq!(subject.tracker.status(&cid(1)).await.name, "one");

    (subject.log_unpin)(cid(1));
    eventually("the daemon lets it go", || subject.daemon.holds(&cid(1)).is_none()).await;
    reaches(&subject, cid(1), TrackerStatus::UNPINNED).await;
}

async fn leaves_to_others_what_is_theirs(subject: Subject) {
    let mut theirs = pin(1, "theirs");
    theirs.options.replication_factor_min = 1;
    theirs.options.replication_factor_max = 1;
    theirs.allocations = vec![PeerId::random()];
    (subject.log_pin)(theirs);

    reaches(&subject, cid(1), TrackerStatus::REMOTE).await;
    assert_eq!(subject.daemon.holds(&cid(1)), None);
}

async fn shows_work_and_failure_and_tries_again(subject: Subject) {
    subject.daemon.hold(cid(1));
    (subject.log_pin)(pin(1, "slow"));
    reaches(&subject, cid(1), TrackerStatus::PINNING).await;
    let told = || subject.tracker.status(&cid(1)).now_or_never().and_then(|info| info.status.progress);
    eventually("it is told how far it is", || told() == Some(PinProgress { blocks: 1, bytes: 1 })).await;
    subject.daemon.let_go(&cid(1));
    reaches(&subject, cid(1), TrackerStatus::PINNED).await;
    assert_eq!(told(), None);

    subject.daemon.world().unpinnable.insert(cid(2), "no such thing".into());
    (subject.log_pin)(pin(2, "bad"));
    reaches(&subject, cid(2), TrackerStatus::PIN_ERROR).await;
    let info = subject.tracker.status(&cid(2)).await;
    assert!(info.status.error.contains("no such thing") && info.status.attempt_count == 1, "{info:?}");
    assert!(info.status.retry_at > Some(info.status.timestamp), "{info:?}");

    subject.daemon.world().unpinnable.clear();
    subject.tracker.recover(&cid(2)).await.expect("tried again");
    reaches(&subject, cid(2), TrackerStatus::PINNED).await;
}

async fn asks_the_daemon_about_one_item(subject: Subject) {
    (subject.log_pin)(pin(1, "one"));
    reaches(&subject, cid(1), TrackerStatus::PINNED).await;

    subject.daemon.set_down(true);
    assert_eq!(subject.tracker.status(&cid(1)).await.status.status, TrackerStatus::CLUSTER_ERROR);
    subject.daemon.set_down(false);
    subject.daemon.world().pins.remove(&cid(1));
    assert_eq!(subject.tracker.status(&cid(1)).await.status.status, TrackerStatus::UNEXPECTEDLY_UNPINNED);
    // It is put right without anybody's doing.
    reaches(&subject, cid(1), TrackerStatus::PINNED).await;
}

async fn lists_in_order_and_by_filter(subject: Subject) {
    subject.daemon.world().unpinnable.insert(cid(7), "no".into());
    (0..20).for_each(|number| (subject.log_pin)(pin(number, "many")));
    for number in (0..20).filter(|number| *number != 7) {
        reaches(&subject, cid(number), TrackerStatus::PINNED).await;
    }
    reaches(&subject, cid(7), TrackerStatus::PIN_ERROR).await;

    let mut expected: Vec<Cid> = (0..20).map(cid).collect();
    expected.sort_by_key(Cid::sort_key);
    let found: Vec<Cid> = list(&subject.tracker, TrackerStatus::UNDEFINED).await.iter().map(|info| info.cid).collect();
    assert_eq!(found, expected);
    let pinned = list(&subject.tracker, TrackerStatus::PINNED).await;
    assert_eq!(pinned.len(), 19);
    let failed = list(&subject.tracker, TrackerStatus::PIN_ERROR).await;
    assert_eq!(failed.iter().map(|info| info.cid).collect::<Vec<_>>(), [cid(7)]);

    subject.daemon.world().unpinnable.clear();
    let queued: Vec<_> = Arc::clone(&subject.tracker).recover_all().collect().await;
    assert_eq!(queued.iter().flat_map(|page| page.as_ref().expect("a page")).count(), 1);
    reaches(&subject, cid(7), TrackerStatus::PINNED).await;
    assert_eq!(subject.tracker.pin_queue_len(), 0);
}

async fn knows_nothing_of_what_is_not_pinned(subject: Subject) {
    assert_eq!(subject.tracker.status(&cid(1)).await.status.status, TrackerStatus::UNPINNED);
    assert_eq!(subject.tracker.recover(&cid(1)).await, Err(TrackerError::NotPinned));
    assert!(list(&subject.tracker, TrackerStatus::UNDEFINED).await.is_empty());
    assert!(subject.state.is_empty().expect("read"));
}
