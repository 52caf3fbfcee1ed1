//! Programs of others against our peer: what their users have must go on working.
//!
//! `cargo xtask clients` installs them, and `IPFS_CLUSTER_TEST_CLIENTS` names the folder; without it these tests say that
//! they are skipped.

use crate::embedded;
use crate::peer::{Peer, free_port};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CLIENTS: &str = "IPFS_CLUSTER_TEST_CLIENTS";

/// The OpenAPI document of the Pinning Service API, 1.0.0, which the compliance suite measures answers by.
const SPECIFICATION: &str = "IPFS_CLUSTER_TEST_PINNING_SPEC";

/// A file of a client, if the clients are there and it is among them.
fn installed(path: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os(CLIENTS) else {
        eprintln!("skipped: {CLIENTS} does not name the folder of `cargo xtask clients`");
        return None;
    };
    let path = Path::new(&folder).join(path);
    if !path.exists() {
        eprintln!("skipped: {} is not installed", path.display());
        return None;
    }
    Some(path)
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A peer with a node of its own, and the URL of its REST API.
fn peer(folder: &Path) -> (Peer, String) {
    embedded::init(folder);
    let peer = Peer::start(folder);
    let url = format!("http://127.0.0.1:{}", peer.api.rsplit('/').next().expect("a port"));
    (peer, url)
}

#[test]
fn proc_the_javascript_client_adds_pins_asks_and_unpins() {
    let Some(client) = installed("js/node_modules/@nftstorage/ipfs-cluster") else { return };
    let home = tempfile::tempdir().expect("home");
    let (_peer, url) = peer(home.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/clients/nftstorage.mjs");

    let output = Command::new("node").arg(script).arg(client).arg(url).output().expect("node runs");

    assert!(output.status.success() && said(&output).contains("all is well"), "{}", said(&output));
}

/// Requests that are made up from our own description of the API, valid ones and broken ones.
#[test]
fn proc_no_request_that_our_openapi_document_allows_or_forbids_breaks_the_server() {
    // Not those of bodies: lists are JSON lines, as the reference's, which a schema of one document does not describe.
    const CHECKS: &str = "not_a_server_error,status_code_conformance";
    let Some(schemathesis) = installed("python/bin/schemathesis") else { return };
    let home = tempfile::tempdir().expect("home");
    let (_peer, url) = peer(home.path());

    let mut command = Command::new(schemathesis);
    // Without the header an add that fails behind its first line is cut, which it takes for a crash.
    let header = ["--header", "TE: trailers"];
    command.args(["run", &format!("{url}/openapi.json"), "--url", &url, "--checks", CHECKS]).args(header);
    command.args(["--phases", "coverage,fuzzing", "--max-examples", "30", "--seed", "1", "--continue-on-failure"]);
    // It keeps what it learned in the folder where it runs.
    let output = command.current_dir(home.path()).output().expect("schemathesis runs");

    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("passed"), "nothing was asked: {}", said(&output));
}

/// The suite's nine checks, of which some want its specification.
#[test]
fn proc_the_pinning_service_is_compliant() {
    let Some(suite) = installed("js/node_modules/@ipfs-shipyard/pinning-service-compliance") else { return };
    let Some(specification) = std::env::var_os(SPECIFICATION) else {
        return eprintln!("skipped: {SPECIFICATION} does not name the OpenAPI document of the Pinning Service API");
    };
    let home = tempfile::tempdir().expect("home");
    embedded::init(home.path());
    let file = home.path().join("service.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).expect("read")).expect("JSON");
    let (port, section) = (free_port(), &mut config["api"]["pinsvcapi"]);
    section["http_listen_multiaddress"] = format!("/ip4/127.0.0.1/tcp/{port}").into();
    section["basic_auth_credentials"] = serde_json::json!({ "somebody": "secret" });
    std::fs::write(&file, config.to_string()).expect("written");
    let _peer = Peer::start(home.path());
    let token = token(port);

    // It reads the specification from the network unless told otherwise, and has no way to be told.
    let copy = home.path().join("suite");
    let modules = suite.parent().and_then(Path::parent).expect("a folder of modules");
    let copied = Command::new("cp").arg("-r").arg(&suite).arg(&copy).status().expect("cp runs");
    assert!(copied.success());
    std::os::unix::fs::symlink(modules, home.path().join("node_modules")).expect("linked");
    let constants = copy.join("dist/src/utils/constants.js");
    let text = std::fs::read_to_string(&constants).expect("read");
    let start = text.find("const specLocation = ").expect("it is there");
    let end = start + text[start..].find(';').expect("a statement");
    let told = format!("const specLocation = {:?}", Path::new(&specification).display().to_string());
    std::fs::write(&constants, [&text[..start], &told, &text[end..]].concat()).expect("written");

    let endpoint = format!("http://127.0.0.1:{port}");
    let mut command = Command::new("node");
    command.arg(copy.join("dist/src/index.js")).args(["-s", &endpoint, &token]).current_dir(&copy);
    let output = command.output().expect("node runs");

    let report = copy.join("dist/docs/127.0.0.1.json");
    let report = std::fs::read(&report).unwrap_or_else(|error| panic!("no report: {error}\n{}", said(&output)));
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!((&report["passed"], &report["total"]), (&9.into(), &9.into()), "{report}\n{}", said(&output));
}

/// A bearer token of that service, for `somebody:secret`.
fn token(port: u16) -> String {
    let head = "POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\
                Authorization: Basic c29tZWJvZHk6c2VjcmV0\r\n\r\n";
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let body: Value = serde_json::from_str(body).expect("JSON");
    body["token"].as_str().expect("a token").to_owned()
}
