//! Peers that cannot be members, disks that give back something else than was written, and a majority that is lost: each is
//! told with what to do, nothing that was acknowledged is lost, and what was told helps.

use crate::peer::{DEADLINE, Peer, service};
use crate::place::{Place, read};
use crate::raft::{cid, named};
use crate::raft_cluster::{ELECTION, has_all, of, pin_until, start_all, three};
use crate::state::{EXPORT, export, import, state};
use cluster_datastore::{FjallOptions, FjallStore};
use cluster_types::store::{Batch, Datastore, DatastoreRead, DatastoreReadExt, Table};
use serde_json::{Value, json};
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

/// Runs the program, which must end with an error of its own accord, and returns what it said.
fn ends(folder: &Path, args: &[&str]) -> String {
    let log = folder.join("log");
    let file = File::create(&log).expect("created");
    let mut command = service();
    command.arg("--config").arg(folder).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    let mut child = command.spawn().expect("it starts");
    let (pid, (ended, end)) = (child.id().to_string(), channel());
    std::thread::spawn(move || ended.send(child.wait()));
    let status = end.recv_timeout(DEADLINE).map(|status| status.expect("it can be waited for"));
    if status.is_err() {
        assert!(Command::new("kill").args(["-KILL", &pid]).status().expect("kill runs").success());
    }
    let said = std::fs::read_to_string(log).expect("read");
    assert!(status.is_ok(), "it does not end: {said}");
    assert_eq!(status.ok().and_then(|status| status.code()), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said.lines().filter(|line| line.starts_with("error ")).collect::<Vec<_>>().join("\n")
}

/// Changes `service.json`.
fn edit(place: &Place, change: impl FnOnce(&mut Value)) {
    let path = place.path().join("service.json");
    let mut file = read(path.clone());
    change(&mut file);
    std::fs::write(path, file.to_string()).expect("written");
}

fn impatient(file: &mut Value) {
    file["consensus"]["raft"]["wait_for_leader_timeout"] = json!("2s");
}

/// A peer that knows nobody.
fn alone(consensus: &str) -> Place {
    let place = of(consensus);
    place.configure(&[], |file| {
        if consensus == "raft" {
            impatient(file);
        }
    });
    place
}

/// Changes rows of the datastore of a peer that does not run; returns how many.
fn spoil(place: &Place, table: Table, which: impl Fn(&[u8]) -> bool, change: impl Fn(&mut Vec<u8>)) -> usize {
    let store = FjallStore::open(place.path().join("fjall"), FjallOptions::default()).expect("a store");
    let mut batch = Batch::new();
    let scanned = store.scan_prefix(table, b"", &mut |key, row| {
        if which(key) {
            let mut row = row.to_vec();
            change(&mut row);
            batch.put(table, key.to_vec(), row);
        }
        ControlFlow::Continue(())
    });
    scanned.expect("scanned");
    let count = batch.len();
    store.write(batch).expect("written");
    store.sync().expect("synced");
    store.close().expect("closed");
    count
}

fn last_entry(place: &Place) -> Vec<u8> {
    let store = FjallStore::open(place.path().join("fjall"), FjallOptions::default()).expect("a store");
    let (key, _) = store.last(Table::RaftLog).expect("read").expect("an entry");
    store.close().expect("closed");
    key.to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_a_peer_of_the_other_consensus_is_refused_either_way_and_loses_nothing() {
    let (raft, crdt) = (alone("raft"), alone("crdt"));
    let (mut of_raft, mut of_crdt) = (Peer::start(raft.path()), Peer::start(crdt.path()));
    for (peer, number) in [(&of_raft, 1), (&of_crdt, 2)] {
        peer.client().pin(&cid(number), &named("kept")).await.expect("pinned");
    }

    for (joining, member) in [("crdt", &raft), ("raft", &crdt)] {
        let place = alone(joining);
        assert!(import(place.path(), EXPORT).status.success());
        let said = ends(place.path(), &["daemon", "--bootstrap", &member.address]);
        assert!(said.contains("error joining the cluster: bootstrap to "), "{joining}: {said}");
        assert!(said.contains("has not the same consensus") && said.contains("state import"), "{joining}: {said}");
        let kept = match joining {
            // What a raft peer had is put aside before it joins.
            "raft" => std::fs::read_to_string(place.path().join("raft.old.0.json")).expect("a backup"),
            _ => export(place.path()),
        };
        let pins = |text: &str| EXPORT.lines().filter(|line| text.contains(*line)).count();
        assert!(pins(&kept) + 1 >= EXPORT.lines().count(), "{joining}: but for the one that expired: {kept}");
    }

    for (peer, count) in [(&mut of_raft, 2), (&mut of_crdt, 2)] {
        peer.client().pin(&cid(100), &named("later")).await.expect("it goes on alone");
        has_all(peer, count);
        assert!(peer.stop().success());
    }
}

#[test]
fn proc_a_raft_peer_with_another_secret_is_told_to_look_at_it() {
    let (member, place) = (alone("raft"), alone("raft"));
    edit(&place, |file| file["cluster"]["secret"] = json!("ab".repeat(32)));
    let mut peer = Peer::start(member.path());

    let said = ends(place.path(), &["daemon", "--bootstrap", &member.address]);

    assert!(said.contains("is its cluster.secret the one of this peer?"), "{said}");
    assert!(peer.stop().success());

    // As members of one cluster from the beginning.
    let places = three("raft");
    places.iter().for_each(|place| edit(place, impatient));
    edit(&places[0], |file| file["cluster"]["secret"] = json!("ab".repeat(32)));
    let mut others: Vec<Peer> = start_all(&places[1..]);
    let said = ends(places[0].path(), &["daemon"]);
    assert!(said.contains("2 of the members") && said.contains("have the same cluster.secret"), "{said}");
    others.iter_mut().for_each(|peer| assert!(peer.stop().success()));
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_a_member_of_another_raft_cluster_is_refused_and_both_go_on() {
    let (first, second) = (alone("raft"), alone("raft"));
    second.configure(std::slice::from_ref(&first.address), |_| ());
    let mut peers = [Peer::start(first.path()), Peer::start(second.path())];
    for (peer, number) in peers.iter().zip([1, 2]) {
        peer.client().pin(&cid(number), &named("kept")).await.expect("pinned");
    }

    let refused = peers[0].ctl(&["peers", "add", &second.id]);

    assert_ne!(refused.code, 0, "{refused:?}");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("is a member of another cluster") && said.contains("state cleanup at that peer"), "{said}");
    for peer in &mut peers {
        peer.client().pin(&cid(100), &named("later")).await.expect("it goes on alone");
        has_all(peer, 2);
        assert!(peer.stop().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_a_raft_peer_whose_log_is_damaged_is_refused_and_taken_in_anew_while_the_others_go_on() {
    let places = three("raft");
    places.iter().for_each(|place| edit(place, impatient));
    let mut peers = start_all(&places);
    for number in 0..10 {
        pin_until(&peers[usize::from(number % 3)], number, ELECTION).await;
    }
    peers.iter().for_each(|peer| has_all(peer, 10));
    assert!(peers[2].stop().success());
    let (damaged, join) = (places[2].path(), ["daemon", "--bootstrap", &places[0].address]);
    let last = last_entry(&places[2]);

    // As a version before this one, or after it, would have written it.
    assert_eq!(spoil(&places[2], Table::RaftLog, |key| key == last, |row| row[0] += 6), 1);
    let said = ends(damaged, &["daemon"]);
    assert!(said.contains("it is of format 7, and this version reads format 1"), "{said}");
    assert!(said.contains("export the pinset with the version that wrote it"), "{said}");

    spoil(&places[2], Table::RaftLog, |key| key == last, |row| row[0] -= 6);
    spoil(&places[2], Table::RaftLog, |key| key == last, |row| *row.last_mut().expect("not empty") ^= 1);
    for args in [&["daemon"][..], &join] {
        let said = ends(damaged, args);
        assert!(said.contains("of the raft log: its checksum is wrong") && said.contains("state cleanup"), "{said}");
    }
    pin_until(&peers[0], 10, ELECTION).await;
    pin_until(&peers[1], 11, ELECTION).await;

    // What it was told to do. Then nobody would notice if another one failed.
    assert!(state(damaged, &["cleanup", "--force"]).status.success());
    let kept = std::fs::read_to_string(damaged.join("raft.old.0.json")).expect("a backup");
    assert!(kept.lines().count() >= 9, "what was applied, all but the last entry at least: {kept}");
    peers[2] = Peer::start_with(damaged, &["--bootstrap", &places[0].address]);
    has_all(&peers[2], 12);
    peers[0].kill();
    pin_until(&peers[2], 12, ELECTION).await;
    has_all(&peers[1], 13);
    peers[1..].iter_mut().for_each(|peer| assert!(peer.stop().success()));
}

#[test]
fn proc_a_raft_peer_whose_snapshot_is_damaged_is_refused_unless_its_pinset_is_elsewhere_too() {
    let is_piece = |key: &[u8]| key.len() == 13 && key[0] == b's';
    let change = |row: &mut Vec<u8>| *row.last_mut().expect("not empty") ^= 1;
    for map in [false, true] {
        let place = alone("raft");
        if map {
            edit(&place, |file| file["state"] = json!({ "mapstate": {} }));
        }
        assert!(import(place.path(), EXPORT).status.success());
        assert!(spoil(&place, Table::RaftMeta, is_piece, change) > 0, "an import makes a snapshot");

        if map {
            for args in [&["daemon"][..], &["state", "export"]] {
                let said = ends(place.path(), args);
                assert!(said.contains("piece 0 of raft snapshot") && said.contains("state cleanup here"), "{said}");
            }
            spoil(&place, Table::RaftMeta, is_piece, change);
        }
        let mut peer = Peer::start(place.path());
        assert!(peer.stop().success());
        assert!(export(place.path()).lines().count() >= 3, "all but the one that expired");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_one_raft_peer_of_three_that_is_left_begins_anew_with_everything() {
    let places = three("raft");
    places.iter().for_each(|place| edit(place, impatient));
    let mut peers = start_all(&places);
    for number in 0..12 {
        pin_until(&peers[usize::from(number % 3)], number, ELECTION).await;
    }
    peers.iter().for_each(|peer| has_all(peer, 12));
    peers.iter_mut().for_each(Peer::kill);
    let left = places[2].path();
    let said = ends(left, &["daemon"]);
    assert!(said.contains("state export, then state import --alone"), "{said}");

    let file = left.join("pins.json");
    std::fs::write(&file, export(left)).expect("written");
    let imported = state(left, &["import", "--force", "--alone", file.to_str().expect("a path")]);
    assert!(imported.status.success(), "{imported:?}");

    let mut survivor = Peer::start(left);
    has_all(&survivor, 12);
    survivor.client().pin(&cid(12), &named("alone")).await.expect("it needs nobody");
    let mut joined = Peer::start_with(places[0].path(), &["--bootstrap", &places[2].address]);
    has_all(&joined, 13);
    joined.client().pin(&cid(13), &named("together")).await.expect("pinned");
    has_all(&survivor, 14);
    assert!(joined.stop().success() && survivor.stop().success());
}
