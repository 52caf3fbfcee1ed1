//! What every cluster does, whatever it is made of: peers join, hold what is added elsewhere, take over from one that dies,
//! and bring a late one and one that was away up to date. Each consensus meets each tracker and each connector, and each
//! tracker each connector; the combinations that are left run with `CLUSTER_TEST_MATRIX=all`.

use crate::crdt_cluster::{ALONE, all_see, can_choose, holders, lists, until};
use crate::peer::Peer;
use crate::place::Place;
use serde_json::{Value, json};

/// What peers are made of.
#[derive(Debug, Clone, Copy)]
struct Made {
    consensus: &'static str,
    tracker: &'static str,
    /// Whether each has an IPFS node of its own, and no daemon.
    embedded: bool,
}

const fn made(consensus: &'static str, tracker: &'static str, embedded: bool) -> Made {
    Made { consensus, tracker, embedded }
}

impl Made {
    /// Folders of three, of which the first begins and the others know those before them.
    fn places(self) -> Vec<Place> {
        let mut args = vec!["--consensus", self.consensus];
        args.extend(self.embedded.then_some("--embedded"));
        let mut places: Vec<Place> = Vec::new();
        for number in 1..=3 {
            let place = Place::new(&args, &format!("127.0.0.{number}"));
            let others: Vec<String> = places.iter().map(|place| place.address.clone()).collect();
            place.configure(&others, |file| {
                self.set(file);
                file["cluster"]["peername"] = json!(format!("peer{number}"));
            });
            places.push(place);
        }
        places
    }

    /// Quick to notice that a peer is gone, and patient with one that the machine keeps waiting.
    fn set(self, file: &mut Value) {
        file["cluster"]["disable_repinning"] = json!(false);
        file["cluster"]["monitor_ping_interval"] = json!("1s");
        file["monitor"]["pubsubmon"]["check_interval"] = json!("1s");
        file["informer"]["disk"]["metric_ttl"] = json!("10s");
        file["pin_tracker"] = json!({ self.tracker: {} });
        match self.consensus {
            "crdt" => {
                file["consensus"]["crdt"]["trusted_peers"] = json!(["*"]);
                file["consensus"]["crdt"]["rebroadcast_interval"] = json!("2s");
            }
            // In memory the one goes with the other.
            _ if self.tracker == "maptracker" => file["state"] = json!({ "mapstate": {} }),
            _ => {}
        }
    }

    /// Starts a peer for the first time.
    fn start(self, places: &[Place], at: usize) -> Peer {
        match self.consensus {
            "raft" if at > 0 => Peer::start_with(places[at].path(), &["--bootstrap", &places[0].address]),
            _ => Peer::start(places[at].path()),
        }
    }

    fn run(self) {
        let _alone = ALONE.blocking_lock();
        let places = self.places();
        let mut peers: Vec<Peer> = (0..2).map(|at| self.start(&places, at)).collect();
        all_see(&peers, 1);
        let early: Vec<String> = (0..6).map(|number| add(&peers[number % 2], number, &[])).collect();
        peers.iter().for_each(|peer| lists(peer, 6));
        assert_eq!(peers[1].ctl(&["pin", "rm", &early[0]]).code, 0);
        peers.iter().for_each(|peer| lists(peer, 5));

        // A late one has it all, content included.
        peers.push(self.start(&places, 2));
        all_see(&peers, 2);
        lists(&peers[2], 5);
        until(&peers[2], &["status", &early[5]], |answer| holders(answer).len() == 3);
        if !self.embedded {
            assert!(places[2].kubo.world().recursive.contains(&early[5]), "{self:?}");
        }

        // Two of three, the third takes over from the one that dies.
        can_choose(&peers[0], 3);
        let two = add(&peers[0], 100, &["--rmin", "2", "--rmax", "2"]);
        let status = until(&peers[0], &["status", &two], |answer| holders(answer).len() == 2);
        let dies = holders(&status).into_iter().find(|name| *name != "peer1").expect("another").to_owned();
        let number = usize::from(dies.as_bytes()[4] - b'1');
        peers[number].kill();
        until(&peers[0], &["status", &two], |answer| {
            holders(answer).len() == 2 && !holders(answer).contains(&dies.as_str())
        });

        // What was done meanwhile reaches it when it is back.
        let meanwhile = add(&peers[0], 101, &[]);
        peers[number] = peers[number].again();
        all_see(&peers, 2);
        peers.iter().for_each(|peer| lists(peer, 7));
        until(&peers[number], &["status", &meanwhile], |answer| holders(answer).contains(&dies.as_str()));
        for peer in &mut peers {
            assert!(peer.stop().success(), "{self:?}");
        }
    }
}

/// Adds a file that no other call adds, and returns its name.
fn add(peer: &Peer, number: usize, args: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, format!("file {number}\n").repeat(1_000)).expect("written");
    let run = peer.ctl(&[&["add", "-Q"], args, &[file.to_str().expect("a path")]].concat());
    assert_eq!(run.code, 0, "{run:?}");
    run.stdout.trim().to_owned()
}

// With `crdt_cluster`, whose peers are crdt, stateless and ipfshttp, these have every pair.

#[test]
fn proc_matrix_crdt_maptracker_embedded() {
    made("crdt", "maptracker", true).run();
}

#[test]
fn proc_matrix_raft_stateless_embedded() {
    made("raft", "stateless", true).run();
}

#[test]
fn proc_matrix_raft_maptracker_ipfshttp() {
    made("raft", "maptracker", false).run();
}

#[test]
fn proc_matrix_of_all_that_is_left() {
    if std::env::var_os("CLUSTER_TEST_MATRIX").is_none() {
        eprintln!("skipped: CLUSTER_TEST_MATRIX=all is not set");
        return;
    }
    for consensus in ["crdt", "raft"] {
        for (tracker, embedded) in
            [("stateless", true), ("stateless", false), ("maptracker", true), ("maptracker", false)]
        {
            made(consensus, tracker, embedded).run();
        }
    }
}
