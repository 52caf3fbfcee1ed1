//! Three raft peers as processes of their own: founding, joining, and writing on while each of them dies once.

use crate::peer::{DEADLINE, Peer, service};
use crate::place::Place;
use crate::raft::{cid, named};
use cluster_datastore::{FjallOptions, FjallStore};
use cluster_types::store::{DatastoreRead, DatastoreReadExt, Table};
use futures::StreamExt;
use serde_json::json;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than the reference's and ours together need to elect somebody else, on a busy machine.
pub(crate) const ELECTION: Duration = Duration::from_secs(15);

fn founder() -> Place {
    of("raft")
}

pub(crate) fn of(consensus: &str) -> Place {
    Place::new(&["--consensus", consensus], "127.0.0.1")
}

/// Three that will found a cluster together, each of which trusts these three.
pub(crate) fn three(consensus: &str) -> Vec<Place> {
    let places: Vec<Place> = (0..3).map(|_| of(consensus)).collect();
    let members: Vec<String> = places.iter().map(|place| place.id.clone()).collect();
    for place in &places {
        let others: Vec<String> = places.iter().map(|o| o.address.clone()).filter(|a| *a != place.address).collect();
        let key = if consensus == "raft" { "init_peerset" } else { "trusted_peers" };
        place.configure(&others, |file| file["consensus"][consensus][key] = json!(members));
    }
    places
}

/// Starts them at the same time: none is ready before most of them run.
pub(crate) fn start_all(places: &[Place]) -> Vec<Peer> {
    std::thread::scope(|scope| {
        let starting: Vec<_> = places.iter().map(|place| scope.spawn(|| Peer::start(place.path()))).collect();
        starting.into_iter().map(|peer| peer.join().expect("it starts")).collect()
    })
}

pub(crate) async fn pin_until(peer: &Peer, number: u8, deadline: Duration) -> Duration {
    let begun = Instant::now();
    loop {
        match peer.client().pin(&cid(number), &named("p")).await {
            Ok(_) => return begun.elapsed(),
            Err(error) => assert!(begun.elapsed() < deadline, "{error}"),
        }
    }
}

pub(crate) fn has_all(peer: &Peer, count: usize) {
    let begun = Instant::now();
    loop {
        let found = peer.ctl(&["pin", "ls"]).stdout.lines().count();
        if found == count {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{found} of {count} pins are there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_three_raft_peers_write_on_while_each_dies_once_and_lose_nothing() {
    let places = three("raft");
    let mut peers = start_all(&places);
    let mut count = 0u8;
    for peer in &peers {
        for _ in 0..5 {
            pin_until(peer, count, ELECTION).await;
            count += 1;
        }
    }
    for dead in 0..3 {
        peers[dead].kill();
        let other = &peers[(dead + 1) % 3];
        let took = pin_until(other, count, ELECTION).await;
        println!("peer {dead} killed: written again after {took:?}");
        count += 1;
        pin_until(&peers[(dead + 2) % 3], count, ELECTION).await;
        count += 1;
        peers[dead] = peers[dead].again();
    }
    for peer in &peers {
        has_all(peer, usize::from(count));
    }
    for peer in &mut peers {
        assert!(peer.stop().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_a_raft_peer_joins_with_what_it_had_kept_aside() {
    let (first, second) = (founder(), founder());
    first.configure(&[], |_| ());
    second.configure(&[], |_| ());
    let founder = Peer::start(first.path());
    for number in 0..10 {
        founder.client().pin(&cid(number), &named("p")).await.expect("pinned");
    }
    let mut alone = Peer::start(second.path());
    alone.client().pin(&cid(200), &named("its own")).await.expect("pinned");
    assert!(alone.stop().success());

    let mut joined = Peer::start_with(second.path(), &["--bootstrap", &first.address]);
    has_all(&joined, 10);
    joined.client().pin(&cid(100), &named("through the second")).await.expect("pinned");
    has_all(&founder, 11);
    let kept = std::fs::read_to_string(second.path().join("raft.old.0.json")).expect("a backup");
    assert!(kept.contains("its own") && kept.lines().count() == 1, "{kept}");

    // Both are needed from now on: alone, the founder acknowledges nothing.
    joined.kill();
    assert!(founder.client().pin(&cid(101), &named("alone")).await.is_err());
}

/// More of them with `CLUSTER_BEHIND`.
const BEHIND: u64 = 600;

/// Longer than a peer may take to be in step again, its start included.
const CATCH_UP: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn proc_a_raft_peer_that_is_far_behind_is_in_step_soon() {
    let behind = std::env::var("CLUSTER_BEHIND").ok().and_then(|n| n.parse().ok()).unwrap_or(BEHIND);
    let places = three("raft");
    for place in &places {
        let others: Vec<String> = places.iter().map(|o| o.address.clone()).filter(|a| *a != place.address).collect();
        place.configure(&others, |file| {
            file["consensus"]["raft"]["snapshot_threshold"] = json!(100);
            file["consensus"]["raft"]["trailing_logs"] = json!(1);
        });
    }
    let mut peers = start_all(&places);
    pin_until(&peers[0], 0, ELECTION).await;
    peers[2].kill();
    pin_until(&peers[0], 1, ELECTION).await;
    let clients = (0..8).map(|first: u64| {
        let client = peers[usize::from(first.is_multiple_of(2))].client();
        tokio::spawn(async move {
            for number in (first..behind).step_by(8) {
                client.pin(&crate::crash::cid(number + 1), &named("p")).await.expect("pinned");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("no panic");
    }

    let begun = Instant::now();
    peers[2] = peers[2].again();
    let took = begun.elapsed();

    println!("{behind} pins behind: in step {took:?} after its start");
    let listed = peers[2].client().allocations("").await.expect("a list").count().await as u64;
    assert_eq!(listed, behind + 2, "it is ready when it has everything");
    assert!(took < CATCH_UP, "it took {took:?}");
    peers.iter_mut().for_each(|peer| assert!(peer.stop().success()));
    let first = places.iter().map(|place| first_and_last_entry(place.path())).collect::<Vec<_>>();
    println!("first and last entry of the logs: {first:?}");
    assert!(first.iter().all(|(first, _)| *first > 64), "what it lacked was in no log any more: {first:?}");
}

/// What the log of a peer that does not run begins and ends with.
fn first_and_last_entry(folder: &std::path::Path) -> (u64, u64) {
    let store = FjallStore::open(folder.join("fjall"), FjallOptions::default()).expect("a store");
    let index = |key: &[u8]| u64::from_be_bytes(key.try_into().expect("an index"));
    let first = store.page(Table::RaftLog, std::ops::Bound::Unbounded, 1).expect("read");
    let last = store.last(Table::RaftLog).expect("read").expect("an entry");
    store.close().expect("closed");
    (index(&first[0].0), index(&last.0))
}

#[test]
fn a_bootstrap_address_that_is_none_is_refused_by_name() {
    let place = founder();
    let mut command: Command = service();
    command.arg("--config").arg(place.path()).args(["daemon", "--bootstrap", "/ip4/127.0.0.1/tcp/9096"]);
    let output = command.stdin(Stdio::null()).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("(/ip4/127.0.0.1/tcp/9096): it does not end with /p2p/"), "{text}");
}
