//! Peers in network namespaces of their own, whose connections a test can cut. The test itself runs a second time, where
//! it may make namespaces; a machine that does not allow that has it skipped.

use crate::peer::{Peer, READY};
use crate::place::Place;
use cluster_testkit::kubo::FakeKubo;
use serde_json::{Value, json};
use std::process::Command;

/// Set where the test runs the second time.
const INSIDE: &str = "TEST_RUNS_IN_A_NETWORK_OF_ITS_OWN";

/// Where the test is. Peer `n` is at `10.9.0.n`.
const OUTSIDE: &str = "10.9.0.254";

/// Three namespaces on a bridge, where the test is too.
const SETUP: &str = "set -e
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add bridge type bridge
ip addr add 10.9.0.254/24 dev bridge
ip link set bridge up
for n in 1 2 3; do
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
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let allowed = Command::new("unshare").args(["-rnm", "sh", "-c", SETUP]).output();
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
    command.args(["-rnm", "sh", "-c", &format!("{SETUP}exec \"$0\" \"$@\"")]).arg(program);
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
    let mut all: Vec<Apart> = Vec::new();
    for number in 1..=3 {
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
    route("add", peer, others);
}

/// Everything passes again.
pub(crate) fn mend(peer: usize, others: &[usize]) {
    route("del", peer, others);
}

fn route(verb: &str, peer: usize, others: &[usize]) {
    for other in others {
        for (at, to) in [(peer, *other), (*other, peer)] {
            let (namespace, address) = (format!("peer{at}"), format!("10.9.0.{to}/32"));
            let args = ["-n", &namespace, "route", verb, "blackhole", &address];
            assert!(Command::new("ip").args(args).status().expect("ip runs").success(), "{args:?}");
        }
    }
}
