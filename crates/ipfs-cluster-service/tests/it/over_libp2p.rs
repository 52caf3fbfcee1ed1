//! The REST API over libp2p: through a host of its own, which needs no secret, and through the cluster's own host with raft.

use crate::peer::{CtlRun, Peer, READY, ctl, free_port, service};
use crate::place::{Place, SECRET, read};
use crate::reference;
use cluster_testkit::kubo::FakeKubo;
use serde_json::{Value, json};
use std::process::Command;

/// A key for a host, of a folder made for it, and where the host is.
struct Door {
    identity: Value,
    listen: String,
}

impl Door {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        crate::peer::init(folder.path(), &FakeKubo::start());
        let listen = format!("/ip4/127.0.0.1/tcp/{}", free_port());
        Self { identity: read(folder.path().join("identity.json")), listen }
    }

    fn set(&self, section: &mut Value) {
        section["id"] = self.identity["id"].clone();
        section["private_key"] = self.identity["private_key"].clone();
        section["libp2p_listen_multiaddress"] = json!(self.listen);
    }

    /// As a client writes it.
    fn host(&self) -> String {
        format!("{}/p2p/{}", self.listen, self.identity["id"].as_str().expect("an id"))
    }
}

fn run(mut program: Command, host: &str, args: &[&str]) -> CtlRun {
    CtlRun::of(program.args(["--host", host]).args(args))
}

/// A day over libp2p: small answers, uploads, lists, errors, many streams one after the other.
fn a_day(program: &dyn Fn() -> Command, host: &str, flags: &[&str], id: &str) {
    let run = |args: &[&str]| run(program(), host, &[flags, args].concat());
    let told = run(&["id"]);
    assert!(told.code == 0 && told.stdout.starts_with(id), "{told:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, crate::tree::bytes(9, 3 << 20)).expect("written");
    let added = run(&["add", "-Q", file.to_str().expect("a path")]);
    assert_eq!(added.code, 0, "{added:?}");
    let root = added.stdout.trim();
    let pinned = run(&["pin", "add", "--wait", "--name", "over libp2p", root]);
    assert!(pinned.code == 0 && pinned.stdout.contains(": PINNED"), "{pinned:?}");
    let listed = run(&["pin", "ls"]);
    assert!(listed.stdout.contains("| over libp2p | PIN |"), "{listed:?}");
    assert_eq!(run(&["pin", "rm", root]).code, 0);
    let gone = run(&["pin", "ls", root]);
    assert_eq!(gone.code, 2, "{gone:?}");
    assert!(gone.stdout.contains("Code: 404"), "{gone:?}");
}

/// A crdt's secret may be known to followers: its own host does not serve the API, whatever secret they have.
fn cluster_host_refuses(program: &dyn Fn() -> Command, place: &Place) {
    let refused = run(program(), &place.address, &["--secret", SECRET, "id"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("protocols not supported: [/libp2p-http]"), "{refused:?}");
}

fn needs_the_secret(program: &dyn Fn() -> Command, place: &Place) {
    for secret in [None, Some("ff".repeat(32))] {
        let flags: Vec<&str> = secret.iter().flat_map(|secret| ["--secret", secret]).collect();
        let refused = run(program(), &place.address, &[&flags, ["id"].as_slice()].concat());
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stdout.contains("failed to negotiate security protocol"), "{refused:?}");
    }
}

#[test]
fn an_api_has_a_libp2p_host_of_its_own() {
    let (place, door, pinning) = (Place::new(&[], "127.0.0.1"), Door::new(), Door::new());
    place.configure(&[], |file| {
        door.set(&mut file["api"]["restapi"]);
        pinning.set(&mut file["api"]["pinsvcapi"]);
    });
    let mut peer = Peer::start(place.path());

    a_day(&ctl, &door.host(), &[], &place.id);
    cluster_host_refuses(&ctl, &place);
    // The first of several that can be reached answers.
    let gone = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", place.id);
    assert_eq!(run(ctl(), &format!("{gone},{}", door.host()), &["version"]).stdout, "1.1.6\n");
    let told = run(ctl(), &gone, &["id"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(
        told.stdout.contains(&format!("Get \"libp2p://{}/id\": failed to dial {}", place.id, place.id)),
        "{told:?}"
    );
    // The pinning service is another API behind another host: it answers, with its own words.
    let other = run(ctl(), &pinning.host(), &["id"]);
    assert_eq!(other.code, 2, "{other:?}");

    assert!(peer.stop().success());
}

#[test]
fn with_crdt_the_clusters_own_host_does_not_serve_the_api() {
    let place = Place::new(&[], "127.0.0.1");
    place.configure(&[], |_| {});
    let _peer = Peer::start(place.path());
    cluster_host_refuses(&ctl, &place);
}

#[test]
fn credentials_are_asked_for_over_libp2p_too() {
    let (place, door) = (Place::new(&[], "127.0.0.1"), Door::new());
    place.configure(&[], |file| {
        door.set(&mut file["api"]["restapi"]);
        file["api"]["restapi"]["basic_auth_credentials"] = json!({ "user": "pass" });
    });
    let _peer = Peer::start(place.path());

    let refused = run(ctl(), &door.host(), &["id"]);
    let known = run(ctl(), &door.host(), &["--basic-auth", "user:pass", "id"]);

    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stdout.contains("Code: 401"), "{refused:?}");
    assert!(known.stdout.starts_with(&place.id), "{known:?}");
}

#[test]
fn with_raft_the_clusters_own_host_serves_the_api_to_who_has_the_secret() {
    let place = Place::new(&["--consensus", "raft"], "127.0.0.1");
    place.configure(&[], |_| {});
    let _peer = Peer::start(place.path());

    a_day(&ctl, &place.address, &["--secret", SECRET], &place.id);
    needs_the_secret(&ctl, &place);
    for (secret, text) in [("zz", "error parsing secret: "), ("00", "length of ProtectorKey should be 32")] {
        let told = run(ctl(), &place.address, &["--secret", secret, "id"]);
        assert!(told.code == 1 && told.stderr.contains(text), "{told:?}");
    }
}

/// Their tool asks our peer, and ours asks theirs, on both ways.
#[test]
fn proc_the_reference_and_ours_understand_each_other_over_libp2p() {
    let Some(programs) = reference::programs() else { return };
    let theirs = || reference::program(&programs, "ipfs-cluster-service");
    let their_ctl = || reference::program(&programs, "ipfs-cluster-ctl");
    for consensus in ["crdt", "raft"] {
        let args = ["--consensus", consensus];
        let ours_at = Place::new(&args, "127.0.0.1");
        let theirs_at = Place::made_by(theirs(), &args, FakeKubo::start(), "127.0.0.1", None);
        let (our_door, their_door) = (Door::new(), Door::new());
        for (place, door) in [(&ours_at, &our_door), (&theirs_at, &their_door)] {
            place.configure(&[], |file| {
                if consensus == "crdt" {
                    door.set(&mut file["api"]["restapi"]);
                }
            });
        }
        let _ours = Peer::start_by(service(), None, ours_at.path(), &[], READY);
        let _theirs = Peer::start_by(theirs(), None, theirs_at.path(), &[], READY);
        if consensus == "crdt" {
            a_day(&their_ctl, &our_door.host(), &[], &ours_at.id);
            a_day(&ctl, &their_door.host(), &[], &theirs_at.id);
            cluster_host_refuses(&their_ctl, &ours_at);
            cluster_host_refuses(&ctl, &theirs_at);
        } else {
            let flags = ["--secret", SECRET];
            a_day(&their_ctl, &ours_at.address, &flags, &ours_at.id);
            a_day(&ctl, &theirs_at.address, &flags, &theirs_at.id);
            needs_the_secret(&their_ctl, &ours_at);
            needs_the_secret(&ctl, &theirs_at);
        }
    }
}
