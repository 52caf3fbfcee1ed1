//! Peers in network namespaces of their own, whose connections a test can cut. The test itself runs a second time, where
//! it may make namespaces; a machine that does not allow that has it skipped.

use crate::peer::{Peer, READY};
use crate::place::Place;
use cluster_testkit::kubo::FakeKubo;
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// Set where the test runs the second time.
const INSIDE: &str = "TEST_RUNS_IN_A_NETWORK_OF_ITS_OWN";

/// Set where somebody looks on: what the test writes to standard error is shown as it comes.
const WATCHED: &str = "TEST_IS_WATCHED";

/// Where the test is. Peer `n` is at `10.9.0.n`.
const OUTSIDE: &str = "10.9.0.254";

/// So many namespaces on a bridge, where the test is too.
fn setup(count: usize) -> String {
    format!("peers={count}\n{SETUP}")
}

const SETUP: &str = "set -e
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add bridge type bridge
ip addr add 10.9.0.254/24 dev bridge
ip link set bridge up
for n in $(seq $peers); do
    ip netns add peer$n
    ip link add out$n type veth peer name in$n
    ip link set in$n netns peer$n
    ip link set out$n master bridge up
    ip -n peer$n addr add 10.9.0.$n/24 dev in$n
    ip -n peer$n link set in$n up
    ip -n peer$n link set lo up
done
";

/// Whether the test of this name has run the second time already, or cannot here. `false`: it is the second time.
pub(crate) fn skipped(name: &str) -> bool {
    skipped_among(3, name)
}

/// The same for a test with so many peers.
pub(crate) fn skipped_among(count: usize, name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let allowed = Command::new("unshare").args(["-rnm", "sh", "-c", &setup(count)]).output();
    match allowed {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            eprintln!("skipped: no network namespaces here: {}", String::from_utf8_lossy(&output.stderr));
            return true;
        }
        Err(error) => {
            eprintln!("skipped: no network namespaces here: unshare: {error}");
            return true;
        }
    }
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("unshare");
    command.args(["-rnm", "sh", "-c", &format!("{}exec \"$0\" \"$@\"", setup(count))]).arg(program);
    if std::env::var_os(WATCHED).is_some() {
        command.stderr(Stdio::inherit());
    }
    let output = command.args(["--exact", name, "--nocapture"]).env(INSIDE, "1").output().expect("it runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    println!("{text}");
    true
}

/// A peer in a namespace.
pub(crate) struct Apart {
    pub(crate) place: Place,
    namespace: String,
}

impl Apart {
    pub(crate) fn start(&self) -> Peer {
        Peer::start_in(Some(&self.namespace), self.place.path(), &[], READY)
    }
}

/// Three peers, each of which knows those before it, with what else is set by their numbers.
pub(crate) fn three(args: &[&str], set: impl Fn(usize, &mut Value)) -> Vec<Apart> {
    several(3, args, set)
}

/// The same with so many.
pub(crate) fn several(count: usize, args: &[&str], set: impl Fn(usize, &mut Value)) -> Vec<Apart> {
    let mut all: Vec<Apart> = Vec::new();
    for number in 1..=count {
        let kubo = FakeKubo::start_at(format!("{OUTSIDE}:0").parse().expect("an address"));
        let ip = format!("10.9.0.{number}");
        let place = Place::with(args, kubo, &ip, Some(9096));
        let others: Vec<String> = all.iter().map(|apart| apart.place.address.clone()).collect();
        place.configure(&others, |file| {
            file["api"]["restapi"]["http_listen_multiaddress"] = json!(format!("/ip4/{ip}/tcp/9094"));
            set(number, file);
        });
        all.push(Apart { place, namespace: format!("peer{number}") });
    }
    all
}

/// From now on nothing passes between a peer and these others.
pub(crate) fn cut(peer: usize, others: &[usize]) {
    others.iter().for_each(|other| both_ways("add", peer, *other));
}

/// Everything passes again.
pub(crate) fn mend(peer: usize, others: &[usize]) {
    others.iter().for_each(|other| both_ways("del", peer, *other));
}

/// From now on nothing passes from a peer to these others; what they send still comes in.
pub(crate) fn mute(peer: usize, others: &[usize]) {
    others.iter().for_each(|other| route("add", peer, *other));
}

/// It passes again.
pub(crate) fn unmute(peer: usize, others: &[usize]) {
    others.iter().for_each(|other| route("del", peer, *other));
}

fn both_ways(verb: &str, one: usize, other: usize) {
    route(verb, one, other);
    route(verb, other, one);
}

fn route(verb: &str, from: usize, to: usize) {
    let (namespace, address) = (format!("peer{from}"), format!("10.9.0.{to}/32"));
    let args = ["-n", &namespace, "route", verb, "blackhole", &address];
    assert!(Command::new("ip").args(args).status().expect("ip runs").success(), "{args:?}");
}

/// From now on a peer's packets are late by a tenth of a second, and every twentieth is lost. `false`: this system has no
/// such links.
pub(crate) fn slow(peer: usize) -> bool {
    shape(peer, &["replace", "netem", "delay", "100ms", "50ms", "loss", "5%"])
}

/// They are as before.
pub(crate) fn unslow(peer: usize) -> bool {
    shape(peer, &["del", "netem"])
}

fn shape(peer: usize, how: &[&str]) -> bool {
    let (namespace, device) = (format!("peer{peer}"), format!("in{peer}"));
    let (verb, how) = how.split_first().expect("a verb");
    let mut command = Command::new("tc");
    command.args(["-n", &namespace, "qdisc", verb, "dev", &device, "root"]).args(how);
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
