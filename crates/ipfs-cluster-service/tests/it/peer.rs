//! A running `ipfs-cluster-service` with a folder and ports of its own.

use cluster_client::{Client, Host};
use cluster_testkit::kubo::FakeKubo;
use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than any start or stop should take, on a busy machine too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What a peer says when it has everything.
pub(crate) const READY: &str = "IPFS Cluster is READY";

/// A port that nobody listens on, below those that Linux gives to outgoing connections, so that it still is free when a
/// program takes it. No two tests of a run get the same.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const QUIET: std::ops::Range<u16> = 12_000..32_000;
    let spread = u16::try_from(std::process::id() % 20_000).unwrap_or(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(spread);
        let port = QUIET.start + number % (QUIET.end - QUIET.start);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The program.
pub(crate) fn service() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipfs-cluster-service"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TZ", "UTC");
    // Tests that run beside each other are no concern of each other.
    command.env("CLUSTER_MDNSINTERVAL", "0s");
    command
}

/// The command-line tool.
pub(crate) fn ctl() -> Command {
    let mut command = Command::new(program_beside("ipfs-cluster-ctl"));
    command.env_clear();
    command
}

/// Another program of the workspace, built beside ours if nothing has built it yet. All programs are built, as the tests
/// were: alone, it would have its dependencies with other features, and all of those would be built once more.
pub(crate) fn program_beside(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_ipfs-cluster-service")).with_file_name(name);
    if !path.exists() {
        let built = Command::new(env!("CARGO")).args(["build", "--locked", "--workspace", "--bins"]).status();
        assert!(built.expect("cargo runs").success() && path.exists(), "{name} can be built");
    }
    path
}

/// A folder with a configuration for this daemon, everything else on free ports.
pub(crate) fn init(folder: &Path, kubo: &FakeKubo) {
    init_with(folder, kubo, &[]);
}

/// The same, with these further arguments.
pub(crate) fn init_with(folder: &Path, kubo: &FakeKubo, args: &[&str]) {
    init_by(service(), folder, kubo, args);
}

/// The same by this program.
pub(crate) fn init_by(mut command: Command, folder: &Path, kubo: &FakeKubo, args: &[&str]) {
    command.arg("--config").arg(folder).args(["init", "--randomports"]).args(args);
    let output = command.env("CLUSTER_IPFSHTTP_NODEMULTIADDRESS", kubo.multiaddr()).output().expect("init runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A peer that is killed when the test is over.
pub(crate) struct Peer {
    child: Child,
    folder: PathBuf,
    /// The network namespace that it runs in, if it is another one.
    namespace: Option<String>,
    pub(crate) api: String,
    /// Where its own content can be read, as a URL.
    pub(crate) gateway: Option<String>,
    log: Receiver<String>,
    /// What it logged so far.
    said: RefCell<Vec<String>>,
}

impl Peer {
    /// Makes a folder and starts a peer that drives this daemon.
    pub(crate) fn with(folder: &Path, kubo: &FakeKubo) -> Self {
        init(folder, kubo);
        Self::start(folder)
    }

    /// Starts a peer from its folder and waits until it serves.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// The same, with these arguments of `daemon`.
    pub(crate) fn start_with(folder: &Path, args: &[&str]) -> Self {
        Self::start_until(folder, args, READY)
    }

    /// The same, but waits for this text in its log, and for its API.
    pub(crate) fn start_until(folder: &Path, args: &[&str], text: &str) -> Self {
        Self::start_in(None, folder, args, text)
    }

    /// The same, in this network namespace.
    pub(crate) fn start_in(namespace: Option<&str>, folder: &Path, args: &[&str], text: &str) -> Self {
        Self::start_by(service(), namespace, folder, args, text)
    }

    /// The same, of this program.
    pub(crate) fn start_by(
        mut command: Command,
        namespace: Option<&str>,
        folder: &Path,
        args: &[&str],
        text: &str,
    ) -> Self {
        if let Some(namespace) = namespace {
            let inside = std::mem::replace(&mut command, Command::new("ip"));
            command.args(["netns", "exec", namespace]).arg(inside.get_program());
            command.env_clear().envs(inside.get_envs().filter_map(|(name, value)| Some((name, value?))));
        }
        command.arg("--config").arg(folder).arg("daemon").args(args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (sender, log) = channel();
        let stderr = child.stderr.take().expect("standard error is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _nobody_listens = sender.send(line); // The test may have ended.
            }
        });
        let (folder, namespace) = (folder.to_owned(), namespace.map(str::to_owned));
        let (api, said) = (String::new(), RefCell::default());
        let mut peer = Self { child, folder, namespace, api, gateway: None, log, said };
        peer.wait_until_it_says(text);
        peer
    }

    fn wait_until_it_says(&mut self, text: &str) {
        let begun = Instant::now();
        while begun.elapsed() < DEADLINE {
            let Ok(line) = self.log.recv_timeout(Duration::from_secs(1)) else {
                if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                    break;
                }
                continue;
            };
            if let Some((_, address)) = line.split_once("RESTAPI (HTTP") {
                self.api = address.split(": ").nth(1).unwrap_or("").trim().to_owned();
            }
            if let Some((_, address)) = line.split_once("gateway: /ip4/127.0.0.1/tcp/") {
                self.gateway = Some(format!("http://127.0.0.1:{}", address.trim()));
            }
            let said = self.said.get_mut();
            said.push(line);
            // The two lines come in either order.
            if !self.api.is_empty() && said.iter().any(|line| line.contains(text)) {
                return;
            }
        }
        panic!("the peer did not come up:\n{}", self.said.get_mut().join("\n"));
    }

    /// The latest line of its log, so far, for which this is true.
    pub(crate) fn last_said(&self, like: impl Fn(&str) -> bool) -> Option<String> {
        let mut said = self.said.borrow_mut();
        said.extend(self.log.try_iter());
        said.iter().rev().find(|line| like(line)).cloned()
    }

    /// What it said since it was asked the last time, of a peer whose log is long; the rest is forgotten.
    pub(crate) fn said_since(&self) -> Vec<String> {
        let mut said = self.said.take();
        said.extend(self.log.try_iter());
        said
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it can be waited for")
    }

    /// Waits until it says this; returns the line.
    pub(crate) fn hear(&self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            match self.log.recv_timeout(Duration::from_secs(1)) {
                Ok(line) if line.contains(text) => return line,
                _ => assert!(begun.elapsed() < DEADLINE, "it does not say: {text}"),
            }
        }
    }

    /// What it said and nobody has heard yet; of a peer that was stopped, all of it.
    pub(crate) fn rest_of_log(&self) -> Vec<String> {
        self.log.iter().collect()
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let host = Host::parse(&self.api, false).expect("the address that it logged");
        Client::builder().host(host).build().expect("a client")
    }

    /// Most bytes of memory that it has had so far, where the system tells.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    }

    /// The end of a power cut, as far as the process is concerned.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs").success());
    }

    /// An orderly stop.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(begun.elapsed() < DEADLINE, "the peer does not stop");
            std::thread::yield_now();
        }
    }

    /// The same folder again.
    pub(crate) fn again(&self) -> Self {
        Self::start_in(self.namespace.as_deref(), &self.folder, &[], READY)
    }

    /// Runs the command-line tool against it.
    pub(crate) fn ctl(&self, args: &[&str]) -> CtlRun {
        CtlRun::of(ctl().args(["--host", &self.api]).args(args))
    }
}

/// What the command-line tool said.
#[derive(Debug)]
pub(crate) struct CtlRun {
    pub(crate) stdout: String,
    #[allow(dead_code)] // Shown by `Debug` when a test fails.
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl CtlRun {
    /// Runs this to its end.
    pub(crate) fn of(tool: &mut Command) -> Self {
        let output = tool.output().expect("the tool runs");
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_gone = self.child.wait();
    }
}
