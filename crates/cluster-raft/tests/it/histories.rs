//! Clients at all peers while leaders die, links break and messages are lost: what they saw could have come from one copy
//! of the pinset, everything acknowledged is there in the end, and all peers agree.

use crate::world::{Kind, World};
use cluster_component::component::Consensus;
use cluster_raft::RaftConsensus;
use cluster_testkit::Chance;
use cluster_testkit::contract::{cid, pin};
use cluster_testkit::history::{Event, Op, is_linearizable};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Values that clients work on.
const ITEMS: u64 = 6;

/// Rounds of faults.
const ROUNDS: usize = 6;

type History = Arc<Mutex<BTreeMap<u64, Vec<Event>>>>;

/// What went wrong on purpose, to see that it is noticed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// Reads do not ask the leader how far they must see.
    StaleReads,
}

struct Client {
    chance: Chance,
    history: History,
    began: Instant,
    planted: Planted,
    /// Written next; each value is written once.
    next: u64,
}

impl Client {
    async fn act(&mut self, peer: &Arc<RaftConsensus>) {
        let item = self.chance.below(ITEMS);
        let asked = self.began.elapsed();
        let (op, known) = match self.chance.below(10) {
            0..4 => {
                self.next += 1;
                let name = self.next.to_string();
                (Op::Write(Some(self.next)), peer.log_pin(pin(item, &name)).await.is_ok())
            }
            4..5 => (Op::Write(None), peer.log_unpin(&cid(item)).await.is_ok()),
            _ => {
                let in_step = self.planted == Planted::StaleReads || peer.wait_for_sync().await.is_ok();
                // A peer whose power failed meanwhile says nothing.
                let found = peer.state().get(&cid(item));
                let known = in_step && found.is_ok();
                let value = found.ok().flatten().map(|pin| pin.options.name.parse().expect("a number"));
                (Op::Read(value), known)
            }
        };
        let answered = known.then(|| self.began.elapsed());
        self.history.lock().expect("no panic").entry(item).or_default().push(Event { op, asked, answered });
    }
}

async fn run(seed: u64, kind: Kind, planted: Planted) -> History {
    let mut world = World::new(seed, 3, kind);
    world.config.snapshot_threshold = 20;
    world.config.trailing_logs = 3;
    world.config.network_timeout = cluster_types::GoDuration::from_secs(2);
    world.config.wait_for_leader_timeout = cluster_types::GoDuration::from_secs(3);
    for at in 0..3 {
        world.start(at).await.expect("started");
    }
    world.leader().await;
    let chance = Chance::new(seed ^ 0xfau64);
    let history: History = Arc::default();
    for _ in 0..ROUNDS {
        let mut clients = Vec::new();
        for at in (0..3).filter(|at| world.is_running(*at)) {
            let (peer, history) = (world.at(at), Arc::clone(&history));
            let next = (chance.below(1 << 20)) << 20;
            let mut client = Client { chance: Chance::new(chance.next()), history, began: began(), planted, next };
            clients.push(tokio::spawn(async move {
                for _ in 0..6 {
                    client.act(&peer).await;
                    tokio::time::sleep(Duration::from_millis(client.chance.below(400))).await;
                }
            }));
        }
        fault(&mut world, &chance).await;
        for client in clients {
            client.await.expect("no panic");
        }
        for at in 0..3 {
            if !world.is_running(at) {
                world.start(at).await.expect("started again");
            }
        }
        world.heal();
    }
    world.leader().await;
    let mut last = Vec::new();
    for at in 0..3 {
        world.at(at).wait_for_sync().await.expect("in step");
        let pins = world.at(at).state().page(None, 100).expect("a page");
        last.push(pins.into_iter().map(|pin| (pin.cid, pin.options.name)).collect::<Vec<_>>());
    }
    assert_eq!((&last[0], &last[1]), (&last[1], &last[2]), "seed {seed}: the peers differ");
    // In the end a client reads everything.
    for item in 0..ITEMS {
        let asked = began().elapsed();
        let value = world.at(0).state().get(&cid(item)).expect("read").map(|pin| pin.options.name.parse().expect("n"));
        let event = Event { op: Op::Read(value), asked, answered: Some(asked) };
        history.lock().expect("no panic").entry(item).or_default().push(event);
    }
    world.stop_all().await;
    history
}

thread_local! {
    static BEGAN: Instant = Instant::now();
}

/// The clients share one clock.
fn began() -> Instant {
    BEGAN.with(|began| *began)
}

async fn fault(world: &mut World, chance: &Chance) {
    tokio::time::sleep(Duration::from_millis(chance.below(600))).await;
    let victim = chance.place(3);
    match chance.below(5) {
        0 => world.crash(victim).await,
        1 => {
            let leader = world.leader().await;
            world.crash(leader).await;
        }
        2 => {
            let leader = world.leader().await;
            world.part(&[leader]);
        }
        3 => world.part(&[victim]),
        _ => world.lan.loss.store(80, Ordering::Relaxed),
    }
    tokio::time::sleep(Duration::from_millis(chance.below(2_000))).await;
}

fn first_that_is_not(history: &History) -> Option<(u64, Vec<Event>)> {
    let history = history.lock().expect("no panic");
    history.iter().find(|(_, events)| !is_linearizable(events)).map(|(item, events)| (*item, events.clone()))
}

#[tokio::test(start_paused = true)]
async fn sim_reads_and_writes_under_faults_are_linearizable() {
    for seed in 0..30 {
        let kind = if seed % 2 == 0 { Kind::Disk } else { Kind::Memory };
        let history = run(seed, kind, Planted::Nothing).await;
        let wrong = first_that_is_not(&history);
        assert!(wrong.is_none(), "seed {seed}: {wrong:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sim_reads_that_do_not_ask_the_leader_are_noticed() {
    for seed in 0..40 {
        if first_that_is_not(&run(seed, Kind::Disk, Planted::StaleReads).await).is_some() {
            return;
        }
    }
    panic!("no seed showed a stale read");
}
