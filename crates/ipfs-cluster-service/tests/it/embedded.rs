//! A peer with an IPFS node of its own: content goes in by the command-line tool and comes back through the gateway, stays
//! over a kill, and gives its space back.

use crate::peer::{DEADLINE, Peer, ctl, service};
use crate::tree;
use http_body_util::{BodyExt, Empty};
use std::path::Path;
use std::time::Instant;

/// Bytes of the large file: with it an add takes several seconds without optimisation.
const LARGE: usize = 64 << 20;

/// Bytes of memory that an add may take, however large what is added.
const MEMORY_MAX: u64 = 64 << 20;

pub(crate) fn init(folder: &Path) {
    init_with(folder, "90%");
}

fn init_with(folder: &Path, storage_max: &str) {
    init_where(folder, &[("STORAGEMAX", storage_max)]);
}

/// With these keys of the embedded node.
pub(crate) fn init_where(folder: &Path, keys: &[(&str, &str)]) {
    let mut command = service();
    command.arg("--config").arg(folder).args(["init", "--embedded", "--randomports"]);
    command.envs(keys.iter().map(|(key, value)| (format!("CLUSTER_EMBEDDED_{key}"), value)));
    let output = command.output().expect("init runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What the gateway gives for a path.
pub(crate) fn get(peer: &Peer, path: &str) -> Vec<u8> {
    let url = format!("{}{path}", peer.gateway.as_deref().expect("a gateway"));
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let request = http::Request::get(url).body(Empty::<bytes::Bytes>::new()).expect("a request");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let response = client.request(request).await.expect("answered");
        assert_eq!(response.status(), 200, "{path}");
        response.into_body().collect().await.expect("whole").to_bytes().to_vec()
    })
}

/// Adds a path with the command-line tool; returns the root.
pub(crate) fn add(peer: &Peer, args: &[&str]) -> String {
    let run = peer.ctl(&[&["add", "-r", "-Q"], args].concat());
    assert_eq!(run.code, 0, "{run:?}");
    run.stdout.trim().to_owned()
}

/// Asks until the item stands like that.
pub(crate) fn until(peer: &Peer, cid: &str, word: &str) {
    let begun = Instant::now();
    loop {
        let run = peer.ctl(&["status", cid]);
        if run.stdout.contains(word) {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{cid} does not become {word}: {run:?}");
    }
}

pub(crate) fn disk_bytes(folder: &Path) -> u64 {
    let segments = std::fs::read_dir(folder.join("embedded/segments")).expect("segments");
    segments.map(|entry| entry.expect("an entry").metadata().expect("metadata").len()).sum()
}

#[test]
fn proc_content_is_kept_over_a_kill_and_its_space_comes_back() {
    let (home, source) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("source"));
    let files = tree::write(source.path());
    let large = tree::bytes(9, LARGE);
    std::fs::write(source.path().join("large"), &large).expect("a large file");
    init(home.path());
    let mut peer = Peer::start(home.path());

    let tree_root = add(&peer, &[source.path().join("tree").to_str().expect("a path")]);
    let before = peer.memory_peak();
    let large_root = add(&peer, &["--raw-leaves", source.path().join("large").to_str().expect("a path")]);
    if let (Some(before), Some(after)) = (before, peer.memory_peak()) {
        assert!(after - before <= MEMORY_MAX, "the add took {} bytes of memory", after - before);
    }
    until(&peer, &tree_root, "PINNED");
    until(&peer, &large_root, "PINNED");
    peer.kill();
    let peer = peer.again();

    until(&peer, &tree_root, "PINNED");
    until(&peer, &large_root, "PINNED");
    for (path, content) in &files {
        let below = path.strip_prefix("tree/").expect("below the tree").replace(' ', "%20").replace('&', "%26");
        assert!(get(&peer, &format!("/ipfs/{tree_root}/{below}")) == *content, "{path} differs");
    }
    assert!(get(&peer, &format!("/ipfs/{large_root}")) == large, "the large file differs");

    let full = disk_bytes(home.path());
    assert_eq!(peer.ctl(&["pin", "rm", "--wait", &large_root]).code, 0);
    let run = peer.ctl(&["ipfs", "gc"]);
    assert_eq!(run.code, 0, "{run:?}");
    let freed = full - disk_bytes(home.path());
    assert!(freed >= (LARGE as u64) / 10 * 9, "{freed} bytes of {full} came back");
    assert!(get(&peer, &format!("/ipfs/{tree_root}/a.txt")) == b"hello\n");
}

/// How often the peer is killed. More with `CLUSTER_CRASH_ROUNDS`.
const ROUNDS: u64 = 4;

/// Adds files one after the other until the peer is gone; tells each that was acknowledged.
fn add_until_killed(api: &str, folder: &Path, round: u64, told: &std::sync::mpsc::Sender<(String, Vec<u8>)>) {
    for number in 0.. {
        // Of several blocks, and of one.
        let content = tree::bytes(round * 1_000 + number, if number % 2 == 0 { 600_000 } else { 1_000 });
        let path = folder.join(format!("{round}-{number}"));
        std::fs::write(&path, &content).expect("a file");
        let mut command = ctl();
        let args = ["--host", api, "add", "-Q", path.to_str().expect("a path")];
        let output = command.args(args).output().expect("the tool runs");
        if !output.status.success() {
            return;
        }
        let root = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let _test_is_over = told.send((root, content));
    }
}

#[test]
fn proc_what_an_add_has_acknowledged_is_there_after_kills_and_collections() {
    let rounds = std::env::var("CLUSTER_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let (home, source) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("source"));
    init(home.path());
    let mut all = Vec::new();
    for round in 0..rounds {
        let mut peer = Peer::start(home.path());
        // Whatever a kill left half done may go, and nothing else.
        assert_eq!(peer.ctl(&["ipfs", "gc"]).code, 0);
        let (sender, told) = std::sync::mpsc::channel();
        let (api, folder) = (peer.api.clone(), source.path().to_owned());
        let adding = std::thread::spawn(move || add_until_killed(&api, &folder, round, &sender));
        for _ in 0..=round % 3 {
            all.push(told.recv_timeout(DEADLINE).expect("an add"));
        }
        peer.kill();
        adding.join().expect("the adds ended");
        all.extend(told.try_iter());
    }

    let peer = Peer::start(home.path());
    assert_eq!(peer.ctl(&["ipfs", "gc"]).code, 0);
    for (root, content) in &all {
        until(&peer, root, "PINNED");
        assert!(get(&peer, &format!("/ipfs/{root}")) == *content, "{root} differs");
    }
}

#[test]
fn proc_a_full_node_says_so_and_goes_on_when_there_is_room() {
    let (home, source) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("source"));
    init_with(home.path(), "2MB");
    let peer = Peer::start(home.path());
    let file = |name: &str, length: usize| {
        let path = source.path().join(name);
        std::fs::write(&path, tree::bytes(length as u64, length)).expect("a file");
        path.to_str().expect("a path").to_owned()
    };

    let run = peer.ctl(&["add", &file("large", 5_000_000)]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(format!("{run:?}").contains("ipfs_connector.embedded.storage_max"), "{run:?}");

    // What came of it is garbage.
    assert_eq!(peer.ctl(&["ipfs", "gc"]).code, 0);
    let root = add(&peer, &[&file("small", 1_000_000)]);
    until(&peer, &root, "PINNED");
    assert!(get(&peer, &format!("/ipfs/{root}")) == tree::bytes(1_000_000, 1_000_000));
}

/// Two peers with nothing in common but the IPFS network.
#[test]
fn proc_what_another_cluster_holds_is_pinned_by_way_of_the_ipfs_network() {
    let (home, other_home) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("home"));
    let source = tempfile::tempdir().expect("source");
    let open = [("SWARM_ENABLED", "true"), ("SWARM_LISTENMULTIADDRESSES", "/ip4/127.0.0.1/tcp/0")];
    init_where(other_home.path(), &open);
    let other = Peer::start(other_home.path());
    let path = source.path().join("file");
    std::fs::write(&path, tree::bytes(7, 3_000_000)).expect("a file");
    let root = add(&other, &[path.to_str().expect("a path")]);
    let told: serde_json::Value = serde_json::from_str(&other.ctl(&["--enc=json", "id"]).stdout).expect("JSON");
    let address = told["ipfs"]["addresses"][0].as_str().expect("an address");

    init_where(home.path(), &[&open[..], &[("SWARM_PEERS", address)]].concat());
    let peer = Peer::start(home.path());
    assert_eq!(peer.ctl(&["pin", "add", "--no-status", &root]).code, 0);

    until(&peer, &root, "PINNED");
    assert!(get(&peer, &format!("/ipfs/{root}")) == tree::bytes(7, 3_000_000));
}
