//! Adds that end badly: told at the right time, nothing is pinned by half, and what was written is given back.

use crate::embedded::{disk_bytes, get, init, init_where};
use crate::peer::{DEADLINE, Peer, READY, service};
use crate::tree;
use cluster_testkit::kubo::{FakeKubo, Scripted};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Bytes of what is added: several leaves.
const LENGTH: usize = 3 << 20;

/// Most bytes of segments without blocks.
const EMPTY_MAX: u64 = 1_000;

fn part(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), b"--b--\r\n".to_vec()].concat()
}

/// Begins a request whose body is to have this length, and sends so much of it. A peer may refuse early.
fn begin(peer: &Peer, query: &str, body: &[u8], length: usize) -> TcpStream {
    let port = peer.api.rsplit('/').next().expect("a port");
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("connected");
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    let head = format!(
        "POST /add?{query} HTTP/1.1\r\nHost: peer\r\nTE: trailers\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let _refused_early = stream.write_all(body);
    stream
}

/// The answer to its end.
fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _cut = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends a whole body, and reads the answer.
fn send(peer: &Peer, query: &str, body: &[u8]) -> String {
    answer(begin(peer, query, body, body.len()))
}

/// Nothing is in the pinset, and a collection leaves no block behind. An add that was given up ends a moment later.
fn nothing_is_left(peer: &Peer, home: &Path) {
    assert_eq!(peer.ctl(&["pin", "ls", "--filter", "all"]).stdout, "");
    let begun = Instant::now();
    loop {
        let gc = peer.ctl(&["ipfs", "gc"]);
        assert_eq!(gc.code, 0, "{gc:?}");
        if disk_bytes(home) <= EMPTY_MAX {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{} bytes stay: {gc:?}", disk_bytes(home));
    }
}

#[test]
fn proc_an_upload_that_is_cut_off_pins_nothing_and_gives_its_space_back() {
    let home = tempfile::tempdir().expect("home");
    init(home.path());
    let peer = Peer::start(home.path());
    // The first file is whole, the second is not.
    let whole = form(&[part("first", &tree::bytes(51, 300_000)), part("second", &tree::bytes(52, LENGTH))]);
    let cut = &whole[..whole.len() - 1_000];
    for query in ["", "stream-channels=false", "shard=true&shard-size=1000000", "wrap-with-directory=true"] {
        let stream = begin(&peer, query, cut, whole.len());
        let begun = Instant::now();
        while disk_bytes(home.path()) <= EMPTY_MAX {
            assert!(begun.elapsed() < DEADLINE, "{query}: nothing of it is stored");
        }
        stream.shutdown(Shutdown::Both).expect("closed");
        nothing_is_left(&peer, home.path());
    }
    // A body that is as long as it says, and ends in the middle of a part.
    let told = send(&peer, "", cut);
    assert!(told.to_lowercase().contains("x-stream-error: multipart: nextpart: eof"), "{told}");
    let told = send(&peer, "stream-channels=false", cut);
    assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("multipart: NextPart: EOF"), "{told}");
    nothing_is_left(&peer, home.path());
}

#[test]
fn proc_a_client_that_stalls_is_told_and_cut_while_others_are_served() {
    let home = tempfile::tempdir().expect("home");
    init(home.path());
    let path = home.path().join("service.json");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let mut configuration: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    configuration["api"]["restapi"]["stall_timeout"] = "1s".into();
    std::fs::write(&path, configuration.to_string()).expect("written");
    let peer = Peer::start(home.path());
    let whole = form(&[part("slow", &tree::bytes(53, LENGTH))]);

    let streams = ["stream-channels=false", "", "format=car"]
        .map(|query| (query, begin(&peer, query, &whole[..whole.len() / 2], whole.len())));
    assert_eq!(peer.ctl(&["id"]).code, 0);
    for (query, stream) in streams {
        let told = answer(stream);
        if query != "format=car" {
            assert!(told.contains("the client sent nothing for 1 s"), "{query}: {told}");
        }
    }
    nothing_is_left(&peer, home.path());
    assert!(send(&peer, "", &whole).contains("\"name\":\"slow\""));
}

#[test]
fn proc_a_daemon_that_gives_up_half_way_is_told_of_and_nothing_is_pinned() {
    let (home, kubo) = (tempfile::tempdir().expect("home"), FakeKubo::start());
    let peer = Peer::with(home.path(), &kubo);
    let whole = form(&[part("large", &tree::bytes(54, LENGTH))]);
    let refusal = Scripted {
        status: 500,
        body: r#"{"Message":"no room left","Code":0,"Type":"error"}"#.into(),
        ..Scripted::default()
    };
    // Leaves go in an exchange of their own before.
    let nodes = "POST /api/v0/block/put?allow-big-block=true&cid-codec=dag-pb&mhlen=32&mhtype=sha2-256&pin=false";
    kubo.world().scripted.insert(nodes.into(), refusal);
    let told = send(&peer, "cid-version=1", &whole);
    assert!(told.contains("no room left"), "{told}");
    assert!(kubo.world().scripted.is_empty(), "the daemon was asked");
    assert!(!kubo.world().blocks.is_empty(), "the leaves were stored before");
    assert_eq!(peer.ctl(&["pin", "ls", "--filter", "all"]).stdout, "");
    assert!(kubo.world().recursive.is_empty());
}

/// Passes bytes between a peer and a daemon until so many have gone to the daemon; then nobody is there any more.
fn mortal(kubo: &FakeKubo, bytes_max: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().expect("an address").port());
    let (daemon, passed) = (kubo.address(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&passed);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if counted.load(Ordering::Relaxed) >= bytes_max {
                return;
            }
            let Ok(to) = TcpStream::connect(daemon) else { return };
            let (mut back_from, mut back_to) =
                (to.try_clone().expect("a socket"), stream.try_clone().expect("a socket"));
            std::thread::spawn(move || std::io::copy(&mut back_from, &mut back_to));
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || pass(stream, to, &counted, bytes_max));
        }
    });
    (address, passed)
}

fn pass(mut from: TcpStream, mut to: TcpStream, passed: &AtomicUsize, bytes_max: usize) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        let alive = count > 0 && passed.fetch_add(count, Ordering::Relaxed) + count < bytes_max;
        if !alive || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn proc_a_daemon_that_dies_half_way_is_told_of_and_nothing_is_pinned() {
    let (home, kubo) = (tempfile::tempdir().expect("home"), FakeKubo::start());
    let (address, passed) = mortal(&kubo, 1 << 20);
    let mut command = service();
    command.arg("--config").arg(home.path()).args(["init", "--randomports"]);
    let output = command.env("CLUSTER_IPFSHTTP_NODEMULTIADDRESS", &address).output().expect("init runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let peer = Peer::start(home.path());
    let whole = form(&[part("large", &tree::bytes(55, LENGTH))]);

    let told = send(&peer, "stream-channels=false", &whole);

    assert!(told.starts_with("HTTP/1.1 500 "), "{told}");
    assert!(told.contains("/api/v0/block/put"), "the daemon and the call are named: {told}");
    assert!(passed.load(Ordering::Relaxed) >= 1 << 20);
    assert_eq!(peer.ctl(&["pin", "ls", "--filter", "all"]).stdout, "");
}

#[test]
fn proc_a_car_file_that_lies_or_ends_early_pins_nothing_and_gives_its_space_back() {
    let home = tempfile::tempdir().expect("home");
    init(home.path());
    let peer = Peer::start(home.path());
    let (mut blocks, mut builder) = (Vec::new(), dag::file::FileBuilder::new(dag::file::Options::default()));
    builder.push(&tree::bytes(56, LENGTH), &mut |block| blocks.push(block));
    let root = builder.finish(&mut |block| blocks.push(block)).cid;
    let sections = blocks.iter().map(|block| dag::car::section(&block.cid, &block.data));
    let honest = [vec![dag::car::header(&root)], sections.collect()].concat().concat();
    let mut lying = honest.clone();
    let place = honest.len() - 1_000_000;
    lying[place] ^= 1;
    for (car, words) in [(&lying[..], "mismatch in content integrity"), (&honest[..honest.len() - 5], "unexpected EOF")]
    {
        let told = send(&peer, "format=car&stream-channels=false", &form(&[part("a.car", car)]));
        assert!(told.starts_with("HTTP/1.1 400 ") && told.contains(words), "{told}");
        nothing_is_left(&peer, home.path());
    }
}

/// Bytes of the small file system.
const ROOM: usize = 24 << 20;

#[test]
fn proc_a_full_disk_is_told_and_after_a_collection_it_goes_on() {
    let mount = format!("mount -t tmpfs -o size={ROOM} tmpfs \"$0\" && exec \"$@\"");
    let mut inside = Command::new("unshare");
    inside.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount]);
    let home = tempfile::tempdir().expect("home");
    let place = home.path().join("embedded");
    std::fs::create_dir(&place).expect("made");
    let mut tried = Command::new("unshare");
    tried.args(inside.get_args()).arg(&place).arg("true");
    if !tried.output().is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: the system gives no namespace with a file system of its own");
    }
    // The disk is full before the node is.
    init_where(home.path(), &[("STORAGEMAX", "1TB")]);
    let program = service();
    inside.arg(&place).arg(program.get_program());
    inside.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let peer = Peer::start_by(inside, None, home.path(), &[], READY);
    let large = form(&[part("large", &tree::bytes(57, ROOM + ROOM / 4))]);
    let small = tree::bytes(58, ROOM / 3);

    for query in ["", "stream-channels=false"] {
        let told = send(&peer, query, &large);
        assert!(told.contains("no room is left on the device") && told.contains("run gc"), "{told}");
    }
    assert_eq!(peer.ctl(&["pin", "ls", "--filter", "all"]).stdout, "");
    let gc = peer.ctl(&["ipfs", "gc"]);
    assert_eq!(gc.code, 0, "{gc:?}");
    let told = send(&peer, "cid-version=1&stream-channels=false", &form(&[part("small", &small)]));
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
    let root = told.split("\"cid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a root");
    assert!(get(&peer, &format!("/ipfs/{root}")) == small, "the content differs");
}

#[test]
fn proc_paths_that_leave_the_tree_or_have_no_end_do_no_harm() {
    let home = tempfile::tempdir().expect("home");
    init(home.path());
    let peer = Peer::start(home.path());
    let add = |name: &str| send(&peer, "no-pin=true", &form(&[part(name, b"x")]));
    let told = add("..%2F..%2Fetc%2Fpasswd");
    assert!(told.contains("\"name\":\"etc/passwd\"") && !told.contains(".."), "{told}");
    // Each directory takes room on the stack of whoever goes through them.
    let told = add(&"d/".repeat(20_000));
    assert!(told.contains("directories in each other: 256 are taken"), "{}", &told[..told.len().min(500)]);
    nothing_is_left(&peer, home.path());
}

/// The CIDs were recorded from Kubo 0.44.
#[test]
fn proc_what_kubo_s_clients_ask_for_is_done_or_refused() {
    let home = tempfile::tempdir().expect("home");
    init(home.path());
    let peer = Peer::start(home.path());
    let hello = form(&[part("f.txt", b"hello")]);
    for (query, cid) in [
        ("inline=true", "bafyaadikbmeaeeqfnbswy3dpdacq"),
        ("inline=true&cid-version=1", "bafkqablimvwgy3y"),
        ("inline=true&cid-version=1&inline-limit=4", "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"),
        ("inline-limit=99&mode=0644", "QmNqzFWcJHcaAQk5tiD4QVNuPxfurgDHHQrX9CDQze6165"),
        ("mode=420&cid-version=1", "bafybeiahqpygmyokcaboaiixp3jdmgyuozbyxgikvkzg6kmprzdhuhcqty"),
    ] {
        let told = send(&peer, &format!("stream-channels=false&{query}"), &hello);
        assert!(told.starts_with("HTTP/1.1 200 ") && told.contains(&format!("\"{cid}\"")), "{query}: {told}");
    }
    // The mode comes with the part, and is kept only if that is asked for.
    let hello = String::from_utf8(hello).expect("text").replace("name=\"file\"", "name=\"file?mode=0644\"");
    for (query, cid) in [
        ("preserve-mode=true", "QmNqzFWcJHcaAQk5tiD4QVNuPxfurgDHHQrX9CDQze6165"),
        ("preserve-mtime=true", "QmWfVY9y3xjsixTgbd9AorQxH7VtMpzfx2HaWtsoUYecaX"),
    ] {
        let told = send(&peer, &format!("stream-channels=false&{query}"), hello.as_bytes());
        assert!(told.contains(&format!("\"{cid}\"")), "{query}: {told}");
    }
    for (query, words) in [
        ("inline=true&inline-limit=65", "inline-limit 65 exceeds maximum allowed size of 64 bytes"),
        ("max-file-links=1", "max-file-links 1: it must be between 2 and 8192"),
        ("max-hamt-fanout=9", "max-hamt-fanout 9: it must be a power of two between 8 and 1024"),
        ("mode=0644&raw-leaves=true", "raw-leaves can't be used with UnixFS metadata like mode or modification time"),
        ("mtime-nsecs=1", "requires"),
        ("mode=09", "parameter mode invalid"),
        ("preserve-mode=maybe", "parameter preserve-mode invalid"),
        ("hash=sha1&cid-version=1", "hash function name not known"),
    ] {
        let told = send(&peer, &format!("stream-channels=false&{query}"), hello.as_bytes());
        assert!(told.starts_with("HTTP/1.1 400 ") && told.contains(words), "{query}: {told}");
    }
}
