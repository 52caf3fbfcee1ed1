//! Requests over plain sockets, and their answers in the form of the recording.

use super::world::{World, content};
use super::{Outcome, Tally, items, recordings, text};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[test]
fn proc_golden_rest() {
    let recorded = recordings("rest");
    let mut world = World::new(&recordings("service")["base"]["crdt"]);
    let mut tally = Tally::new("rest");
    for case in items(&recorded, "cases").filter(|case| !super::is_left_out("rest", text(case, "name"))) {
        world.before(case);
        tally.add(case, &play(&world, case, ["9094", "9194"]));
    }
    tally.finish();
}

#[test]
fn proc_golden_ctl() {
    let recorded = recordings("ctl");
    let mut world = World::new(&recordings("service")["base"]["crdt"]);
    super::world::lay_out(&world, &recorded);
    let mut tally = Tally::new("ctl");
    for case in items(&recorded, "cases").filter(|case| !super::is_left_out("ctl", text(case, "name"))) {
        world.before(case);
        tally.add(case, &super::world::run_ctl(&world, case));
    }
    tally.finish();
}

/// Asks alpha or beta, at these ports of the recording.
pub(super) fn play(world: &World, case: &Value, ports: [&str; 2]) -> Outcome {
    let host = format!("127.0.0.1:{}", world.port(ports[usize::from(text(case, "to") == "beta")]));
    let request = written(world, &case["request"], &host);
    let answer = match text(case, "to") {
        "alpha unix" => UnixStream::connect(world.ours("$DIR/api.sock")).and_then(|s| ask(s, &request)),
        _ => TcpStream::connect(&host).and_then(|s| ask(s, &request)),
    };
    let value = answer.unwrap_or_else(|error| json!({ "closed": true, "error": error.to_string() }));
    Outcome { value, replaced: world.replaced() }
}

/// The bytes of a recorded request. Ours say that trailers are taken: without that, none are sent.
fn written(world: &World, request: &Value, host: &str) -> Vec<u8> {
    if let Some(raw) = request["raw"].as_str() {
        return world.ours(raw).into_bytes();
    }
    let mut head = format!("{} {} HTTP/1.1\r\n", text(request, "method"), world.ours(text(request, "target")));
    let given: Vec<(&str, &str)> =
        items(request, "headers").map(|p| (p[0].as_str().unwrap_or(""), p[1].as_str().unwrap_or(""))).collect();
    if !given.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("Host: {host}\r\n"));
    }
    given.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {}\r\n", world.ours(value))));
    head.push_str("TE: trailers\r\n");
    let body = match (request.get("body_parts"), request["body_base64"].as_str(), request["body"].as_str()) {
        (Some(parts), ..) => content(parts),
        (_, Some(encoded), _) => super::service::decode_base64(encoded),
        (_, _, body) => body.unwrap_or("").as_bytes().to_vec(),
    };
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.into_bytes(), body].concat()
}

pub(super) fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

/// A stream to a server, of either kind.
pub(super) trait Line: Read + Write {
    fn limit(&self, wait: Duration) -> io::Result<()>;
    fn other(&self) -> io::Result<Box<dyn Write + Send>>;
}

impl Line for TcpStream {
    fn limit(&self, wait: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(wait))
    }
    fn other(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(self.try_clone()?))
    }
}

impl Line for UnixStream {
    fn limit(&self, wait: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(wait))
    }
    fn other(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(self.try_clone()?))
    }
}

/// Sends a request and reads its answer.
pub(super) fn ask(line: impl Line, request: &[u8]) -> io::Result<Value> {
    line.limit(Duration::from_secs(30))?;
    let (mut writer, bytes) = (line.other()?, request.to_vec());
    let head = request.starts_with(b"HEAD ");
    // On a thread of its own, since an answer can begin before the request has ended.
    std::thread::spawn(move || {
        let _read_or_not = writer.write_all(&bytes); // A server may answer and close without reading it all.
    });
    read_answer(&mut BufReader::new(line), head)
}

fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn read_pairs(from: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    loop {
        let line = read_line(from)?;
        let Some((name, value)) = line.split_once(':') else { return Ok(pairs) };
        pairs.push((canonical(name), value.trim().to_owned()));
    }
}

/// Names as Go writes them: `content-type` becomes `Content-Type`.
fn canonical(name: &str) -> String {
    let word = |w: &str| {
        let mut chars = w.chars();
        chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars.map(|c| c.to_ascii_lowercase())).collect()
    };
    let words: Vec<String> = name.split('-').map(word).collect();
    words.join("-")
}

fn read_answer(from: &mut impl BufRead, head: bool) -> io::Result<Value> {
    let status: u16 = read_line(from)?.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let headers = read_pairs(from)?;
    let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    if value("Transfer-Encoding") == Some("chunked") && !head {
        loop {
            let size = usize::from_str_radix(&read_line(from)?, 16).unwrap_or(0);
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size + 2];
            from.read_exact(&mut chunk)?;
            body.extend_from_slice(&chunk[..size]);
        }
        trailers = read_pairs(from)?;
    } else if let (Some(length), false) = (value("Content-Length").and_then(|l| l.parse().ok()), head) {
        body = vec![0; length];
        from.read_exact(&mut body)?;
    } else if status != 204 && !head && value("Connection") == Some("close") {
        from.read_to_end(&mut body)?;
    }
    Ok(json!({
        "status": status, "headers": headers, "body": String::from_utf8_lossy(&body), "trailers": trailers,
    }))
}
