//! The way of content: added, stored at the daemon block by block, pinned; and what happens when the daemon fails.

use crate::peer::{DEADLINE, Peer};
use crate::tree;
use bytes::Bytes;
use cluster_client::upload::{Take, entries_of};
use cluster_client::{Client, Upload};
use cluster_testkit::kubo::FakeKubo;
use cluster_types::{AddParams, Cid, PinOptions, TrackerStatus};
use dag::pb::Node;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Adds a path and returns its root.
async fn add(client: &Client, path: &Path) -> Cid {
    let upload = Upload::new(entries_of(path, Take { recursive: true, hidden: true }).expect("entries"));
    let mut items = client.add(upload, &AddParams::default()).await.expect("accepted");
    let mut root = None;
    while let Some(item) = items.next().await {
        root = item.expect("added").cid;
    }
    root.expect("a root")
}

/// Asks until the item stands like that; returns the error told with it.
async fn until(client: &Client, cid: &Cid, target: TrackerStatus) -> String {
    let begun = Instant::now();
    loop {
        let info = client.status(cid, false).await.expect("status");
        if let Some(peer) = info.peer_map.values().find(|peer| peer.status == target) {
            return peer.error.clone();
        }
        assert!(begun.elapsed() < DEADLINE, "{cid} does not become {target}: {info:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The bytes of a file, read out of the daemon's blocks.
fn read(blocks: &BTreeMap<String, Bytes>, cid: &str, out: &mut Vec<u8>) {
    let node = Node::decode(&blocks[cid]).expect("a node");
    if !node.links.is_empty() {
        return node.links.iter().for_each(|link| read(blocks, &link.cid.to_string(), out));
    }
    // A leaf of UnixFS: type, bytes (if any), size.
    let data = node.data;
    if data.get(2) == Some(&0x12) {
        let (length, rest) = unsigned_varint::decode::usize(&data[3..]).expect("a length");
        out.extend_from_slice(&rest[..length]);
    }
}

/// The CID of a path below a directory.
fn walk(blocks: &BTreeMap<String, Bytes>, root: &str, path: &str) -> String {
    path.split('/').fold(root.to_owned(), |here, name| {
        let node = Node::decode(&blocks[&here]).expect("a directory");
        node.links.iter().find(|link| link.name == name).expect(name).cid.to_string()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_and_a_large_file_arrive_at_the_daemon_and_survive_a_kill() {
    let (home, source) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("source"));
    let files = tree::write(source.path());
    let large = tree::bytes(9, 64 << 20);
    std::fs::write(source.path().join("large"), &large).expect("a large file");
    let kubo = FakeKubo::start();
    let mut peer = Peer::with(home.path(), &kubo);
    let client = peer.client();

    let tree_root = add(&client, &source.path().join("tree")).await;
    let large_root = add(&client, &source.path().join("large")).await;
    until(&client, &tree_root, TrackerStatus::PINNED).await;
    until(&client, &large_root, TrackerStatus::PINNED).await;
    peer.kill();
    let peer = peer.again();

    until(&peer.client(), &tree_root, TrackerStatus::PINNED).await;
    let world = kubo.world();
    assert!(world.recursive.contains(&tree_root.to_string()) && world.recursive.contains(&large_root.to_string()));
    for (path, content) in &files {
        let below = path.strip_prefix("tree/").expect("below the tree");
        let mut bytes = Vec::new();
        read(&world.blocks, &walk(&world.blocks, &tree_root.to_string(), below), &mut bytes);
        assert!(bytes == *content, "{path} differs");
    }
    let mut bytes = Vec::new();
    read(&world.blocks, &large_root.to_string(), &mut bytes);
    assert!(bytes == large, "the large file differs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_fails_is_shown_with_its_words_and_tried_again() {
    let home = tempfile::tempdir().expect("home");
    let kubo = FakeKubo::start();
    let peer = Peer::with(home.path(), &kubo);
    let client = peer.client();
    let cid: Cid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN".parse().expect("a CID");

    kubo.world().refuse_pins = Some("no room left".into());
    client.pin(&cid, &PinOptions::default()).await.expect("taken all the same");
    let error = until(&client, &cid, TrackerStatus::PIN_ERROR).await;
    assert!(error.ends_with("Code: 500. Message: no room left"), "{error}");

    // An error behind an answer that looks fine is an error too.
    *kubo.world() =
        cluster_testkit::kubo::World { refuse_pins_late: Some("a block is gone".into()), ..Default::default() };
    client.recover(&cid, false).await.expect("tried again");
    loop {
        let error = until(&client, &cid, TrackerStatus::PIN_ERROR).await;
        if error.contains("a block is gone") {
            break;
        }
    }

    kubo.world().refuse_pins_late = None;
    // Without anybody's doing: failed items are tried again.
    until(&client, &cid, TrackerStatus::PINNED).await;
    assert!(kubo.world().recursive.contains(&cid.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_answers_garbage_or_loses_a_pin_is_seen_through() {
    let home = tempfile::tempdir().expect("home");
    let kubo = FakeKubo::start();
    let peer = Peer::with(home.path(), &kubo);
    let client = peer.client();
    let cid: Cid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN".parse().expect("a CID");
    client.pin(&cid, &PinOptions::default()).await.expect("pinned");
    until(&client, &cid, TrackerStatus::PINNED).await;

    kubo.world().garbage = Some("<html>".into());
    let error = until(&client, &cid, TrackerStatus::CLUSTER_ERROR).await;
    assert!(error.contains("<html>"), "{error}");

    kubo.world().garbage = None;
    kubo.world().recursive.clear();
    // Asking finds out, and what is lost is pinned again.
    until(&client, &cid, TrackerStatus::PINNED).await;
    assert!(kubo.world().recursive.contains(&cid.to_string()));
}

#[test]
fn a_client_that_asks_whether_to_send_is_told_to_before_it_is_answered() {
    let home = tempfile::tempdir().expect("home");
    let peer = Peer::with(home.path(), &FakeKubo::start());
    let port = peer.api.rsplit('/').next().expect("a port");
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("connected");
    let form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nhello\n\r\n--b--\r\n";
    let length = form.len();
    let head = format!(
        "POST /add HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n\
         Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");

    let mut told = [0; 25];
    stream.read_exact(&mut told).expect("told");
    assert_eq!(std::str::from_utf8(&told), Ok("HTTP/1.1 100 Continue\r\n\r\n"));

    stream.write_all(form.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN"),
        "{answer}"
    );
}

/// Posts a form to the REST API as a client that takes no trailers; the whole answer.
fn post_form(peer: &Peer, target: &str, form: &str) -> String {
    let port = peer.api.rsplit('/').next().expect("a port");
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("connected");
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n",
        form.len()
    );
    stream.write_all(format!("{head}{form}").as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

/// A connection that just ends tells nobody anything: `curl` says no more than "empty reply".
#[test]
fn what_is_wrong_with_an_add_before_its_first_line_is_told_by_its_status() {
    const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nhello\r\n--b--\r\n";
    let home = tempfile::tempdir().expect("home");
    let peer = Peer::with(home.path(), &FakeKubo::start());

    for (target, form, status, text) in [
        ("/add?chunker=foo", FORM, "400", "unrecognized chunker option: foo"),
        ("/add?chunker=foo&stream-channels=false", FORM, "400", "unrecognized chunker option: foo"),
        ("/add", "--b--\r\n", "400", "the request body has no parts"),
        ("/add?replication-min=9&replication-max=9", FORM, "500", "not enough peers to allocate CID"),
    ] {
        let answer = post_form(&peer, target, form);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(text), "{target}: {answer}");
    }
    assert!(post_form(&peer, "/add", FORM).starts_with("HTTP/1.1 200 OK"));

    // A client that sends all of it before it reads is not reset.
    let large = FORM.replace("hello", &"x".repeat(32 << 20));
    let answer = post_form(&peer, "/add?chunker=foo", &large);
    assert!(answer.contains("unrecognized chunker option: foo"), "{answer}");

    // Behind the first line the answer is cut; but what was told before is not lost with it.
    let broken = FORM.replace("--b--", "--b\r\nContent-Disposition: form-data; name=\"\u{8}\"\r\n\r\nhello\r\n--b--");
    let answer = post_form(&peer, "/add?wrap-with-directory=false", &broken);
    assert!(answer.contains("\"name\":\"f\""), "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "it looks whole: {answer}");
}

/// A CAR file's blocks arrive as they are and its roots are pinned; nothing is, when a block is not what its name says.
#[tokio::test(flavor = "multi_thread")]
async fn a_car_file_is_pinned_and_one_with_a_lie_is_not() {
    let (home, kubo) = (tempfile::tempdir().expect("home"), FakeKubo::start());
    let peer = Peer::with(home.path(), &kubo);
    let (client, file) = (peer.client(), home.path().join("two.car"));
    let block = |data: &'static [u8]| {
        let naming = dag::hash::Naming { version_1: true, ..Default::default() };
        dag::Block { cid: naming.cid(dag::RAW, data), data: Bytes::from_static(data) }
    };
    let (one, two) = (block(b"one"), block(b"two"));
    let mut header = b"\xa2eroots\x82".to_vec();
    for block in [&one, &two] {
        header.extend_from_slice(b"\xd8\x2a\x58\x25\x00");
        header.extend_from_slice(&block.cid.to_bytes());
    }
    header.extend_from_slice(b"gversion\x01");
    let mut car = vec![u8::try_from(header.len()).expect("short")];
    car.extend_from_slice(&header);
    car.extend_from_slice(&dag::car::section(&one.cid, &one.data));
    let honest = [&car[..], &dag::car::section(&two.cid, &two.data)].concat();
    let lying = [&car[..], &dag::car::section(&two.cid, b"six")].concat();
    let path = file.to_str().expect("a path");

    std::fs::write(&file, lying).expect("written");
    let run = peer.ctl(&["add", "--format", "car", path]);
    assert!(run.code != 0 && run.stdout.contains("mismatch in content integrity"), "{run:?}");
    assert_eq!(peer.ctl(&["pin", "ls"]).stdout, "");

    std::fs::write(&file, honest).expect("written");
    let run = peer.ctl(&["add", "--format", "car", path]);
    assert_eq!((run.code, run.stdout.lines().count()), (0, 2), "{run:?}");
    for block in [one, two] {
        until(&client, &Cid(block.cid), TrackerStatus::PINNED).await;
        assert_eq!(kubo.world().blocks[&block.cid.to_string()], block.data);
    }
}
