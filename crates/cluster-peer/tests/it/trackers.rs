//! Every tracker keeps the contract; what each remembers beyond the process is as it says.

use cluster_component::component::{Component, Consensus, IpfsConnector, PinTracker, PinsetChange};
use cluster_component::ports::{Clock, Entropy};
use cluster_component::tasks::TaskScope;
use cluster_component::trace::Tracer;
use cluster_core::pinset::leaving::Report;
use cluster_datastore::MemoryStore;
use cluster_peer::pintracker::{MapTrackerConfig, Parts, StatelessConfig, Tracked, maptracker, stateless};
use cluster_peer::state::mapstate::MapState;
use cluster_testkit::contract::tracker::Subject;
use cluster_testkit::contract::{self, cid, pin};
use cluster_testkit::{FakeConnector, FakeConsensus, ManualClock, TokioSpawn, eventually};
use cluster_types::store::Datastore;
use cluster_types::{Cid, IpfsId, IpfsPinStatus, PeerId, TrackerStatus};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;

struct NoChance;

impl Entropy for NoChance {
    fn next_u64(&self) -> u64 {
        0
    }

    fn fork(&self) -> Box<dyn Entropy> {
        Box::new(NoChance)
    }
}

/// A peer's world, of which the tracker is made anew at each start.
struct World {
    me: PeerId,
    store: Arc<MemoryStore>,
    daemon: Arc<FakeConnector>,
    consensus: Arc<FakeConsensus<MapState>>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        let me = PeerId::random();
        Self {
            me,
            store: Arc::new(MemoryStore::new()),
            daemon: Arc::new(FakeConnector::default()),
            consensus: Arc::new(FakeConsensus::new(me, Arc::new(MapState::new()))),
            clock: Arc::new(ManualClock::default()),
        }
    }

    fn parts(&self) -> Parts {
        Parts {
            me: self.me,
            whoami: Arc::new(|| ("peer".into(), IpfsId { id: None, addresses: Vec::new() })),
            store: Arc::clone(&self.store) as Arc<dyn Datastore>,
            consensus: Arc::clone(&self.consensus) as Arc<dyn Consensus>,
            connector: Arc::clone(&self.daemon) as Arc<dyn IpfsConnector>,
            others: Arc::new(|_, _| std::future::ready(Report::Holds).boxed()),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            entropy: Box::new(NoChance),
            tracer: Tracer::default(),
        }
    }

    /// A tracker that runs, and its tasks.
    async fn start(&self, make: fn(Parts) -> Tracked) -> (Arc<dyn PinTracker>, TaskScope) {
        let tracker = Arc::new(make(self.parts()));
        let tasks = TaskScope::new(Arc::new(TokioSpawn));
        Arc::clone(&tracker).start(&tasks).await.expect("started");
        (tracker, tasks)
    }
}

fn on_disk(parts: Parts) -> Tracked {
    stateless(&StatelessConfig::default(), parts)
}

fn in_memory(parts: Parts) -> Tracked {
    maptracker(&MapTrackerConfig::default(), parts)
}

fn subject(make: fn(Parts) -> Tracked) -> BoxFuture<'static, Subject> {
    async move {
        let world = World::new();
        let (tracker, _tasks) = world.start(make).await;
        // Time goes on while the test waits, so that what is put off comes about.
        let clock = Arc::clone(&world.clock);
        drop(tokio::spawn(async move {
            loop {
                clock.advance(Duration::from_millis(100));
                tokio::task::yield_now().await;
            }
        }));
        let change = {
            let consensus = Arc::clone(&world.consensus);
            Arc::new(move |change| consensus.change(change).expect("changed"))
        };
        let other = Arc::clone(&change);
        Subject {
            tracker,
            daemon: world.daemon,
            log_pin: Box::new(move |pin| change(PinsetChange::Pinned(Arc::new(pin)))),
            log_unpin: Box::new(move |cid| other(PinsetChange::Unpinned(cid))),
            state: world.consensus.state(),
        }
    }
    .boxed()
}

#[tokio::test]
async fn the_tracker_with_its_index_on_disk_keeps_the_contract() {
    contract::tracker::run(&mut || subject(on_disk)).await;
}

#[tokio::test]
async fn the_tracker_with_its_index_in_memory_keeps_the_contract() {
    contract::tracker::run(&mut || subject(in_memory)).await;
}

async fn status(tracker: &Arc<dyn PinTracker>, number: u64) -> TrackerStatus {
    tracker.status(&cid(number)).await.status.status
}

/// A million pins that the daemon holds are not each asked for at every start.
#[tokio::test]
async fn the_index_in_memory_is_made_anew_from_what_the_daemon_holds() {
    let world = World::new();
    for number in 0..30 {
        world.consensus.log_pin(pin(number, "p")).await.expect("pinned");
        world.daemon.world().pins.insert(cid(number), IpfsPinStatus::Recursive);
    }
    world.daemon.world().pins.remove(&cid(7));

    let (tracker, tasks) = world.start(in_memory).await;
    eventually("all are held", || world.daemon.holds(&cid(7)).is_some()).await;
    eventually("all are at rest", || tracker.pin_queue_len() == 0).await;

    let asked: Vec<_> = world.daemon.world().calls.iter().filter(|call| call.starts_with("pin b")).cloned().collect();
    assert_eq!(asked, [format!("pin {}", cid(7))]);
    assert_eq!(status(&tracker, 3).await, TrackerStatus::PINNED);
    tasks.stop().await;
}

/// What was to be unpinned when the process ended is known to the index on disk, and to nobody else.
#[tokio::test]
async fn only_the_index_on_disk_remembers_what_was_to_be_unpinned() {
    for (make, remembers) in [(on_disk as fn(Parts) -> Tracked, true), (in_memory, false)] {
        let world = World::new();
        world.consensus.log_pin(pin(1, "p")).await.expect("pinned");
        let (tracker, tasks) = world.start(make).await;
        eventually("it is held", || world.daemon.holds(&cid(1)).is_some()).await;
        eventually("that is known", || tracker.pin_queue_len() == 0).await;
        world.daemon.world().stuck.insert(cid(1), "busy".into());
        world.consensus.log_unpin(&cid(1)).await.expect("unpinned");
        world.clock.advance(Duration::from_secs(2));
        let failed = || status(&tracker, 1).now_or_never() == Some(TrackerStatus::UNPIN_ERROR);
        eventually("unpinning failed", failed).await;
        tracker.shutdown().await;
        tasks.stop().await;

        world.daemon.world().stuck.clear();
        let (tracker, tasks) = world.start(make).await;
        if remembers {
            world.clock.advance(Duration::from_secs(600));
            eventually("it is let go", || world.daemon.holds(&cid(1)).is_none()).await;
        } else {
            assert_eq!(status(&tracker, 1).await, TrackerStatus::UNPINNED);
        }
        tasks.stop().await;
    }
}

/// The clock of these tests moves only when it is told to.
#[tokio::test]
async fn nothing_is_tried_again_before_its_time() {
    let world = World::new();
    world.daemon.world().unpinnable.insert(cid(1), "no".into());
    world.consensus.log_pin(pin(1, "p")).await.expect("pinned");
    let (tracker, tasks) = world.start(in_memory).await;
    let failed = || status(&tracker, 1).now_or_never() == Some(TrackerStatus::PIN_ERROR);
    eventually("pinning failed", failed).await;

    world.daemon.world().unpinnable.clear();
    world.clock.advance(Duration::from_millis(900));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&tracker, 1).await, TrackerStatus::PIN_ERROR);

    world.clock.advance(Duration::from_secs(2));
    eventually("it is held", || world.daemon.holds(&cid(1)).is_some()).await;
    tasks.stop().await;
}

async fn listed(tracker: &Arc<dyn PinTracker>, filter: TrackerStatus) -> Vec<(Cid, TrackerStatus)> {
    let pages: Vec<_> = Arc::clone(tracker).status_all(filter).collect().await;
    let infos = pages.into_iter().flat_map(|page| page.expect("a page"));
    infos.map(|info| (info.cid, info.status.status)).collect()
}

fn in_listing_order(numbers: impl IntoIterator<Item = u64>) -> Vec<Cid> {
    let mut cids: Vec<Cid> = numbers.into_iter().map(cid).collect();
    cids.sort_by_key(Cid::sort_key);
    cids
}

/// The index knows nothing of a pin before it was compared with the pinset: what waits was listed as nothing then.
#[tokio::test]
async fn pins_without_rows_are_listed_as_queued_before_the_first_comparison() {
    for make in [on_disk as fn(Parts) -> Tracked, in_memory] {
        let world = World::new();
        for number in 0..2_500 {
            world.consensus.log_pin(pin(number, "p")).await.expect("pinned");
        }

        // Nothing of the tracker has run yet: this test's thread is the only one.
        let (tracker, tasks) = world.start(make).await;
        let queued = listed(&tracker, TrackerStatus::QUEUED).await;

        let expected = in_listing_order(0..2_500).into_iter().map(|cid| (cid, TrackerStatus::PIN_QUEUED));
        assert_eq!(queued, expected.collect::<Vec<_>>());
        tasks.stop().await;
    }
}

/// Work is begun once its record is durable. What was given up until then was begun all the same, and ended after what was
/// wanted instead: the daemon held what belongs to others, or let go of what it should hold.
#[tokio::test]
async fn work_that_is_given_up_before_it_begins_does_not_begin() {
    let world = World::new();
    let (tracker, tasks) = world.start(on_disk).await;
    world.consensus.log_pin(pin(2, "p")).await.expect("pinned");
    eventually("it works", || world.daemon.holds(&cid(2)).is_some()).await;

    let mut elsewhere = pin(1, "p");
    elsewhere.allocations = vec![PeerId::random()];
    (elsewhere.options.replication_factor_min, elsewhere.options.replication_factor_max) = (1, 1);
    let (state, order, clock) = (Arc::clone(&world.consensus), Arc::clone(&tracker), Arc::clone(&world.clock));
    let given_to_others = move || {
        clock.advance(Duration::from_millis(1));
        state.change(PinsetChange::Pinned(Arc::new(elsewhere.clone()))).expect("changed");
        order.track(elsewhere).now_or_never().expect("at once").expect("tracked");
    };
    world.store.during_next_sync(given_to_others);
    // No two items are due in the same moment.
    world.clock.advance(Duration::from_millis(1));
    world.consensus.log_pin(pin(1, "p")).await.expect("pinned");
    let asked = |call: String| world.daemon.world().calls.contains(&call);
    eventually("it is let go of", || asked(format!("unpin {}", cid(1)))).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }

    assert!(!asked(format!("pin {}", cid(1))), "{:?}", world.daemon.world().calls);
    assert_eq!(tracker.status(&cid(1)).await.status.status, TrackerStatus::REMOTE);
    tasks.stop().await;
}

/// Items wait in the order in which they are due, and are listed in that of their names: other peers merge such lists.
#[tokio::test]
async fn what_failed_is_listed_in_the_listing_order_with_what_is_to_be_unpinned() {
    let world = World::new();
    let (tracker, tasks) = world.start(on_disk).await;
    world.consensus.log_pin(pin(99, "p")).await.expect("pinned");
    eventually("it is held", || world.daemon.holds(&cid(99)).is_some()).await;
    world.daemon.world().stuck.insert(cid(99), "busy".into());
    for number in (0..20).rev() {
        world.daemon.world().unpinnable.insert(cid(number), "no".into());
        world.consensus.log_pin(pin(number, "p")).await.expect("pinned");
        world.clock.advance(Duration::from_millis(10));
    }
    world.consensus.log_unpin(&cid(99)).await.expect("unpinned");
    let working = TrackerStatus::QUEUED | TrackerStatus::PINNING | TrackerStatus::UNPINNING | TrackerStatus::ERROR;
    let all_known = || listed(&tracker, working).now_or_never().is_some_and(|list| list.len() == 21);
    eventually("all have rows", all_known).await;

    let cids: Vec<Cid> = listed(&tracker, working).await.into_iter().map(|(cid, _)| cid).collect();
    assert_eq!(cids, in_listing_order((0..20).chain([99])));
    tasks.stop().await;
}
