//! A cluster of a peer of the reference and two of ours, when `IPFS_CLUSTER_TEST_REFERENCE` names the folder of its programs.

use crate::crdt_cluster::{ALONE, all_see, lists, talkative, until};
use crate::peer::{Peer, READY};
use crate::place::Place;
use crate::raft::cid;
use cluster_testkit::kubo::FakeKubo;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: &str = "IPFS_CLUSTER_TEST_REFERENCE";

/// Pins in a row at each peer.
const PINS: u8 = 30;

/// The folder of the reference's programs, if there is one; says so if not.
pub(crate) fn programs() -> Option<PathBuf> {
    let named = std::env::var_os(PROGRAMS).map(PathBuf::from);
    if named.is_none() {
        eprintln!("skipped: {PROGRAMS} does not name the folder of the reference's programs");
    }
    named
}

/// One of them.
pub(crate) fn program(programs: &Path, name: &str) -> Command {
    let mut command = Command::new(programs.join(name));
    command.env_clear().env("TZ", "UTC").env("CLUSTER_MDNSINTERVAL", "0s");
    command
}

/// The pinset as a peer lists it, as JSON.
fn pinset(peer: &Peer) -> Vec<Value> {
    let listed = peer.ctl(&["--enc=json", "pin", "ls"]);
    serde_json::Deserializer::from_str(&listed.stdout).into_iter().map(|pin| pin.expect("JSON")).collect()
}

fn agree(peers: &[Peer], count: usize) {
    peers.iter().for_each(|peer| lists(peer, count));
    for peer in &peers[1..] {
        assert_eq!(pinset(peer), pinset(&peers[0]));
    }
}

/// It is the first, and ours join it; one of ours comes late.
#[test]
fn proc_a_peer_of_the_reference_and_ours_keep_one_pinset() {
    let Some(programs) = programs() else { return };
    let _alone = ALONE.blocking_lock();
    let theirs = || program(&programs, "ipfs-cluster-service");
    let first = Place::made_by(theirs(), &[], FakeKubo::start(), "127.0.0.1", None);
    let places = [Place::new(&[], "127.0.0.2"), Place::new(&[], "127.0.0.3")];
    first.configure(&[], talkative);
    places.iter().for_each(|place| place.configure(std::slice::from_ref(&first.address), talkative));
    let mut peers = vec![Peer::start_by(theirs(), None, first.path(), &[], READY), Peer::start(places[0].path())];
    all_see(&peers, 1);

    for (at, peer) in peers.iter().enumerate() {
        for number in 0..PINS {
            let item = cid(100 * at as u8 + number).to_string();
            let options = ["--name", "mixed", "--rmin", "1", "--rmax", "2", "--metadata", "a=b", "--expire-in", "24h"];
            assert_eq!(peer.ctl(&[&["pin", "add", &item], options.as_slice()].concat()).code, 0);
        }
    }
    agree(&peers, 2 * usize::from(PINS));

    peers.push(Peer::start(places[1].path()));
    all_see(&peers, 2);
    agree(&peers, 2 * usize::from(PINS));

    for (at, peer) in peers.iter().enumerate() {
        let (gone, new) = (cid(at as u8).to_string(), cid(200 + at as u8).to_string());
        assert_eq!(peer.ctl(&["pin", "rm", &gone]).code, 0);
        assert_eq!(peer.ctl(&["pin", "update", &cid(110 + at as u8).to_string(), &new]).code, 0);
    }
    agree(&peers, 2 * usize::from(PINS));
    let everywhere = cid(220).to_string();
    assert_eq!(peers[2].ctl(&["pin", "add", "--rmin", "-1", "--rmax", "-1", &everywhere]).code, 0);
    for peer in &peers {
        until(peer, &["status", &everywhere], |answer| answer.matches(": PINNED").count() == 3);
    }

    // Each build stops and comes back.
    assert!(peers[0].stop().success() && peers[1].stop().success());
    assert_eq!(peers[2].ctl(&["pin", "rm", &everywhere]).code, 0);
    peers[0] = Peer::start_by(theirs(), None, first.path(), &[], READY);
    peers[1] = Peer::start(places[0].path());
    all_see(&peers, 2);
    agree(&peers, 2 * usize::from(PINS));
}
