//! The command-line tool against a peer.

use crate::follower::serve;
use crate::peer::{Peer, free_port};
use crate::tree;
use cluster_testkit::kubo::FakeKubo;

#[test]
fn a_day_with_the_command_line() {
    let (home, source) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("source"));
    tree::write(source.path());
    let kubo = FakeKubo::start();
    let peer = Peer::with(home.path(), &kubo);
    let file = source.path().join("tree/a.txt");
    let folder = source.path().join("tree");
    let (file, folder) = (file.to_str().expect("a path"), folder.to_str().expect("a path"));

    let id = peer.ctl(&["id"]);
    assert_eq!(id.code, 0, "{id:?}");
    assert!(id.stdout.contains("| Sees 0 other peers"), "{id:?}");
    assert_eq!(peer.ctl(&["version"]).stdout, "1.1.6\n");

    // The CIDs are those that Kubo gives the same bytes.
    let added = peer.ctl(&["add", file]);
    assert_eq!(added.stdout, "added QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN a.txt\n", "{added:?}");
    let root = peer.ctl(&["add", "-r", "-Q", "--wait", folder]);
    assert_eq!(root.code, 0, "{root:?}");
    let root = root.stdout.trim().to_owned();

    let status = peer.ctl(&["status", &root]);
    assert!(status.stdout.contains(" : PINNED | "), "{status:?}");
    let pinned = peer.ctl(&["pin", "add", "--wait", "--name", "again", "--metadata", "k=v", &root]);
    assert!(pinned.stdout.starts_with(&format!("{root} | again:")), "{pinned:?}");
    let listed = peer.ctl(&["pin", "ls", &root]);
    assert!(listed.stdout.contains("| again | PIN | Repl. Factor: -1 | Allocations: [everywhere]"), "{listed:?}");
    assert!(listed.stdout.contains("| Metadata: yes |"), "{listed:?}");

    let json = peer.ctl(&["--enc=json", "pin", "ls"]);
    assert_eq!(json.stdout.matches("\"cid\": ").count(), 2, "{json:?}");
    let removed = peer.ctl(&["pin", "rm", "--wait", &root]);
    assert!(removed.stdout.contains(" : UNPINNED | "), "{removed:?}");
    let gone = peer.ctl(&["pin", "ls", &root]);
    let expected = "An error occurred:\n  Code: 404\n  Message: pin is not part of the pinset\n";
    assert_eq!((gone.code, gone.stdout.as_str()), (2, expected));

    peer.ctl(&["pin", "rm", "--wait", "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN"]);
    let collected = peer.ctl(&["ipfs", "gc"]);
    assert!(collected.stdout.contains(&format!("    - {root}\n")), "{collected:?}");
    let metrics = peer.ctl(&["health", "metrics", "freespace"]);
    assert!(metrics.stdout.contains("| freespace: "), "{metrics:?}");
}

#[test]
fn a_peer_that_is_not_there_is_a_transport_error() {
    let run = crate::peer::ctl().args(["--host", "/ip4/127.0.0.1/tcp/1", "id"]).output().expect("the tool runs");
    let stdout = String::from_utf8_lossy(&run.stdout);
    assert_eq!(run.status.code(), Some(1));
    assert!(stdout.contains("Code: 0"), "{stdout}");
    assert!(
        stdout.contains("Get \"http://127.0.0.1:1/id\": dial tcp 127.0.0.1:1: connect: connection refused"),
        "{stdout}"
    );
}

/// A panic with a stack trace was what `… | head` ended with.
#[test]
fn a_reader_that_goes_away_ends_the_programs_quietly() {
    for mut program in [crate::peer::ctl(), crate::peer::service()] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);

        let run = program.args(["completions", "bash"]).stdout(writer).output().expect("the program runs");

        assert_eq!((run.status.code(), String::from_utf8_lossy(&run.stderr).as_ref()), (Some(141), ""));
    }
}

#[test]
fn completions_and_manual_pages_are_made_of_the_definitions() {
    let folder = tempfile::tempdir().expect("a folder");
    for (mut completions, mut manual, name, page) in [
        (crate::peer::ctl(), crate::peer::ctl(), "ipfs-cluster-ctl", "ipfs-cluster-ctl-pin-add.1"),
        (crate::peer::service(), crate::peer::service(), "ipfs-cluster-service", "ipfs-cluster-service-state-import.1"),
    ] {
        let made = completions.args(["completions", "zsh"]).output().expect("the program runs");
        let wrote = manual.arg("man").arg(folder.path()).output().expect("the program runs");

        assert!(String::from_utf8_lossy(&made.stdout).starts_with(&format!("#compdef {name}")), "{made:?}");
        assert!(wrote.status.success(), "{wrote:?}");
        let page = std::fs::read_to_string(folder.path().join(page)).expect("the page is there");
        assert!(page.contains("replication\\-min"), "{page}");
    }
}

#[test]
fn a_url_is_fetched_by_the_tool_and_added_under_the_last_part_of_its_path() {
    let home = tempfile::tempdir().expect("home");
    let peer = Peer::with(home.path(), &FakeKubo::start());
    let url = serve("hello world".into());

    let added = peer.ctl(&["add", "--cid-version", "1", &url]);
    let cid = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    assert_eq!(added.stdout, format!("added {cid} template.json\n"), "{added:?}");

    let refused = peer.ctl(&["add", &format!("http://127.0.0.1:{}/x", free_port())]);
    assert!(refused.code == 1 && refused.stdout.contains("/x\": dial tcp 127.0.0.1:"), "{refused:?}");
    let in_place = peer.ctl(&["add", "--nocopy", &url]);
    assert!(in_place.code != 0 && in_place.stdout.contains("add without nocopy=true"), "{in_place:?}");
    let file = home.path().join("service.json");
    let in_place = peer.ctl(&["add", "--nocopy", file.to_str().expect("a path")]);
    assert_eq!((in_place.code, in_place.stderr.as_str()), (1, "error : nocopy option is only valid for URLs\n"));
}

#[test]
fn what_is_asked_and_answered_is_told_on_demand() {
    let home = tempfile::tempdir().expect("home");
    let peer = Peer::with(home.path(), &FakeKubo::start());

    let quiet = peer.ctl(&["version"]);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("1.1.6\n", ""));
    let told = peer.ctl(&["--debug", "version"]);
    assert_eq!(told.stdout, "1.1.6\n");
    assert!(told.stderr.contains("GET http://127.0.0.1:") && told.stderr.contains("1.1.6"), "{told:?}");
    let commands = peer.ctl(&["commands"]);
    assert!(
        commands.stdout.contains("ipfs-cluster-ctl pin add\n") && !commands.stdout.contains(" man"),
        "{commands:?}"
    );
}
