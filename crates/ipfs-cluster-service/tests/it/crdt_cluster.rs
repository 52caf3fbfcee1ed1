//! Three crdt peers as processes of their own: joining, replicating, adding elsewhere, healing, joining late, and a peer
//! that was cut off for a while.

use crate::apart;
use crate::peer::{DEADLINE, Peer};
use crate::place::Place;
use crate::raft::{cid, named};
use serde_json::{Value, json};
use std::time::Instant;

/// Held by each test of several crdt peers: they watch clocks, and together they would keep each other waiting.
pub(crate) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Quick to tell, and patient with a peer that the machine keeps waiting: a metric that ends makes nobody a candidate.
pub(crate) fn talkative(file: &mut Value) {
    file["consensus"]["crdt"]["trusted_peers"] = json!(["*"]);
    file["consensus"]["crdt"]["rebroadcast_interval"] = json!("2s");
    file["informer"]["disk"]["metric_ttl"] = json!("10s");
}

/// Quick to notice that a peer is gone, too.
fn hasty(file: &mut Value) {
    talkative(file);
    file["cluster"]["disable_repinning"] = json!(false);
    file["cluster"]["monitor_ping_interval"] = json!("1s");
    file["monitor"]["pubsubmon"]["check_interval"] = json!("1s");
}

/// Peers at 127.0.0.1 and the addresses after it, each of which knows those before.
pub(crate) fn places(count: u8, edit: fn(&mut Value)) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for number in 1..=count {
        let place = Place::new(&[], &format!("127.0.0.{number}"));
        let others: Vec<String> = places.iter().map(|place| place.address.clone()).collect();
        place.configure(&others, |file| {
            edit(file);
            file["cluster"]["peername"] = json!(format!("peer{number}"));
        });
        places.push(place);
    }
    places
}

/// Asks until the answer is right.
pub(crate) fn until(peer: &Peer, args: &[&str], right: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let answer = peer.ctl(args);
        if right(&answer.stdout) {
            return answer.stdout;
        }
        assert!(begun.elapsed() < DEADLINE, "{args:?}: {answer:?}");
    }
}

pub(crate) fn all_see(peers: &[Peer], others: usize) {
    let sees = format!("Sees {others} other peers");
    for peer in peers {
        until(peer, &["peers", "ls"], |answer| answer.matches(&sees).count() == others + 1);
    }
}

pub(crate) fn holders(status: &str) -> Vec<&str> {
    let lines = status.lines().filter(|line| line.contains(": PINNED"));
    lines.filter_map(|line| line.trim_start_matches([' ', '>']).split_whitespace().next()).collect()
}

/// Waits until `count` peers can be chosen for a pin: this one knows of each all that is allocated by.
pub(crate) fn can_choose(peer: &Peer, count: usize) {
    for metric in ["freespace", "tag:group"] {
        until(peer, &["health", "metrics", metric], |answer| {
            answer.lines().count() == count && !answer.contains(" ago")
        });
    }
}

pub(crate) fn lists(peer: &Peer, count: usize) {
    until(peer, &["pin", "ls"], |answer| answer.lines().count() == count);
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_three_crdt_peers_replicate_heal_and_bring_a_late_one_up_to_date() {
    let _alone = ALONE.lock().await;
    let places = places(3, hasty);
    let mut peers: Vec<Peer> = places[..2].iter().map(|place| Peer::start(place.path())).collect();
    all_see(&peers, 1);
    for (number, peer) in (0u8..20).zip(peers.iter().cycle()) {
        peer.client().pin(&cid(number), &named("early")).await.expect("pinned");
    }
    peers[1].client().unpin(&cid(0)).await.expect("unpinned");
    peers.iter().for_each(|peer| lists(peer, 19));

    // A late one has it all, daemons included.
    peers.push(Peer::start(places[2].path()));
    all_see(&peers, 2);
    lists(&peers[2], 19);
    let pinned = |answer: &str| holders(answer).len() == 3;
    until(&peers[2], &["status", &cid(19).to_string()], pinned);
    assert!(places[2].kubo.world().recursive.contains(&cid(19).to_string()));

    // Two of three, the third takes over from the one that dies.
    can_choose(&peers[0], 3);
    let wanted = cid(100).to_string();
    let pin = ["pin", "add", "--rmin", "2", "--rmax", "2", "--name", "two", &wanted];
    assert_eq!(peers[0].ctl(&pin).code, 0);
    let status = until(&peers[0], &["status", &wanted], |answer| holders(answer).len() == 2);
    let dies = holders(&status).into_iter().find(|name| *name != "peer1").expect("another").to_owned();
    let number = usize::from(dies.as_bytes()[4] - b'1');
    peers[number].kill();
    until(&peers[0], &["status", &wanted], |answer| {
        holders(answer).len() == 2 && !holders(answer).contains(&dies.as_str())
    });

    // What was done meanwhile reaches it when it is back.
    peers[0].client().pin(&cid(101), &named("meanwhile")).await.expect("pinned");
    peers[number] = peers[number].again();
    all_see(&peers, 2);
    peers.iter().for_each(|peer| lists(peer, 21));
    for peer in &mut peers {
        assert!(peer.stop().success());
    }
}

/// The blocks of what is added go to the peers that will hold it, and to no other.
#[test]
fn proc_content_is_added_at_one_peer_and_held_by_another() {
    let _alone = ALONE.blocking_lock();
    let places = places(2, talkative);
    let peers: Vec<Peer> = places.iter().map(|place| Peer::start(place.path())).collect();
    all_see(&peers, 1);
    can_choose(&peers[0], 2);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, vec![7; 1 << 20]).expect("written");
    let path = file.to_str().expect("a path");

    let add = ["add", "-Q", "--cid-version", "1", "--allocations", &places[1].id, "--rmin", "1", "--rmax", "1", path];
    let run = peers[0].ctl(&add);

    assert_eq!(run.code, 0, "{run:?}");
    let root = run.stdout.trim();
    until(&peers[0], &["status", root], |answer| holders(answer) == ["peer2"]);
    assert!(places[0].kubo.world().blocks.is_empty());
    assert!(places[1].kubo.world().blocks.len() >= 2, "the file's one distinct leaf, and its root");
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_a_peer_that_was_cut_off_and_the_others_agree_again() {
    let _alone = ALONE.lock().await;
    if apart::skipped("crdt_cluster::proc_a_peer_that_was_cut_off_and_the_others_agree_again") {
        return;
    }
    let places = apart::three(&[], |number, file| {
        hasty(file);
        file["cluster"]["peername"] = json!(format!("peer{number}"));
    });
    let peers: Vec<Peer> = places.iter().map(apart::Apart::start).collect();
    all_see(&peers, 2);
    let client = |at: usize| peers[at].client();
    client(0).pin(&cid(1), &named("before")).await.expect("pinned");
    client(0).pin(&cid(2), &named("removed there")).await.expect("pinned");
    peers.iter().for_each(|peer| lists(peer, 2));

    apart::cut(3, &[1, 2]);
    until(&peers[0], &["peers", "ls"], |answer| answer.matches("Sees 1 other peers").count() == 2);
    client(0).pin(&cid(3), &named("by the majority")).await.expect("pinned");
    client(2).pin(&cid(4), &named("by one alone")).await.expect("pinned");
    client(2).unpin(&cid(2)).await.expect("unpinned");
    client(0).pin(&cid(5), &named("here")).await.expect("pinned");
    client(2).pin(&cid(5), &named("there")).await.expect("pinned");
    lists(&peers[0], 4);
    lists(&peers[2], 3);
    let there = peers[1].ctl(&["pin", "ls", &cid(4).to_string()]).stdout;
    assert!(there.contains("Code: 404"), "nothing can have come through: {there}");

    apart::mend(3, &[1, 2]);
    all_see(&peers, 2);
    for peer in &peers {
        lists(peer, 4);
    }
    let same = peers[0].ctl(&["pin", "ls"]).stdout;
    for peer in &peers {
        until(peer, &["pin", "ls"], |answer| answer == same);
    }
    assert!(!same.contains(&cid(2).to_string()), "{same}");
}
