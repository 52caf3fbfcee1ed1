//! A follower of three peers: it has what they pin, changes nothing, and is not told when to collect garbage.

use crate::peer::{DEADLINE, ctl, program_beside};
use crate::place::read;
use crate::raft::{cid, named};
use crate::raft_cluster::{has_all, start_all, three};
use cluster_testkit::kubo::FakeKubo;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// The follower's program.
fn follow() -> Command {
    let mut command = Command::new(program_beside("ipfs-cluster-follow"));
    command.env_clear().env("CLUSTER_MDNSINTERVAL", "0s").env("CLUSTER_LISTENMULTIADDRESS", "/ip4/127.0.0.1/tcp/0");
    command
}

/// Serves one text to whoever asks; the URL.
pub(crate) fn serve(text: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/template.json", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _the_question = stream.read(&mut [0; 4096]).expect("asked");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
            stream.write_all((head + &text).as_bytes()).expect("answered");
        }
    });
    url
}

/// Killed when the test is over.
struct Follower {
    child: Child,
    socket: PathBuf,
}

impl Follower {
    fn start(folder: &Path, url: &str, kubo: &FakeKubo) -> Self {
        let mut command = follow();
        command.arg("--config").arg(folder).args(["tc", "run", "--init", url]).env("HOME", folder);
        command.env("CLUSTER_IPFSHTTP_NODEMULTIADDRESS", kubo.multiaddr());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().expect("it starts"), socket: folder.join("tc/api-socket") }
    }

    /// What the tool says of it: all output, and whether it went well.
    fn ctl(&self, args: &[&str]) -> (String, bool) {
        let mut command = ctl();
        let output = command.args(["--host", &format!("/unix/{}", self.socket.display())]).args(args).output();
        let output = output.expect("the tool runs");
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&text).into_owned(), output.status.success())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_gone = self.child.wait();
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(begun.elapsed() < DEADLINE, "{what}: {seen}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_a_follower_has_what_three_peers_pin_and_is_let_alone() {
    let places = three("crdt");
    let mut peers = start_all(&places);
    let mut template = read(places[0].path().join("service.json"));
    template["cluster"]["peer_addresses"] = json!(places.iter().map(|place| &place.address).collect::<Vec<_>>());
    template.as_object_mut().expect("an object").remove("api");
    let (home, kubo) = (tempfile::tempdir().expect("a folder"), FakeKubo::start());
    let follower = Follower::start(home.path(), &serve(template.to_string()), &kubo);

    for number in 0..9u8 {
        let peer = &peers[usize::from(number % 3)];
        peer.client().pin(&cid(number), &named("for all")).await.expect("pinned");
    }
    peers.iter().for_each(|peer| has_all(peer, 9));
    until("the follower has everything", || match follower.ctl(&["pin", "ls"]).0 {
        text if text.lines().count() == 9 => Ok(()),
        text => Err(text),
    });
    let (said, done) = follower.ctl(&["pin", "add", &cid(50).to_string()]);
    assert!(!done && said.contains("follower mode"), "{said}");

    let id = read(home.path().join("tc/identity.json"))["id"].as_str().expect("an id").to_owned();
    let members: Vec<&String> = places.iter().map(|place| &place.id).chain([&id]).collect();
    until("all four are members", || match peers[0].ctl(&["peers", "ls"]).stdout {
        text if members.iter().all(|id| text.contains(&format!("{id} |"))) => Ok(()),
        text => Err(text),
    });
    let collected: Value = until("garbage is collected", || {
        let run = peers[0].ctl(&["--enc", "json", "ipfs", "gc"]);
        serde_json::from_str(&run.stdout).map_err(|error| format!("{error}: {}{}", run.stdout, run.stderr))
    });
    let by_peer = collected["peer_map"].as_object().expect("by peer");
    assert!(by_peer.len() == 3 && !by_peer.contains_key(&id), "the follower was told to collect: {collected}");
    let (said, done) = follower.ctl(&["ipfs", "gc", "--local"]);
    assert!(done, "it collects by its own order: {said}");
    for peer in &mut peers {
        assert!(peer.stop().success());
    }
}
