//! Running the program, beside a daemon and a server of configurations that are played.

use cluster_testkit::kubo::FakeKubo;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than any start or stop should take, on a busy machine too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Serves texts by path, until the process ends; other paths are not there.
pub(crate) fn serve(texts: impl Fn(&str) -> BTreeMap<String, String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("bound").to_string();
    let texts = texts(&host);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
            let _request = reader.read_line(&mut line);
            // The request is read to its end: closing on unread bytes would reset the connection.
            let mut header = String::new();
            while reader.read_line(&mut header).is_ok_and(|n| n > 2) {
                header.clear();
            }
            let path = line.split(' ').nth(1).unwrap_or_default();
            let (status, body) = match texts.get(path) {
                Some(text) => ("200 OK", text.as_str()),
                None => ("404 Not Found", "nothing here\n"),
            };
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _gone = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    host
}

/// A port of the loopback interface that nobody listens on.
pub(crate) fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").to_string()
}

/// A folder, a daemon, and what every run is given.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) kubo: FakeKubo,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), kubo: FakeKubo::start() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipfs-cluster-follow"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("TZ", "UTC")
            .env("CLUSTER_IPFSHTTP_NODEMULTIADDRESS", self.kubo.multiaddr())
            .env("CLUSTER_LISTENMULTIADDRESS", "/ip4/127.0.0.1/tcp/0")
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command for the followers in the folder `f`.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let folder = self.path("f");
        let mut all = vec!["--config", folder.to_str().expect("text")];
        all.extend(args);
        self.command(&all).output().expect("the program runs")
    }
}

/// A follower that runs; killed when the test is over.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) socket: PathBuf,
}

impl Running {
    /// Starts it and waits until its API answers.
    pub(crate) fn start(mut command: Command, socket: &Path) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut running = Self { child, socket: socket.to_owned() };
        let begun = Instant::now();
        while UnixStream::connect(&running.socket).is_err() {
            assert!(running.child.try_wait().expect("it can be asked").is_none(), "it ended: {:?}", running.output());
            assert!(begun.elapsed() < DEADLINE, "it did not come up");
            std::thread::yield_now();
        }
        running
    }

    fn output(&mut self) -> (String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.child.stdout.take().map(|mut s| s.read_to_string(&mut out));
        self.child.stderr.take().map(|mut s| s.read_to_string(&mut err));
        (out, err)
    }

    /// One request to its API: status, and everything after the head.
    pub(crate) fn ask(&self, method: &str, target: &str, body: &str, kind: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(&self.socket).expect("it runs");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close, TE\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    /// Stops it in order.
    pub(crate) fn stop(mut self, signal: &str) -> (Option<i32>, String, String) {
        let pid = self.child.id().to_string();
        let signal = signal.trim_start_matches("SIG");
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().expect("kill runs").success());
        let (out, err) = self.output();
        (self.child.wait().expect("it ends").code(), out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_gone = self.child.wait();
    }
}
