//! Two peers, alpha and beta, each with a daemon that is played: what the recordings of the API and of the command-line
//! tool were made with.

use super::{items, text};
use crate::peer::{DEADLINE, Peer, free_port, service};
use cluster_testkit::kubo::FakeKubo;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Content that nobody has, so that pins of it wait until they time out.
const MISSING: [&str; 9] = [
    "bafkreifre7isp4znimto4vpxlwnvtd4oaddxbv7jxfpmreylqm2zyxs3xa",
    "bafkreidzqafze3heryaaydhpdeakbtr5zbzq4b34cu6i3golsvqtjj3vwm",
    "bafkreid5uitoyuv3utntxjg56p2c6cnjtjmjqqofeonnjtmh34gel7u5va",
    "bafkreia4rj5dvnrtr7ucgo7f7ln24olstdsjzchkmkz4abjmbf6k53yuke",
    "bafkreifjofbr2r7tuzrahascr67exb6nhtdmth4qevqn43jf7jp227fx6q",
    "bafkreignd2fo4z4ubceqrcfmcyfdt2awloqm7jtday6x6mbw452oj75afy",
    "bafkreidp7dx4lfx37qjautbywiskajy6624gmbskxsd2p6a3xkrq372exu",
    "bafkreicuqahyh5eauszjyyscaqjv2vo5hpdqhnl5z25fs4gs45mcrfwnka",
    "bafkreid7n2kixh5d764apk66vavunnac3ur3xzriv57iciybhqd3p3763y",
];

const ALPHA: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
const BETA: &str = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq";
const BETA_DAEMON: &str = "12D3KooWPT98FXMfDQYavZm66EeVjTqP9Nnehn1gyaydqV8L8BQw";
const ALPHA_KEY: &str = "CAESQAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBiojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=";
const BETA_KEY: &str = "CAESQAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICgTl3Dqh9F19Wo1Rmw0x+zMuNipG07jeiXfYPW4/Js5Q=";

/// Both peers and daemons.
pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    /// A port of the recording, and ours.
    ports: Vec<(&'static str, u16)>,
    daemons: [Door; 2],
    peers: [Option<Peer>; 2],
    /// What restarts have set so far.
    settings: Value,
    base: Value,
}

impl World {
    /// Starts everything, and waits until the peers see each other.
    pub(super) fn new(base: &Value) -> Self {
        let names = ["9094", "9095", "9096", "9097", "9194", "9195", "9196", "9197", "9999", "9998", "5001", "5101"];
        let ports: Vec<(&str, u16)> = names.iter().map(|name| (*name, free_port())).collect();
        let find = |name| ports.iter().find(|(n, _)| *n == name).expect("named").1;
        let daemons = [Door::open(find("5001")), Door::open(find("5101"))];
        daemons[1].kubo.world().id = Some(BETA_DAEMON.to_owned());
        let dir = tempfile::tempdir().expect("temp folder");
        let mut world = Self { dir, ports, daemons, peers: [None, None], settings: json!({}), base: base.clone() };
        world.start(0);
        world.start(1);
        world.wait_for_both();
        world
    }

    pub(super) fn port(&self, theirs: &str) -> u16 {
        self.ports.iter().find(|(name, _)| *name == theirs).expect("a port of the recording").1
    }

    /// A text of the recording as this run needs it.
    pub(super) fn ours(&self, recorded: &str) -> String {
        let text = recorded.replace("$DIR", &self.dir.path().display().to_string());
        self.ports.iter().fold(text, |text, (theirs, ours)| {
            text.replace(&format!("/tcp/{theirs}"), &format!("/tcp/{ours}"))
                .replace(&format!("127.0.0.1:{theirs}"), &format!("127.0.0.1:{ours}"))
        })
    }

    pub(super) fn replaced(&self) -> Vec<(String, String)> {
        let mut replaced = vec![(self.dir.path().display().to_string(), "$DIR".to_owned())];
        for (theirs, ours) in &self.ports {
            replaced.push((format!("/tcp/{ours}"), format!("/tcp/{theirs}")));
            replaced.push((format!("127.0.0.1:{ours}"), format!("127.0.0.1:{theirs}")));
        }
        replaced
    }

    fn folder(&self, peer: usize) -> PathBuf {
        self.dir.path().join(["alpha", "beta"][peer])
    }

    fn start(&mut self, peer: usize) {
        let folder = self.folder(peer);
        std::fs::create_dir_all(&folder).expect("a folder");
        let identity = [(ALPHA, ALPHA_KEY), (BETA, BETA_KEY)][peer];
        let identity = json!({ "id": identity.0, "private_key": identity.1 });
        write(&folder.join("identity.json"), &identity.to_string());
        write(&folder.join("service.json"), &self.ours(&self.configuration(peer).to_string()));
        self.peers[peer] = Some(Peer::start_until(&folder, &[], "RESTAPI (HTTP"));
    }

    fn configuration(&self, peer: usize) -> Value {
        let mut config = self.base.clone();
        let (first, other) = ([90, 91][peer], [(BETA, 9196), (ALPHA, 9096)][peer]);
        let listen = |last: u32| format!("/ip4/127.0.0.1/tcp/{first}{last}");
        config["cluster"]["peername"] = json!(["alpha", "beta"][peer]);
        config["cluster"]["listen_multiaddress"] = json!([listen(96)]);
        config["cluster"]["peer_addresses"] = json!([format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", other.1, other.0)]);
        for (key, value) in [("mdns_interval", "0s"), ("monitor_ping_interval", "2s"), ("dial_peer_timeout", "2s")] {
            config["cluster"][key] = json!(value);
        }
        config["cluster"]["pubsub"]["heartbeat_interval"] = json!("1s");
        config["consensus"]["crdt"]["rebroadcast_interval"] = json!("2s");
        let daemon = format!("/ip4/127.0.0.1/tcp/{}", [5001, 5101][peer]);
        for (key, value) in [("connect_swarms_delay", "1s"), ("pin_timeout", "4s"), ("node_multiaddress", &daemon)] {
            config["ipfs_connector"]["ipfshttp"][key] = json!(value);
        }
        for informer in ["disk", "tags", "pinqueue"] {
            config["informer"][informer]["metric_ttl"] = json!("6s");
        }
        config["monitor"]["pubsubmon"]["check_interval"] = json!("1s");
        config["api"]["restapi"]["http_listen_multiaddress"] = json!(listen(94));
        config["api"]["pinsvcapi"]["http_listen_multiaddress"] = json!(listen(97));
        config["api"]["ipfsproxy"]["listen_multiaddress"] = json!(listen(95));
        config["api"]["ipfsproxy"]["node_multiaddress"] = json!(daemon);
        config.as_object_mut().expect("a configuration").shift_remove("datastore");
        config["datastore"] = json!({ "fjall": {} });
        if peer == 0 {
            for (key, value) in self.settings.as_object().into_iter().flatten() {
                let (api, key) = key.split_once('.').unwrap_or(("restapi", key));
                config["api"][api][key] = value.clone();
            }
        }
        config
    }

    fn wait_for_both(&self) {
        let seen = |peer: usize| {
            let names = ["ping", "freespace"];
            names.iter().all(|name| {
                self.get(peer, &format!("/monitor/metrics/{name}")).is_some_and(|m| m.matches("\"peer\"").count() == 2)
            })
        };
        self.until("the peers see each other", || seen(0) && seen(1));
    }

    /// A request to a peer's API, asked for its body.
    fn get(&self, peer: usize, target: &str) -> Option<String> {
        let address = format!("127.0.0.1:{}", self.port(["9094", "9194"][peer]));
        let answer = super::http::ask(TcpStream::connect(address).ok()?, &super::http::get(target)).ok()?;
        answer["body"].as_str().map(str::to_owned)
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < DEADLINE, "this did not come to be: {what}");
            std::thread::park_timeout(Duration::from_millis(50)); // Nobody can tell us: we ask again.
        }
    }

    /// The played daemon beside alpha (0) or beta (1).
    pub(super) fn daemon(&self, peer: usize) -> &FakeKubo {
        &self.daemons[peer].kubo
    }

    /// Has both daemons wait for this content, too.
    pub(super) fn nobody_has(&self, cid: &str) {
        for daemon in &self.daemons {
            daemon.kubo.world().missing.insert(cid.to_owned());
        }
    }

    /// Sends a request to alpha's REST API, whatever it answers.
    fn ask_rest(&self, method: &str, target: &str) {
        let address = format!("127.0.0.1:{}", self.port("9094"));
        let request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let line = TcpStream::connect(address).expect("the API listens");
        super::http::ask(line, request.as_bytes()).expect("an answer");
    }

    /// What happened between the case before and this one.
    pub(super) fn before(&mut self, case: &Value) {
        let before = &case["before"];
        if let Some(asked) = before.get("rest") {
            self.ask_rest(text(asked, "method"), text(asked, "target"));
        }
        if let Some(wait) = before.get("wait_status") {
            let (cid, any_of) = (text(wait, "cid"), wait["any_of"].clone());
            let want: Vec<&str> = any_of.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            self.wait_status(cid, &want);
        }
        if let Some(pin) = before.get("ipfs_pin_rm") {
            let mut world = self.daemons[usize::from(text(pin, "kubo") == "b")].kubo.world();
            world.recursive.remove(text(pin, "cid"));
        }
        if let Some(what) = before["start"].as_str() {
            self.set_running(what, true);
        }
        if let Some(what) = before["stop"].as_str() {
            self.set_running(what, false);
        }
        if let Some(changes) = before["restart"]["alpha"].as_object() {
            self.restart(changes);
        }
    }

    fn wait_status(&self, cid: &str, any_of: &[&str]) {
        let settled = || {
            let answer = self.get(0, &format!("/pins/{cid}")).unwrap_or_default();
            let info: Value = serde_json::from_str(&answer).unwrap_or_default();
            let states = info["peer_map"].as_object().map(|map| map.values().cloned().collect::<Vec<_>>());
            states.is_some_and(|list| !list.is_empty() && list.iter().all(|s| any_of.contains(&text(s, "status"))))
        };
        let begun = Instant::now();
        // What never comes to be shows in the case itself.
        while !settled() && begun.elapsed() < Duration::from_secs(8) {
            std::thread::park_timeout(Duration::from_millis(50)); // Nobody can tell us: we ask again.
        }
    }

    fn set_running(&mut self, what: &str, run: bool) {
        match (what, run) {
            ("beta", true) => self.start(1),
            ("beta", false) => drop(self.peers[1].take()),
            (kubo, run) => {
                let daemon = &mut self.daemons[usize::from(kubo == "kubo-b")];
                if run { daemon.reopen() } else { daemon.close() }
            }
        }
    }

    /// As the recording: TLS drops credentials and headers, a unix socket drops both.
    fn restart(&mut self, changes: &serde_json::Map<String, Value>) {
        if changes.contains_key("ssl_cert_file") || changes.contains_key("http_listen_multiaddress") {
            self.settings = json!({});
        }
        for (key, value) in changes {
            let value = match key.as_str() {
                "ssl_cert_file" | "ssl_key_file" => continue,
                _ => value.clone(),
            };
            self.settings[key] = value;
        }
        self.peers[0] = None;
        self.start(0);
    }
}

fn write(path: &Path, content: &str) {
    std::fs::write(path, content).expect("written");
}

/// A daemon that is played, behind a port that can be closed and opened again.
struct Door {
    kubo: FakeKubo,
    port: u16,
    open: Option<Arc<AtomicBool>>,
}

impl Door {
    fn open(port: u16) -> Self {
        let kubo = FakeKubo::start();
        kubo.world().missing.extend(MISSING.map(str::to_owned));
        let mut door = Self { kubo, port, open: None };
        door.reopen();
        door
    }

    fn reopen(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("the port is free");
        let (open, behind) = (Arc::new(AtomicBool::new(true)), self.kubo.address());
        self.open = Some(Arc::clone(&open));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if !open.load(Ordering::SeqCst) {
                    return;
                }
                pass_on(client, behind, &open);
            }
        });
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        open.store(false, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port))); // Wakes whoever accepts.
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            assert!(begun.elapsed() < DEADLINE, "the port stays open");
        }
    }
}

/// Carries bytes both ways until either side ends, or the door is closed.
fn pass_on(client: TcpStream, behind: SocketAddr, open: &Arc<AtomicBool>) {
    let Ok(server) = TcpStream::connect(behind) else { return };
    let pairs = [(client.try_clone(), server.try_clone()), (server.try_clone(), client.try_clone())];
    for (from, to) in pairs {
        let (Ok(mut from), Ok(mut to), open) = (from, to, Arc::clone(open)) else { return };
        std::thread::spawn(move || {
            let _either_end = from.set_read_timeout(Some(Duration::from_millis(100)));
            let mut buffer = vec![0; 1 << 16];
            loop {
                match std::io::Read::read(&mut from, &mut buffer) {
                    Ok(n) if n > 0 && open.load(Ordering::SeqCst) => {
                        if std::io::Write::write_all(&mut to, &buffer[..n]).is_err() {
                            break;
                        }
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock && open.load(Ordering::SeqCst) => {}
                    _ => break,
                }
            }
            let _either_end = to.shutdown(std::net::Shutdown::Both);
            let _either_end = from.shutdown(std::net::Shutdown::Both);
        });
    }
}

/// Bytes that a recording describes: text, base64, generated ones, or a sequence of these.
pub(super) fn content(value: &Value) -> Vec<u8> {
    if let Some(parts) = value["text_parts"].as_array().or_else(|| value.as_array()) {
        return parts.iter().flat_map(content).collect();
    }
    if let Some(encoded) = value["text_base64"].as_str() {
        return super::service::decode_base64(encoded);
    }
    if let Some(lcg) = value.get("lcg") {
        let number = |key: &str| lcg[key].as_u64().expect("a number");
        let mut x = number("seed");
        return (0..number("length"))
            .map(|_| {
                x = (x * 1_103_515_245 + 12_345) & 0xffff_ffff;
                ((x >> 16) & 0xff) as u8
            })
            .collect();
    }
    value["text"].as_str().or_else(|| value.as_str()).unwrap_or("").as_bytes().to_vec()
}

/// Runs the command-line tool as a case says.
pub(super) fn run_ctl(world: &World, case: &Value) -> super::Outcome {
    let mut command = crate::peer::ctl();
    let args: Vec<String> = items(case, "args").filter_map(Value::as_str).map(|arg| world.ours(arg)).collect();
    let named = args.iter().any(|arg| arg == "-l" || arg.starts_with("--host") || arg.starts_with("-l="));
    if !named && !args.is_empty() {
        command.args(["--host", &format!("/ip4/127.0.0.1/tcp/{}", world.port("9094"))]);
    }
    command.args(args).env("TZ", "UTC").env("HOME", world.dir.path()).env("PATH", "/usr/bin:/bin");
    command.envs(case["env"].as_object().into_iter().flatten().map(|(k, v)| (k, world.ours(v.as_str().unwrap_or("")))));
    let cwd = case["cwd"].as_str().map_or_else(|| world.dir.path().to_owned(), |cwd| PathBuf::from(world.ours(cwd)));
    let patience = super::service::patience("ctl", case);
    let value = super::service::finished(command.current_dir(cwd), &world.ours(text(case, "stdin")), patience);
    super::Outcome { value: Value::Object(value), replaced: world.replaced() }
}

/// The files that the tool is run upon.
pub(super) fn lay_out(world: &World, recorded: &Value) {
    let root = world.dir.path().join("files");
    for directory in items(recorded, "directories").filter_map(Value::as_str) {
        std::fs::create_dir_all(root.join(directory)).expect("a folder");
    }
    for (path, file) in recorded["files"].as_object().into_iter().flatten() {
        std::fs::write(root.join(path), content(file)).expect("written");
    }
    for (path, target) in recorded["links"].as_object().into_iter().flatten() {
        std::os::unix::fs::symlink(target.as_str().expect("a target"), root.join(path)).expect("linked");
    }
    for path in items(recorded, "fifos").filter_map(Value::as_str) {
        assert!(std::process::Command::new("mkfifo").arg(root.join(path)).status().expect("mkfifo runs").success());
    }
    let _the_program_is_built = service();
}
