//! Peers whose consensus is raft.

use crate::peer::{DEADLINE, Peer, init, init_with, service};
use crate::state::{EXPORT, export, import, state};
use cluster_testkit::kubo::FakeKubo;
use cluster_types::{Cid, PinOptions};
use std::path::Path;
use std::time::Instant;

pub(crate) fn cid(number: u8) -> Cid {
    let digest: String = (0..32).map(|_| format!("{number:02x}")).collect();
    format!("f01551220{digest}").parse().expect("a CID")
}

pub(crate) fn named(name: &str) -> PinOptions {
    PinOptions { name: name.into(), ..PinOptions::default() }
}

/// Changes one section of `service.json`.
fn configure(folder: &Path, section: &str, value: serde_json::Value) {
    let path = folder.join("service.json");
    let text = std::fs::read_to_string(&path).expect("there");
    let mut file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    file[section] = value;
    std::fs::write(path, file.to_string()).expect("written");
}

fn run(folder: &Path, args: &[&str]) -> std::process::Output {
    service().arg("--config").arg(folder).args(args).output().expect("the program runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raft_peer_keeps_what_it_acknowledged_with_either_state() {
    for map in [false, true] {
        let home = tempfile::tempdir().expect("home");
        init_with(home.path(), &FakeKubo::start(), &["--consensus", "raft"]);
        if map {
            configure(home.path(), "state", serde_json::json!({ "mapstate": {} }));
            configure(home.path(), "pin_tracker", serde_json::json!({ "maptracker": {} }));
        }
        let mut peer = Peer::start(home.path());
        for number in 0..20 {
            peer.client().pin(&cid(number), &named("kept")).await.expect("pinned");
        }
        peer.client().unpin(&cid(3)).await.expect("unpinned");
        peer.kill();

        let mut peer = peer.again();
        let listed = peer.ctl(&["pin", "ls"]);
        assert_eq!(listed.stdout.lines().count(), 19, "{listed:?}");
        assert!(peer.stop().success());
        assert_eq!(export(home.path()).lines().count(), 19);
    }
}

#[test]
fn a_pinset_goes_from_crdt_to_raft_and_back() {
    let (crdt, raft) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("home"));
    let kubo = FakeKubo::start();
    init(crdt.path(), &kubo);
    init_with(raft.path(), &kubo, &["--consensus", "raft"]);
    assert!(import(crdt.path(), EXPORT).status.success());

    assert!(import(raft.path(), &export(crdt.path())).status.success());
    assert_eq!(export(raft.path()), EXPORT);
    let mut peer = Peer::start(raft.path());
    let listed = peer.ctl(&["pin", "ls"]).stdout.lines().count();
    assert!(peer.stop().success());
    // One of the pins has expired since it was recorded.
    let exported = export(raft.path());
    assert!(listed >= 3 && exported.lines().count() == 3, "{exported}");
    assert!(import(crdt.path(), &exported).status.success());
    assert_eq!(export(crdt.path()), exported);
}

#[test]
fn what_raft_had_is_kept_when_it_is_removed() {
    let home = tempfile::tempdir().expect("home");
    init_with(home.path(), &FakeKubo::start(), &["--consensus", "raft"]);
    assert!(import(home.path(), EXPORT).status.success());

    assert!(state(home.path(), &["cleanup", "--force"]).status.success());
    assert_eq!(export(home.path()), "");
    let backup = std::fs::read_to_string(home.path().join("raft.old.0.json")).expect("a backup");
    assert_eq!(backup, EXPORT);
    assert!(import(home.path(), &backup).status.success());
    assert_eq!(export(home.path()), EXPORT);
}

/// The reference hangs here for ever.
#[test]
fn a_raft_peer_without_a_majority_says_who_is_missing_and_ends() {
    let home = tempfile::tempdir().expect("home");
    init_with(home.path(), &FakeKubo::start(), &["--consensus", "raft"]);
    let path = home.path().join("service.json");
    let text = std::fs::read_to_string(&path).expect("there");
    let missing = "12D3KooWB2pyAPqKinENSFY7hmXwP69xfqNhzpvxvkqtFHzHrVji";
    let other = "12D3KooWMGXUrPnMnLtR3ozPWKBdNTKfJrUACkpsTqjkYJPJNASy";
    let text = text.replace(r#""init_peerset": []"#, &format!(r#""init_peerset": ["{missing}", "{other}"]"#));
    let text = text.replace(r#""wait_for_leader_timeout": "15s""#, r#""wait_for_leader_timeout": "2s""#);
    std::fs::write(path, text).expect("written");

    let begun = Instant::now();
    let output = run(home.path(), &["daemon"]);
    assert!(begun.elapsed() < DEADLINE);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("error waiting for the pinset: timed out waiting for leader"), "{text}");
    assert!(text.contains("2 of the members") && text.contains(missing) && text.contains("state import"), "{text}");
}

#[test]
fn a_mix_that_cannot_work_is_explained_and_so_is_an_unknown_consensus() {
    let home = tempfile::tempdir().expect("home");
    init(home.path(), &FakeKubo::start());
    configure(home.path(), "state", serde_json::json!({ "mapstate": {} }));

    let output = run(home.path(), &["daemon"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("error loading configurations: state.mapstate goes with consensus raft"), "{text}");

    let output = run(&home.path().join("new"), &["init", "--consensus", "paxos"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("error choosing consensus: flag value must be set to 'raft' or 'crdt'"), "{text}");
}
