//! The Pinning Service API of a running peer.

use crate::peer::{Peer, init};
use cluster_testkit::kubo::FakeKubo;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// The port of the API, from the configuration.
fn port(folder: &Path) -> u16 {
    let text = std::fs::read_to_string(folder.join("service.json")).expect("a configuration");
    let config: Value = serde_json::from_str(&text).expect("JSON");
    let listen = config["api"]["pinsvcapi"]["http_listen_multiaddress"].as_str().expect("an address");
    listen.rsplit('/').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// A request; the status and the body of its answer.
fn ask(port: u16, method: &str, target: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all((head + &body).as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// CIDs of small blocks, one for each number.
fn cid(number: u8) -> String {
    let digest: [u8; 32] = std::array::from_fn(|at| if at == 0 { number } else { 7 });
    let bytes = [&[1, 0x55, 0x12, 32][..], &digest].concat();
    cluster_types::Cid::from_bytes(&bytes).expect("a CID").to_string()
}

#[test]
fn proc_every_pin_is_on_one_page_and_a_replacement_has_an_id_of_its_own() {
    let (home, kubo) = (tempfile::tempdir().expect("home"), FakeKubo::start());
    init(home.path(), &kubo);
    let (_peer, port) = (Peer::start(home.path()), port(home.path()));
    for number in 0..25 {
        let (status, made) =
            ask(port, "POST", "/pins", &json!({ "cid": cid(number), "name": "x", "meta": { "k": "v" } }));
        assert_eq!((status, text(&made, "/status")), (202, "queued"), "{made}");
    }

    // Pages of 10 of what was made within a second or two.
    let (mut seen, mut before, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let (status, page) = ask(port, "GET", &format!("/pins?name=x{before}"), &Value::Null);
        let results = page["results"].as_array().expect("results");
        assert_eq!((status, page["count"].as_u64()), (200, Some(25 - seen.len() as u64)), "{page}");
        let Some(oldest) = results.last() else { break };
        assert!(
            results.len() <= 10 && results.iter().all(|pin| seen.insert(text(pin, "/pin/cid").to_owned())),
            "{page}"
        );
        before = format!("&before={}", text(oldest, "/created"));
        pages += 1;
    }
    assert!(seen.len() == 25 && pages <= 4, "{} pins on {pages} pages", seen.len());

    // The same CID under another name: the old id is gone, the new one and the CID mean the pin, and the rest is kept.
    let (_, list) = ask(port, "GET", &format!("/pins?cid={}", cid(3)), &Value::Null);
    let old = text(&list, "/results/0/requestid");
    let (status, new) = ask(port, "POST", &format!("/pins/{old}"), &json!({ "cid": cid(3), "name": "y" }));
    let id = text(&new, "/requestid");
    assert!(status == 202 && id != old, "{new}");
    assert_eq!(ask(port, "GET", &format!("/pins/{old}"), &Value::Null).0, 404);
    for id in [id, &cid(3)] {
        let (status, pin) = ask(port, "GET", &format!("/pins/{id}"), &Value::Null);
        assert_eq!((status, &pin["pin"]), (200, &json!({ "cid": cid(3), "name": "y", "meta": { "k": "v" } })));
    }

    // Another CID in its place, and then nothing.
    let (status, new) = ask(port, "POST", &format!("/pins/{id}"), &json!({ "cid": cid(99), "meta": { "z": "w" } }));
    assert_eq!((status, &new["pin"]), (202, &json!({ "cid": cid(99), "name": "y", "meta": { "z": "w" } })));
    assert_eq!(ask(port, "GET", &format!("/pins/{}", cid(3)), &Value::Null).0, 404);
    let target = format!("/pins/{}", text(&new, "/requestid"));
    assert_eq!(ask(port, "DELETE", &target, &Value::Null).0, 202);
    let (status, gone) = ask(port, "DELETE", &target, &Value::Null);
    assert_eq!((status, text(&gone, "/error/reason")), (404, "NOT_FOUND"), "{gone}");
}
