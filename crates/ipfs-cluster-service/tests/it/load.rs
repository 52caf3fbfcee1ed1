//! What a peer bears of clients that are many, slow, or send nonsense: a clear answer, bounded memory, and others that are
//! served meanwhile.

use crate::peer::Peer;
use cluster_testkit::kubo::FakeKubo;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Connections that are held at a time, if the process may open so many files.
const IDLE: usize = 10_000;

/// Most memory that a connection may cost: measured are 26 KiB.
const BYTES_PER_CONNECTION: u64 = 64 << 10;

/// How long an answer may take on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(30);

fn connect(peer: &Peer) -> TcpStream {
    let port = peer.api.split('/').nth(4).expect("an address such as /ip4/127.0.0.1/tcp/9094");
    let stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("the peer takes it");
    stream.set_read_timeout(Some(ANSWER_MAX)).expect("set");
    stream
}

/// The first line of the answer.
fn status(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|n| n == 1) && byte != *b"\r" {
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).into_owned()
}

/// Sends a request; the peer may stop listening before its end.
fn ask(peer: &Peer, head: &str, rest: &[u8]) -> String {
    let mut stream = connect(peer);
    let sent = format!("{head} HTTP/1.1\r\nHost: peer\r\n");
    let _refused_early = stream.write_all(&[sent.as_bytes(), rest].concat());
    status(&mut stream)
}

fn is_served(peer: &Peer) -> bool {
    ask(peer, "GET /version", b"\r\n") == "HTTP/1.1 200 OK"
}

/// How many files this process may have open; the peer, its child, may have as many.
fn files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|soft| soft.parse().ok()).unwrap_or(1024)
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_keep_nobody_out() {
    let home = tempfile::tempdir().expect("home");
    let peer = Peer::with(home.path(), &FakeKubo::start());
    let count = IDLE.min(files_max().saturating_sub(500));
    println!("{count} connections; {} files may be open", files_max());
    let before = peer.memory_peak();

    let mut held: Vec<TcpStream> = (0..count).map(|_| connect(&peer)).collect();
    for stream in &mut held {
        stream.write_all(b"GET /version HTTP/1.1\r\nHost: peer\r\n\r\n").expect("sent");
    }
    let answered = held.iter_mut().filter_map(|stream| (status(stream) == "HTTP/1.1 200 OK").then_some(())).count();

    assert_eq!(answered, count);
    assert!(is_served(&peer), "one more is served");
    if let (Some(before), Some(after)) = (before, peer.memory_peak()) {
        let each = (after - before) / u64::try_from(count).expect("a count");
        println!("{each} bytes each");
        assert!(each < BYTES_PER_CONNECTION, "{each} bytes for each connection");
    }
}

#[test]
fn requests_that_are_too_large_or_make_no_sense_are_refused_and_take_no_memory() {
    let home = tempfile::tempdir().expect("home");
    let peer = Peer::with(home.path(), &FakeKubo::start());
    let before = peer.memory_peak();
    let large = "a".repeat(8 << 20);
    let deep = |open: &str| {
        let body = open.repeat(100_000);
        format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let cases = [
        ("GET /version", format!("A: {large}\r\n\r\n").into_bytes(), "431"),
        ("GET /version", format!("{}\r\n", "a: b\r\n".repeat(100_000)).into_bytes(), "431"),
        (&format!("GET /pins?filter={large}"), b"\r\n".to_vec(), "431"),
        ("GET /pins/%ff%fe", b"\r\n".to_vec(), "400"),
        ("GET /pins?cids=%ff%fe", b"\r\n".to_vec(), "400"),
        ("POST /peers", deep("["), "400"),
        ("POST /peers", deep("{\"peer_id\":"), "400"),
        ("POST /peers", b"Content-Length: -1\r\n\r\n".to_vec(), "400"),
        ("POST /peers", b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_vec(), "400"),
    ];

    for (head, rest, code) in &cases {
        let answer = ask(&peer, head, rest);
        let short: String = head.chars().take(40).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{short}: {answer:?}");
        assert!(is_served(&peer), "after {short}");
    }
    if let (Some(before), Some(after)) = (before, peer.memory_peak()) {
        assert!(after - before < 16 << 20, "{} bytes more", after - before);
    }
}

#[test]
fn clients_that_never_end_what_they_began_keep_nobody_out() {
    let home = tempfile::tempdir().expect("home");
    let peer = Peer::with(home.path(), &FakeKubo::start());
    let begun: [&[u8]; 3] = [
        b"GET /vers",
        b"POST /peers HTTP/1.1\r\nHost: peer\r\nContent-Length: 100000\r\n\r\n{\"peer_id\":",
        b"POST /add HTTP/1.1\r\nHost: peer\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n\
          --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nabc",
    ];
    let before = peer.memory_peak();

    let held: Vec<TcpStream> = (0..300)
        .map(|at| {
            let mut stream = connect(&peer);
            stream.write_all(begun[at % begun.len()]).expect("sent");
            stream
        })
        .collect();

    assert!(is_served(&peer), "beside {} that wait", held.len());
    assert_eq!(ask(&peer, "GET /pins", b"\r\n"), "HTTP/1.1 204 No Content");
    if let (Some(before), Some(after)) = (before, peer.memory_peak()) {
        assert!(after - before < 64 << 20, "{} bytes more", after - before);
    }
}
