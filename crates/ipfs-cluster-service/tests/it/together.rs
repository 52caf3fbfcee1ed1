//! Three peers in one process: content that is added at one is held by two, outlives the end of one of them, and a peer
//! that is put out stops.

use crate::peer::{DEADLINE, ctl, service};
use crate::tree;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

struct Together {
    child: Child,
    orders: ChildStdin,
    said: Receiver<String>,
    /// Where each peer's REST API is.
    apis: Vec<String>,
}

impl Together {
    fn up(folder: &Path) -> Self {
        let mut command = service();
        command.arg("--config").arg(folder).args(["up", "--peers", "3", "--randomports"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let orders = child.stdin.take().expect("standard input is piped");
        let stdout = child.stdout.take().expect("standard output is piped");
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _nobody_listens = sender.send(line); // The test may have ended.
            }
        });
        let mut together = Self { child, orders, said, apis: Vec::new() };
        let words = together.until_it_says("Ctrl-C stops all");
        let api = |line: &String| Some(line.split_once("REST API ")?.1.split_whitespace().next()?.to_owned());
        together.apis = words.iter().filter_map(api).collect();
        assert_eq!(together.apis.len(), 3, "{words:?}");
        together
    }

    fn until_it_says(&mut self, what: &str) -> Vec<String> {
        let (begun, mut seen) = (Instant::now(), Vec::new());
        while begun.elapsed() < DEADLINE {
            if let Ok(line) = self.said.recv_timeout(Duration::from_secs(1)) {
                seen.push(line);
            }
            if seen.last().is_some_and(|line| line.contains(what)) {
                return seen;
            }
        }
        panic!("it did not say {what:?}: {seen:?}");
    }

    fn order(&mut self, line: &str, answer: &str) {
        writeln!(self.orders, "{line}").expect("it reads");
        self.until_it_says(answer);
    }

    fn ctl(&self, peer: usize, args: &[&str]) -> String {
        let output = ctl().args(["--host", &self.apis[peer]]).args(args).output().expect("the tool runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Asks a peer until its answer is right.
    fn until(&self, peer: usize, args: &[&str], right: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let answer = self.ctl(peer, args);
            if right(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < DEADLINE, "peer {peer}, {args:?}: {answer}");
        }
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_gone = self.child.wait();
    }
}

fn holders(status: &str) -> Vec<&str> {
    let lines = status.lines().filter(|line| line.contains(": PINNED"));
    lines.filter_map(|line| line.trim_start_matches([' ', '>']).split_whitespace().next()).collect()
}

#[test]
fn proc_a_cluster_of_three_in_one_process_replicates_heals_and_lets_go() {
    let (home, source) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("source"));
    tree::write(source.path());
    let mut together = Together::up(home.path());
    let everybody = |answer: &str| answer.matches("Sees 2 other peers").count() == 3;
    together.until(0, &["peers", "ls"], everybody);

    // Two of three hold it, wherever one asks.
    let folder = source.path().join("tree");
    let args = ["add", "-r", "-Q", "--rmin", "2", "--rmax", "2", folder.to_str().expect("a path")];
    let root = together.ctl(0, &args).trim().to_owned();
    let status = together.until(2, &["status", &root], |answer| holders(answer).len() == 2);
    assert!(status.contains(": REMOTE"), "{status}");

    // One of them ends: the third takes its place. (Not the first, which is asked.)
    let ended = holders(&status).into_iter().find(|name| *name != "peer1").expect("another").to_owned();
    let number = ended.trim_start_matches("peer").to_owned();
    together.order(&format!("stop {number}"), "is down");
    let healed = |answer: &str| holders(answer).len() == 2 && !holders(answer).contains(&ended.as_str());
    together.until(0, &["status", &root], healed);
    together.until(0, &["health", "alerts"], |answer| answer.contains(": ping. Expired at: "));

    // It comes back, learns what has changed, and lets go.
    together.order(&format!("start {number}"), "is up");
    together.until(0, &["peers", "ls"], everybody);
    together.until(0, &["status", &root], |answer| holders(answer).len() == 2 && answer.contains(": REMOTE"));

    // What is needed stays; what is not is put out, and stops.
    let peers = together.ctl(0, &["peers", "ls"]);
    let line = peers.lines().find(|line| line.contains(&format!("| {ended} |"))).expect("it is a member");
    let id = line.split_whitespace().next().expect("a name").to_owned();
    let graph = together.ctl(0, &["health", "graph"]);
    assert_eq!(graph.matches(&format!("group=\"{id}\"")).count(), 1, "{graph}");
    assert_eq!(together.ctl(0, &["peers", "rm", &id]), "");
    together.until_it_says("was put out of the cluster and stops");
    together.until(0, &["peers", "ls"], |answer| answer.matches("Sees 1 other peers").count() == 2);
}
