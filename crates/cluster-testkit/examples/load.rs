//! Drives a peer's REST API and prints figures: `load 127.0.0.1:9094 pin COUNT CONNECTIONS [FIRST]`, or
//! `load 127.0.0.1:9094 list PATH`, or `load 127.0.0.1:9094 add MIB [TARGET]` (one file) or `tree FILES [TARGET]` (that many
//! small ones in one directory), where the target is `/add` or that of a Kubo, `/api/v0/add`; or writes a pinset for `state import`: `load export COUNT`.
//!
//! Works with any peer that speaks the reference's API, so that two can be compared in one run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args.get(at).and_then(|text| text.parse::<u64>().ok());
    match (args.first(), args.get(1).map(String::as_str), number(2), number(3)) {
        (Some(host), Some("pin"), Some(count), Some(connections)) => {
            pin(host, count, connections, number(4).unwrap_or(0))
        }
        (Some(host), Some("add"), Some(mib), _) => add(host, mib, args.get(3).map_or("/add", String::as_str)),
        (Some(host), Some("tree"), Some(files), _) => tree(host, files, args.get(3).map_or("/add", String::as_str)),
        (Some(export), Some(count), ..) if export == "export" => self::export(count.parse().unwrap_or(0)),
        (Some(host), Some("list"), ..) => list(host, args.get(2).map_or("/allocations", String::as_str)),
        _ => eprintln!(
            "usage: load HOST:PORT pin COUNT CONNECTIONS [FIRST] | load HOST:PORT list PATH | \
             load HOST:PORT add MIB [TARGET] | load HOST:PORT tree FILES [TARGET] | load export COUNT"
        ),
    }
}

/// The text of a raw CID that no other number has.
fn cid(number: u64) -> String {
    // A bijection whose numbers look like hashes: keys of a store come in no order.
    let mut state = number;
    let mut digest = String::new();
    for _ in 0..4 {
        state = state.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
        let mixed = (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        digest.push_str(&format!("{:016x}", mixed ^ (mixed >> 32)));
    }
    format!("f01551220{digest}")
}

/// The pins in the form of the reference's exports.
fn export(count: u64) {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for number in 0..count {
        let line = format!(
            r#"{{"replication_factor_min":-1,"replication_factor_max":-1,"name":"pin {number}","mode":"recursive","shard_size":0,"user_allocations":null,"expire_at":"0001-01-01T00:00:00Z","metadata":null,"pin_update":null,"origins":[],"cid":"{}","type":"pin","allocations":[],"max_depth":-1,"reference":null,"timestamp":"2026-11-22T08:54:58Z"}}"#,
            cid(number)
        );
        writeln!(out, "{line}").expect("written");
    }
}

fn pin(host: &str, count: u64, connections: u64, first: u64) {
    let (next, begun) = (AtomicU64::new(first), Instant::now());
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let work = || {
            let mut times = Vec::new();
            let stream = TcpStream::connect(host).expect("the peer listens");
            stream.set_nodelay(true).expect("a socket option");
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let mut stream = stream;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= first + count {
                    return times;
                }
                let asked = Instant::now();
                let query = "?replication-min=-1&replication-max=-1";
                let request =
                    format!("POST /pins/{}{query} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n", cid(number));
                stream.write_all(request.as_bytes()).expect("sent");
                let status = answer(&mut reader);
                assert!(status.contains(" 200 "), "{status}");
                times.push(asked.elapsed());
            }
        };
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect()
    });
    let elapsed = begun.elapsed().as_secs_f64();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
    let rate = times.len() as f64 / elapsed;
    println!("{count} pins, {connections} connections: {rate:.0}/s, p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99));
}

/// Bytes that nobody has yet: they begin with the time, and each block differs.
fn fresh(bytes: usize) -> Vec<u8> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let mut x = since.as_nanos() as u64 | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        out.extend_from_slice(&x.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(bytes);
    out
}

fn part_head(name: &str) -> String {
    format!(
        "--load\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
}

const FORM_END: &str = "\r\n--load--\r\n";

/// Begins to send a form of so many bytes.
fn post(host: &str, target: &str, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(host).expect("the peer listens");
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=load\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

/// Reads the answer to a form to its end; it must be a good one.
fn added(mut stream: TcpStream) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // A body that is cut has no last chunk.
    assert!(answer.ends_with("\r\n0\r\n\r\n") || answer.contains("ontent-Length"), "{answer}");
}

/// Sends a file of so many MiB. It is stored for good when that is answered.
fn add(host: &str, mib: u64, target: &str) {
    let content = fresh(usize::try_from(mib << 20).expect("fits into memory"));
    let head = part_head("file");
    let begun = Instant::now();
    let mut stream = post(host, target, head.len() + content.len() + FORM_END.len());
    for part in [head.as_bytes(), &content, FORM_END.as_bytes()] {
        stream.write_all(part).expect("sent");
    }
    added(stream);
    let elapsed = begun.elapsed().as_secs_f64();
    println!("add of {mib} MiB: {elapsed:.2} s, {:.0} MiB/s", mib as f64 / elapsed);
}

/// Sends so many small files of one directory.
fn tree(host: &str, files: u64, target: &str) {
    let begun = Instant::now();
    let part = |number: u64| {
        let first = if number == 0 { "" } else { "\r\n" };
        format!("{first}{}file {number:09}", part_head(&format!("d%2F{number:09}")))
    };
    // All but the first are as long.
    let (first, other) = (part(0).len(), part(1).len());
    let length = first + other * usize::try_from(files.saturating_sub(1)).expect("fits") + FORM_END.len();
    let stream = post(host, target, length);
    let reader = stream.try_clone().expect("a second handle");
    // Lines are told meanwhile: read, or the peer waits.
    let answers = std::thread::spawn(move || added(reader));
    let mut out = std::io::BufWriter::with_capacity(1 << 18, stream);
    (0..files.max(1)).for_each(|number| out.write_all(part(number).as_bytes()).expect("sent"));
    out.write_all(FORM_END.as_bytes()).expect("sent");
    out.flush().expect("sent");
    answers.join().expect("added");
    let elapsed = begun.elapsed().as_secs_f64();
    println!("add of {files} files: {elapsed:.2} s, {:.0}/s", files as f64 / elapsed);
}

/// Reads one answer of known length; returns its status line.
fn answer(reader: &mut impl BufRead) -> String {
    let (mut status, mut line, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut status).expect("answered");
    loop {
        line.clear();
        reader.read_line(&mut line).expect("answered");
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a whole answer");
    status
}

fn list(host: &str, path: &str) {
    let mut stream = TcpStream::connect(host).expect("the peer listens");
    let begun = Instant::now();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("sent");
    let (mut buffer, mut lines, mut bytes, mut first) = (vec![0; 1 << 20], 0_u64, 0_u64, None);
    // Of the read before: an end of a line may be cut in two.
    let mut last = 0;
    loop {
        let read = stream.read(&mut buffer).expect("answered");
        if read == 0 {
            break;
        }
        bytes += read as u64;
        let found = buffer[..read].iter().filter(|byte| **byte == b'}').count() as u64;
        if found > 0 {
            first.get_or_insert_with(|| begun.elapsed());
        }
        lines += u64::from(last == b'}' && buffer[0] == b'\n');
        lines += buffer[..read].windows(2).filter(|pair| *pair == b"}\n").count() as u64;
        last = buffer[read - 1];
    }
    let (elapsed, first) = (begun.elapsed().as_secs_f64(), first.unwrap_or_default().as_secs_f64() * 1_000.0);
    println!(
        "{path}: {lines} items, {bytes} bytes in {elapsed:.2} s: {:.0}/s, first after {first:.1} ms",
        lines as f64 / elapsed
    );
}
