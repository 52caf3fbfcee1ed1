//! What the reference gets wrong.

use crate::program::{Running, World, serve};
use std::collections::BTreeMap;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn template() -> String {
    let recorded: serde_json::Value = serde_json::from_str(include_str!("../data/follow.json")).expect("JSON");
    recorded["served"]["http://127.0.0.1:8999/cfg.json"].as_str().expect("text").to_owned()
}

/// A world with a follower `tc` that is initialized.
fn initialized() -> World {
    let world = World::new();
    let host = serve(|_| BTreeMap::from([("/cfg.json".to_owned(), template())]));
    let output = world.run(&["tc", "init", &format!("http://{host}/cfg.json")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    world
}

fn start(world: &World) -> Running {
    let folder = world.path("f");
    let command = world.command(&["--config", folder.to_str().expect("text"), "tc", "run"]);
    Running::start(command, &world.path("f/tc/api-socket"))
}

#[test]
fn a_socket_that_a_killed_follower_left_does_not_keep_it_from_starting() {
    let world = initialized();
    let mut killed = start(&world);
    killed.child.kill().expect("it runs");
    killed.child.wait().expect("it ends");
    assert!(world.path("f/tc/api-socket").exists());

    let again = start(&world);
    assert_eq!(again.ask("GET", "/version", "", "").0, 200);
    assert_eq!(again.stop("SIGTERM").0, Some(0));
    assert!(!world.path("f/tc/api-socket").exists(), "an orderly stop takes the socket with it");
}

#[test]
fn a_dnslink_name_is_fetched_from_a_gateway_that_has_no_scheme() {
    let world = World::new();
    let host = serve(|_| BTreeMap::from([("/ipns/my.example.org".to_owned(), template())]));
    let output = world.run(&["dl", "init", "--gateway", &host, "my.example.org"]);
    assert!(output.status.success());

    let info = text(&world.run(&["dl", "info"]).stdout);
    assert!(info.contains(&format!("Config source URL: Available ({host}/ipns/my.example.org)")), "{info}");
}

#[test]
fn a_follower_of_raft_is_refused_and_so_is_a_write() {
    let world = World::new();
    let raft = template().replace("\"crdt\": {", "\"raft\": {\"init_peerset\": []}, \"nothing\": {");
    let host = serve(|_| BTreeMap::from([("/raft.json".to_owned(), raft.clone())]));
    assert!(world.run(&["r", "init", &format!("http://{host}/raft.json")]).status.success());
    let output = world.run(&["r", "run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("a follower needs consensus crdt"), "{}", text(&output.stderr));

    let world = initialized();
    let follower = start(&world);
    let cid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN";
    for (method, target) in [("POST", format!("/pins/{cid}")), ("DELETE", format!("/pins/{cid}"))] {
        let (status, body) = follower.ask(method, &target, "", "");
        assert_eq!(status, 500);
        assert!(body.contains("this peer is configured to be in follower mode"), "{body}");
    }
    assert_eq!(text(&world.run(&["tc", "list"]).stdout), "");
}

#[test]
fn several_clusters_are_followed_side_by_side() {
    let world = initialized();
    let host = serve(|_| BTreeMap::from([("/cfg.json".to_owned(), template())]));
    assert!(world.run(&["other", "init", &format!("http://{host}/cfg.json")]).status.success());
    let first = start(&world);
    let folder = world.path("f");
    let command = world.command(&["--config", folder.to_str().expect("text"), "other", "run"]);
    let second = Running::start(command, &world.path("f/other/api-socket"));

    assert!(text(&world.run(&["tc", "info"]).stdout).contains("Cluster Peer online: true"));
    assert!(text(&world.run(&["other", "info"]).stdout).contains("Cluster Peer online: true"));
    let second_id = second.ask("GET", "/id", "", "").1;
    assert_ne!(first.ask("GET", "/id", "", "").1, second_id);
    assert_eq!(first.stop("SIGINT").0, Some(0));
    assert!(text(&world.run(&["other", "info"]).stdout).contains("Cluster Peer online: true"));
}

/// The reference looks into two stores that are no longer the default, and leaves one of them behind, empty.
#[test]
fn items_on_disk_are_listed_while_the_follower_is_stopped() {
    use cluster_component::config::Environment;
    use cluster_node::config::Configuration;
    use cluster_node::folder::Folder;
    use cluster_node::state::{Offline, Overrides};
    let world = initialized();
    let folder = Folder::new(world.path("f/tc"));
    let configuration = Configuration::load(&folder, &Environment::default()).expect("a configuration");
    let mut state = Offline::open(&configuration, &folder).expect("a store");
    let pins = "{\"cid\": \"QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN\", \"name\": \"some name\"}";
    state.import(&mut pins.as_bytes(), &Overrides::default(), &Default::default()).expect("imported");
    drop(state);

    let listed = text(&world.run(&["tc", "list"]).stdout);
    assert_eq!(listed, "offline              QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN some name\n");
    assert!(!world.path("f/tc/leveldb").exists());

    let follower = start(&world);
    let listed = text(&world.run(&["tc", "list"]).stdout);
    assert!(listed.ends_with("QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN some name\n"), "{listed}");
    assert!(!listed.starts_with("offline"), "{listed}");
    assert_eq!(follower.stop("SIGTERM").0, Some(0));
}

#[test]
fn a_follower_needs_no_daemon_and_takes_no_more_room_than_it_is_given() {
    let world = initialized();
    let folder = world.path("f");
    let folder = folder.to_str().expect("text");
    let command = world.command(&["--config", folder, "tc", "run", "--embedded", "--space", "5MB"]);
    let follower = Running::start(command, &world.path("f/tc/api-socket"));
    let id = follower.ask("GET", "/id", "", "").1;
    assert!(id.contains("\"error\":\"\"") && world.path("f/tc/embedded").exists(), "{id}");
    assert_eq!(world.kubo.world().requests, 0, "the daemon beside it is not asked");
    assert_eq!(follower.stop("SIGTERM").0, Some(0));

    let output = world.run(&["tc", "run", "--space", "much"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("embedded.storage_max is no size"), "{}", text(&output.stderr));
}
