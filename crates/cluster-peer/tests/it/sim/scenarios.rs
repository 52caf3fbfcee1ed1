//! Clusters of several peers on a good day, and on days on which one thing goes wrong.

use super::peer::{Directory, Ground, Peer, Setup};
use cluster_component::component::Cluster as _;
use cluster_component::errors::ClusterError;
use cluster_component::ports::Clock;
use cluster_peer::cluster::MainCluster;
use cluster_testkit::{Chance, Net, Scheduler};
use cluster_types::{Cid, GlobalPinInfo, Multiaddr, PeerId, Pin, PinOptions, TrackerStatus};
use futures::StreamExt;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Longer than any order may take, in the world's time.
const ORDER_MAX: Duration = Duration::from_secs(120);

/// After so long a peer that is gone is no member.
const DEAD_AFTER: Duration = Duration::from_secs(50);

struct Cluster {
    scheduler: Scheduler,
    net: Net,
    chance: Chance,
    directory: Directory,
    peers: Vec<Peer>,
}

fn setup(factor_min: i32, factor_max: i32) -> Setup {
    Setup { factor_min, factor_max, repins: false, leaves: false, heedless: false, trusted: vec!["*".into()] }
}

fn cid(number: u8) -> Cid {
    let mut bytes = vec![0x01, 0x55, 0x12, 0x20];
    bytes.extend([number; 32]);
    Cid::from_bytes(&bytes).expect("a CID")
}

impl Cluster {
    fn of(count: usize, setup: &Setup) -> Self {
        Self::with(vec![setup.clone(); count])
    }

    fn with(setups: Vec<Setup>) -> Self {
        let scheduler = Scheduler::new(1);
        let chance = Chance::new(2);
        let net = Net::new(3, scheduler.clock(0), scheduler.spawner(0));
        let directory = Directory::new(&net);
        let mut cluster = Self { scheduler, net, chance, directory, peers: Vec::new() };
        for (number, setup) in setups.into_iter().enumerate() {
            let peer = Peer::new(number, setup, &cluster.ground());
            cluster.peers.push(peer);
            cluster.change(number, Peer::start);
        }
        cluster.run(20);
        cluster
    }

    fn ground(&self) -> Ground<'_> {
        Ground { scheduler: &self.scheduler, net: &self.net, chance: &self.chance, directory: &self.directory }
    }

    fn change(&mut self, number: usize, change: impl FnOnce(&mut Peer, &Ground<'_>)) {
        let Self { scheduler, net, chance, directory, peers } = self;
        change(&mut peers[number], &Ground { scheduler, net, chance, directory });
    }

    fn crash(&mut self, number: usize) {
        self.change(number, |peer, ground| peer.crash(ground, false));
    }

    fn run(&self, secs: u64) {
        self.scheduler.run_for(Duration::from_secs(secs));
    }

    /// Asks a peer's main component.
    fn ask<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        number: usize,
        question: impl FnOnce(Arc<MainCluster>) -> F,
    ) -> T {
        let cluster = self.peers[number].cluster().expect("it runs");
        self.scheduler.complete(ORDER_MAX, question(cluster)).expect("it ends")
    }

    fn pin(&self, number: usize, item: u8) -> Pin {
        self.ask(number, move |c| async move { c.pin(cid(item), PinOptions::default()).await }).expect("pinned")
    }

    fn stored(&self, number: usize, item: u8) -> Option<Pin> {
        self.ask(number, move |c| async move { c.pin_get(&cid(item)).await }).ok()
    }

    fn status(&self, number: usize, item: u8) -> GlobalPinInfo {
        self.ask(number, move |c| async move { c.status(&cid(item)).await }).expect("a status")
    }

    fn status_all(&self, number: usize) -> Vec<GlobalPinInfo> {
        self.ask(number, |c| async move {
            let mut pages = c.status_all(TrackerStatus::UNDEFINED);
            let mut all = Vec::new();
            while let Some(page) = pages.next().await {
                all.extend(page.expect("a page"));
            }
            all
        })
    }

    fn members(&self, number: usize) -> BTreeSet<PeerId> {
        let info = self.ask(number, |c| async move { c.id().await });
        info.cluster_peers.unwrap_or_default().into_iter().collect()
    }

    fn id(&self, number: usize) -> PeerId {
        self.peers[number].id
    }

    fn is_removed(&self, number: usize) -> bool {
        *self.peers[number].cluster().expect("it runs").removal().borrow()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..self.peers.len()).for_each(|number| self.crash(number));
        self.scheduler.end();
    }
}

/// How many peers say so.
fn count(info: &GlobalPinInfo, status: TrackerStatus) -> usize {
    info.peer_map.values().filter(|short| short.status == status).count()
}

#[test]
fn a_pin_is_at_as_many_peers_as_it_shall_be_and_everybody_tells_so() {
    let mut cluster = Cluster::of(3, &setup(2, 2));
    assert_eq!(cluster.members(0).len(), 3);
    let pin = cluster.pin(0, 1);
    cluster.run(5);

    for number in 0..3 {
        let one = cluster.status(number, 1);
        assert_eq!((count(&one, TrackerStatus::PINNED), count(&one, TrackerStatus::REMOTE)), (2, 1), "{one:?}");
        let all = cluster.status_all(number);
        assert_eq!(
            (all.len(), count(&all[0], TrackerStatus::PINNED), count(&all[0], TrackerStatus::REMOTE)),
            (1, 2, 1)
        );
    }

    // One that holds it dies: told as an error until it is no member, and of the item itself for good.
    let dead = (0..3).find(|n| pin.allocations.contains(&cluster.id(*n))).expect("a holder");
    let alive = (dead + 1) % 3;
    cluster.crash(dead);
    let one = cluster.status(alive, 1);
    let entry = &one.peer_map[&cluster.id(dead)];
    assert_eq!((entry.status, entry.peername.is_empty()), (TrackerStatus::CLUSTER_ERROR, false), "{entry:?}");
    assert!(entry.error.starts_with("failed to dial"), "{entry:?}");
    assert_eq!(count(&cluster.status_all(alive)[0], TrackerStatus::CLUSTER_ERROR), 1);

    cluster.scheduler.run_for(DEAD_AFTER);
    assert_eq!(cluster.members(alive).len(), 2);
    assert_eq!(count(&cluster.status_all(alive)[0], TrackerStatus::CLUSTER_ERROR), 0);
    assert_eq!(count(&cluster.status(alive, 1), TrackerStatus::CLUSTER_ERROR), 1);
}

#[test]
fn a_peer_that_is_put_out_loses_its_pins_and_stays_out_although_it_pings() {
    let mut cluster = Cluster::of(4, &setup(2, 2));
    (0..12).for_each(|item| drop(cluster.pin(0, item)));
    cluster.run(5);
    let (out, asleep) = (1, 2);
    assert!(cluster.stored(0, 0).is_some_and(|pin| pin.allocations.contains(&cluster.id(out))), "it holds some");
    cluster.crash(asleep);
    cluster.run(2);
    let gone = cluster.id(out);

    cluster.ask(0, move |c| async move { c.peer_remove(gone).await }).expect("it is put out");
    cluster.run(10);

    for item in 0..12 {
        let pin = cluster.stored(0, item).expect("it is there");
        assert!(!pin.allocations.contains(&gone) && pin.allocations.len() == 2, "{pin:?}");
    }
    assert!(cluster.is_removed(out), "it was told");

    // It goes on pinging, others restart, and one that was asleep learns of it.
    cluster.change(asleep, Peer::start);
    cluster.crash(0);
    cluster.change(0, Peer::start);
    cluster.run(60);
    for number in [0, 3, asleep] {
        assert!(!cluster.members(number).contains(&gone), "at {number}");
    }
    assert!((0..12).all(|item| cluster.peers[out].daemon.holds(&cid(item)).is_none()), "it let go");

    // It can be taken in again.
    cluster.ask(3, move |c| async move { c.peer_add(gone).await }).expect("it is taken in");
    cluster.run(30);
    for number in [0, 3, asleep] {
        assert!(cluster.members(number).contains(&gone), "at {number}");
    }
}

#[test]
fn a_peer_that_leaves_when_it_stops_is_gone_at_once_and_back_when_it_starts() {
    for leaves in [true, false] {
        let mut cluster = Cluster::of(3, &Setup { leaves, ..setup(-1, -1) });
        cluster.pin(0, 1);
        cluster.run(5);
        let (left, members) = (cluster.id(2), |cluster: &Cluster| cluster.members(0).len());
        cluster.change(2, Peer::stop);
        cluster.run(3);
        assert_eq!(members(&cluster), if leaves { 2 } else { 3 }, "leaves: {leaves}");

        cluster.change(2, Peer::start);
        cluster.run(20);
        assert!(cluster.members(0).contains(&left) && !cluster.is_removed(2));
        assert!(cluster.stored(2, 1).is_some(), "what it had is there");
    }
}

#[test]
fn a_peer_that_is_needed_is_not_put_out() {
    let cluster = Cluster::of(2, &setup(2, 2));
    cluster.pin(0, 1);
    cluster.run(5);
    let other = cluster.id(1);

    let refused = cluster.ask(0, move |c| async move { c.peer_remove(other).await });

    assert!(
        matches!(&refused, Err(ClusterError::Invalid(text)) if text.contains("Nothing was changed")),
        "{refused:?}"
    );
    assert_eq!(cluster.members(0).len(), 2);
    assert_eq!(cluster.stored(0, 1).map(|pin| pin.allocations.len()), Some(2));

    let alone = Cluster::of(1, &setup(-1, -1));
    let me = alone.id(0);
    let refused = alone.ask(0, move |c| async move { c.peer_remove(me).await });
    assert!(refused.is_err_and(|e| e.to_string().contains("1-peer cluster")));
}

#[test]
fn pins_of_a_dead_peer_go_to_others_if_that_is_wanted() {
    for repins in [true, false] {
        let mut cluster = Cluster::of(4, &Setup { repins, ..setup(2, 2) });
        (0..8).for_each(|item| drop(cluster.pin(0, item)));
        cluster.run(5);
        let dead = cluster.id(1);
        let before: Vec<_> = (0..8).map(|item| cluster.stored(0, item)).collect();
        cluster.crash(1);
        cluster.run(200);

        let after: Vec<_> = (0..8).map(|item| cluster.stored(0, item)).collect();
        if repins {
            let live = |pin: &Option<Pin>| {
                pin.as_ref().is_some_and(|p| p.allocations.len() == 2 && !p.allocations.contains(&dead))
            };
            assert!(after.iter().all(live), "{after:?}");
            let untouched = before.iter().zip(&after).filter(|(old, new)| old == new).count();
            let not_its = before.iter().flatten().filter(|pin| !pin.allocations.contains(&dead)).count();
            assert!(not_its < 8, "the dead one held some");
            assert_eq!(untouched, not_its, "what has enough is not written again");
            let all = cluster.status_all(0);
            assert!(all.iter().all(|info| count(info, TrackerStatus::PINNED) == 2), "{all:?}");
        } else {
            assert_eq!(before, after);
        }
    }
}

/// Nobody can take the pins over when it is found dead; the one who can comes soon after, not only with the next sync.
#[test]
fn pins_of_a_dead_peer_go_to_one_that_comes_a_little_later() {
    let mut cluster = Cluster::of(3, &Setup { repins: true, ..setup(2, 2) });
    (0..8).for_each(|item| drop(cluster.pin(0, item)));
    cluster.run(5);
    let (dead, late) = (cluster.id(1), 2);
    cluster.crash(1);
    cluster.crash(late);
    while cluster.ask(0, |c| async move { c.alerts() }).iter().all(|alert| alert.metric.peer != dead) {
        cluster.run(1);
    }
    cluster.change(late, Peer::start);
    cluster.run(40);

    let pins: Vec<Pin> = (0..8).filter_map(|item| cluster.stored(0, item)).collect();
    assert!(pins.iter().all(|pin| pin.allocations.len() == 2 && !pin.allocations.contains(&dead)), "{pins:?}");
}

/// Its messages are lost, and it answers calls: that is no death.
#[test]
fn a_silent_peer_that_answers_keeps_its_pins() {
    let cluster = Cluster::of(4, &Setup { repins: true, ..setup(2, 2) });
    (0..8).for_each(|item| drop(cluster.pin(0, item)));
    cluster.run(5);
    let before: Vec<_> = (0..8).map(|item| cluster.stored(0, item)).collect();
    assert!(before.iter().flatten().any(|pin| pin.allocations.contains(&cluster.id(1))), "it holds some");
    cluster.net.mute(&cluster.id(1));
    cluster.run(200);

    assert!(!cluster.members(0).contains(&cluster.id(1)));
    let after: Vec<_> = (0..8).map(|item| cluster.stored(0, item)).collect();
    assert_eq!(before, after);
}

#[test]
fn alerts_are_kept_after_the_first_too() {
    let mut cluster = Cluster::of(3, &setup(-1, -1));
    let dead = |cluster: &Cluster| -> BTreeSet<PeerId> {
        let alerts = cluster.ask(0, |c| async move { c.alerts() });
        alerts.iter().filter(|alert| alert.metric.name == "ping").map(|alert| alert.metric.peer).collect()
    };
    cluster.crash(1);
    cluster.scheduler.run_for(DEAD_AFTER);
    assert_eq!(dead(&cluster), BTreeSet::from([cluster.id(1)]));

    cluster.crash(2);
    cluster.scheduler.run_for(DEAD_AFTER);
    assert_eq!(dead(&cluster), BTreeSet::from([cluster.id(1), cluster.id(2)]));
}

#[test]
fn what_failed_at_one_peer_is_tried_again_from_another() {
    let cluster = Cluster::of(2, &setup(-1, -1));
    cluster.peers[1].daemon.world().unpinnable.insert(cid(1), "no such block".into());
    cluster.pin(0, 1);
    cluster.run(3);
    let failed = cluster.status(0, 1);
    assert_eq!((count(&failed, TrackerStatus::PINNED), count(&failed, TrackerStatus::PIN_ERROR)), (1, 1), "{failed:?}");

    cluster.peers[1].daemon.world().unpinnable.clear();
    let told = cluster.ask(0, |c| async move { c.recover(&cid(1)).await }).expect("recovered");
    assert_eq!(told.peer_map.len(), 2);
    cluster.run(1);
    assert_eq!(count(&cluster.status(0, 1), TrackerStatus::PINNED), 2);
}

#[test]
fn graph_and_collections_tell_of_each_peer() {
    let mut cluster = Cluster::of(3, &setup(-1, -1));
    cluster.peers[1].daemon.set_down(true);
    cluster.crash(2);

    let graph = cluster.ask(0, |c| async move { c.connect_graph().await }).expect("a graph");
    let (me, second, dead) = (cluster.id(0), cluster.id(1), cluster.id(2));
    assert_eq!(graph.cluster_links[&me], [second], "{graph:?}");
    assert_eq!(graph.cluster_links[&second], [me]);
    assert!(graph.cluster_links[&dead].is_empty() && !graph.id_to_peername.contains_key(&dead));
    assert!(graph.cluster_to_ipfs.contains_key(&me) && !graph.cluster_to_ipfs.contains_key(&second));

    let collected = cluster.ask(0, |c| async move { c.repo_gc().await }).expect("collected");
    assert_eq!(collected.peer_map[&me].error, "");
    assert!(collected.peer_map[&second].error.contains("connection refused"));
    assert!(collected.peer_map[&dead].error.starts_with("failed to dial"));
}

/// The first trusts only itself and the second.
#[test]
fn a_stranger_changes_nothing_and_is_told_nothing() {
    let names: Vec<String> = (0..2).map(|number| super::peer::name_of(number).to_string()).collect();
    let closed = Setup { trusted: names, ..setup(-1, -1) };
    let cluster = Cluster::with(vec![closed.clone(), closed, setup(-1, -1)]);
    cluster.pin(0, 1);
    cluster.ask(2, |c| async move { c.pin(cid(2), PinOptions::default()).await }).expect("at its own peer");
    cluster.run(60);

    assert!(cluster.stored(2, 1).is_some(), "a stranger may follow");
    assert!(cluster.stored(0, 2).is_none() && cluster.stored(1, 2).is_none());
    let seen = cluster.status(2, 1);
    assert_eq!(seen.peer_map.keys().copied().collect::<Vec<_>>(), [cluster.id(2)], "who refuses is left out");
    let known = cluster.status(0, 1);
    assert_eq!(known.peer_map.len(), 3);
    let victim = cluster.id(1);
    let refused = cluster.ask(2, move |c| async move { c.peer_remove(victim).await });
    cluster.run(30);
    assert!(cluster.members(0).contains(&victim), "{refused:?}");
}

#[test]
fn who_joins_is_a_member_at_once_and_gets_what_there_is() {
    let mut cluster = Cluster::of(2, &setup(-1, -1));
    (0..5).for_each(|item| drop(cluster.pin(0, item)));
    let newcomer = Peer::new(2, setup(-1, -1), &cluster.ground());
    cluster.peers.push(newcomer);
    cluster.change(2, Peer::start);
    let address: Multiaddr = format!("/memory/1/p2p/{}", cluster.id(0)).parse().expect("an address");

    cluster.ask(2, move |c| async move { c.join(&address).await }).expect("joined");

    assert!(cluster.members(2).contains(&cluster.id(0)) && cluster.members(0).contains(&cluster.id(2)));
    cluster.run(40);
    assert!((0..5).all(|item| cluster.peers[2].daemon.holds(&cid(item)).is_some()));

    let nowhere: Multiaddr = format!("/memory/9/p2p/{}", PeerId::random()).parse().expect("an address");
    let failed = cluster.ask(2, move |c| async move { c.join(&nowhere).await });
    assert!(failed.is_err_and(|e| e.to_string().contains("failed to dial")));
}

#[test]
fn a_pin_goes_at_its_time_by_one_peer() {
    let cluster = Cluster::of(3, &setup(-1, -1));
    let at = cluster.peers[0].clock.now().wall.saturating_add(Duration::from_secs(10));
    let options = PinOptions { expire_at: at, ..PinOptions::default() };
    cluster.ask(0, move |c| async move { c.pin(cid(1), options).await }).expect("pinned");
    cluster.run(9);
    assert!(cluster.stored(2, 1).is_some());
    cluster.run(4);
    assert!((0..3).all(|number| cluster.stored(number, 1).is_none()));
}

/// The reference's checks of pinning again.
#[test]
fn pinning_again_follows_the_factors() {
    let cluster = Cluster::of(4, &setup(1, 4));
    let with =
        |min, max| PinOptions { replication_factor_min: min, replication_factor_max: max, ..PinOptions::default() };
    let pin = |options: PinOptions| cluster.ask(0, move |c| async move { c.pin(cid(1), options).await });

    let first = pin(with(1, 3)).expect("pinned").allocations;
    assert_eq!(first.len(), 3);
    assert_eq!(pin(with(1, 3)).expect("pinned").allocations, first, "nothing moves without need");
    assert_eq!(pin(with(1, 2)).expect("pinned").allocations, first[..2], "a lower maximum cuts");
    let short = pin(with(5, 5)).expect_err("there are four");
    let text = "not enough peers to allocate CID. Needed at least: 3. Wanted at most: 3. Available candidates: 2.";
    assert!(short.to_string().starts_with(text), "{short}");
}

/// What comes about when a peer comes back whose pin was given to another that cannot get it: how many daemons hold it
/// while that is so, and once the other got it.
fn comes_back(heedless: bool) -> (usize, Vec<bool>) {
    let mut cluster = Cluster::of(3, &Setup { repins: true, heedless, ..setup(1, 1) });
    let holder = cluster.pin(0, 1).allocations[0];
    cluster.run(20);
    let first = (0..3).find(|n| cluster.id(*n) == holder).expect("a peer");
    let others: Vec<usize> = (0..3).filter(|n| *n != first).collect();
    for other in &others {
        cluster.peers[*other].daemon.world().unpinnable.insert(cid(1), "nobody has it".into());
    }
    cluster.crash(first);
    cluster.run(DEAD_AFTER.as_secs() + 120);
    let moved = cluster.stored(others[0], 1).expect("it is pinned").allocations;
    assert!(!moved.contains(&holder), "it was given to another: {moved:?}");

    cluster.change(first, Peer::start);
    cluster.run(300);
    let holds = |cluster: &Cluster, n: usize| cluster.peers[n].daemon.holds(&cid(1)).is_some();
    let meanwhile = (0..3).filter(|n| holds(&cluster, *n)).count();
    for other in &others {
        cluster.peers[*other].daemon.world().unpinnable.clear();
    }
    cluster.run(40 * 60);
    let expected = |n: usize| cluster.stored(n, 1).expect("pinned").allocations.contains(&cluster.id(n));
    (meanwhile, (0..3).map(|n| holds(&cluster, n) == expected(n)).collect())
}

/// What was found once: the only copy was unpinned by the peer that had it, since the pin was somebody else's by then.
#[test]
fn a_peer_that_comes_back_keeps_what_others_do_not_have_yet() {
    assert_eq!(comes_back(false), (1, vec![true; 3]));
    // Planted: it does not ask.
    assert_eq!(comes_back(true).0, 0);
}
