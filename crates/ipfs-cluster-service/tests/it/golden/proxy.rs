//! The IPFS proxy. The recorded daemon was a real one: what it said to requests that the proxy passes on, and its own
//! figures, are taken from the recording.

use super::world::World;
use super::{Tally, http, items, recordings, text};
use cluster_testkit::kubo::Scripted;
use serde_json::Value;

/// What paths of the recording lead to.
const NAMES: [(&str, &str); 3] = [
    ("QmTSS7eJFtRTyCL1tzzGvU7wABNWcACqzRVDZ8v7exGMd8/a.txt", "QmV4STRyo1dygxGhZcr877TQ1M9AZuXhfm6HrXjxW1TYNP"),
    ("QmTSS7eJFtRTyCL1tzzGvU7wABNWcACqzRVDZ8v7exGMd8/sub", "Qmaya31pac3vywPAsEVHsoUazVEu7cFVtWQ6baSB3BugSb"),
    ("QmTSS7eJFtRTyCL1tzzGvU7wABNWcACqzRVDZ8v7exGMd8/sub/b.txt", "QmRLgkLoSRyoLjkECGqdDhv2Uvxtv5tnVF2M8ZTigqwhxk"),
];

/// Sizes of the two recorded repositories, in bytes.
const SIZES: [u64; 2] = [1_442_320, 1_373_604];

/// Cases besides whole groups that the daemon answers.
const PASSED_ON: [&str; 4] = ["pin/add delete method", "pin/add trailing slash", "pin/add options", "add/add head"];

#[test]
fn proc_golden_proxy() {
    let recorded = recordings("proxy");
    let mut world = World::new(&recordings("service")["base"]["crdt"]);
    for peer in 0..2 {
        let names = NAMES.map(|(path, cid)| (path.to_owned(), cid.to_owned()));
        world.daemon(peer).world().names.extend(names);
    }
    let mut tally = Tally::new("proxy");
    for case in items(&recorded, "cases").filter(|case| !super::is_left_out("proxy", text(case, "name"))) {
        world.before(case);
        script(&world, case);
        let ports = if text(case, "to") == "rest" { ["9094", "9194"] } else { ["9095", "9195"] };
        tally.add(case, &http::play(&world, case, ports));
    }
    tally.finish();
}

/// Has the daemons say what the recorded ones said.
fn script(world: &World, case: &Value) {
    let (name, request, response) = (text(case, "name"), &case["request"], &case["response"]);
    let say = |peer: usize, target: &str, scripted: Scripted| {
        world.daemon(peer).world().scripted.insert(target.to_owned(), scripted);
    };
    let lines = |body: &str| Scripted { status: 200, headers: Vec::new(), body: body.to_owned().into() };
    let group = name.split('/').next().unwrap_or("");
    if name.contains("repo stat") || name.starts_with("repo/stat") {
        for (peer, size) in SIZES.into_iter().enumerate() {
            let body = format!("{{\"RepoSize\":{size},\"StorageMax\":10000000000}}");
            say(peer, "POST /api/v0/repo/stat?size-only=true", lines(&body));
        }
    } else if name.contains("repo gc") || name.starts_with("repo/gc") {
        say(0, "POST /api/v0/repo/gc?stream-errors=true", lines(text(response, "body")));
        say(1, "POST /api/v0/repo/gc?stream-errors=true", lines(""));
    } else if PASSED_ON.contains(&name) || ["forwarded", "block and dag"].contains(&group) {
        let target = text(request, "target");
        let target = if target.starts_with("/api/v0/dag/put") {
            target.replace("pin=true", "pin=false")
        } else {
            target.to_owned()
        };
        let kept = |name: &str| !["Date", "Content-Length", "Transfer-Encoding", "Connection"].contains(&name);
        let headers = items(response, "headers")
            .filter_map(|pair| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned())))
            .filter(|(name, _)| kept(name));
        let body = match response["body_base64"].as_str() {
            Some(encoded) => super::service::decode_base64(encoded),
            None => text(response, "body").as_bytes().to_vec(),
        };
        let status = response["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
        let scripted = Scripted { status, headers: headers.collect(), body: body.into() };
        say(usize::from(text(case, "to") == "beta"), &format!("{} {target}", text(request, "method")), scripted);
    }
}
