//! Runs of `ipfs-cluster-service`.

use super::{Outcome, Tally, items, recordings, text};
use crate::peer::{free_port, service};
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

/// Ports of the recording. Each run has others, which are put back before comparing.
const PORTS: [&str; 6] = ["9094", "9095", "9096", "9097", "5001", "9999"];

#[test]
fn proc_golden_service() {
    let recorded = recordings("service");
    let world = World::new(&recorded);
    let mut tally = Tally::new("service");
    for case in items(&recorded, "cases") {
        tally.add(case, &world.play(case));
    }
    tally.finish();
}

struct World<'a> {
    recorded: &'a Value,
    dir: tempfile::TempDir,
    /// A port of the recording, and ours.
    ports: Vec<(&'static str, String)>,
}

impl<'a> World<'a> {
    fn new(recorded: &'a Value) -> Self {
        let ports = PORTS.iter().map(|name| (*name, free_port().to_string())).collect();
        Self { recorded, dir: tempfile::tempdir().expect("temp folder"), ports }
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    /// A text of the recording as this run needs it.
    fn ours(&self, recorded: &str) -> String {
        let text = recorded.replace("$DIR", &self.root().display().to_string());
        self.ports.iter().fold(text, |text, (theirs, ours)| {
            text.replace(&format!("/tcp/{theirs}"), &format!("/tcp/{ours}"))
                .replace(&format!("127.0.0.1:{theirs}"), &format!("127.0.0.1:{ours}"))
        })
    }

    fn port(&self, theirs: &str) -> &str {
        self.ports.iter().find(|(t, _)| *t == theirs).map_or("0", |(_, ours)| ours)
    }

    fn replaced(&self) -> Vec<(String, String)> {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut replaced = vec![
            (self.root().display().to_string(), "$DIR".to_owned()),
            (format!("\"{}\"", hostname.trim()), "\"$HOSTNAME\"".to_owned()),
        ];
        for (theirs, ours) in &self.ports {
            replaced.push((format!("/tcp/{ours}"), format!("/tcp/{theirs}")));
            replaced.push((format!("127.0.0.1:{ours}"), format!("127.0.0.1:{theirs}")));
        }
        replaced
    }

    fn play(&self, case: &Value) -> Outcome {
        self.prepare(case);
        let taken = ["rest", "proxy", "swarm", "pinsvc"].iter().zip(["9094", "9095", "9096", "9097"]);
        let taken = taken.filter(|(name, _)| text(case, "name") == format!("daemon/{name} port taken"));
        let _held: Vec<TcpListener> = taken
            .map(|(_, port)| TcpListener::bind(format!("127.0.0.1:{}", self.port(port))).expect("a free port"))
            .collect();
        let running = (!case["before"]["running"].is_null()).then(|| self.start(case));
        let mut command = self.command(case);
        let mut value = match (case["exit"].is_null(), case["signal"].as_str()) {
            (false, None) => finished(&mut command, &self.ours(text(case, "stdin")), patience("service", case)),
            (_, signal) => signalled(command, signal),
        };
        if let Some(files) = case["files_after"].as_object() {
            let found = files.iter().map(|(path, want)| (path.clone(), self.file(path, want)));
            value.insert("files_after".into(), Value::Object(found.collect()));
        }
        drop(running);
        Outcome { value: Value::Object(value), replaced: self.replaced() }
    }

    fn command(&self, case: &Value) -> Command {
        let mut command = service();
        command.args(items(case, "args").filter_map(Value::as_str).map(|arg| self.ours(arg)));
        let variables = case["env"].as_object().into_iter().flatten();
        let home = self.root().join("home");
        std::fs::create_dir_all(&home).expect("a home folder");
        command.env("HOME", home).envs(variables.map(|(k, v)| (k, self.ours(v.as_str().unwrap_or("")))));
        command.current_dir(self.root());
        command
    }

    /// The folder of a case that begins with one, and the files that it finds.
    fn prepare(&self, case: &Value) {
        for (path, content) in case["files_before"].as_object().into_iter().flatten() {
            std::fs::write(self.ours(path), self.ours(content.as_str().unwrap_or(""))).expect("written");
        }
        let Some(folder) = self.folder(case) else { return };
        let name = text(case, "name");
        let base = match text(case, "base") {
            "" if name.starts_with("state/raft") => "raft",
            "" if name.starts_with("state/") || name.starts_with("daemon/") => "crdt",
            "" if case.get("service_json").or_else(|| case.get("service_json_base64")).is_some() => "crdt",
            "" => return,
            base => base,
        };
        if folder.join("service.json").exists() && case.get("base").is_none() {
            return;
        }
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("its mode");
        std::fs::write(folder.join("service.json"), self.service_json(case, base)).expect("written");
        match case.get("identity_json") {
            None => write(&folder.join("identity.json"), &self.recorded["identity_json"].to_string()),
            Some(Value::String(text)) => write(&folder.join("identity.json"), text),
            Some(_) => {}
        }
    }

    fn folder(&self, case: &Value) -> Option<PathBuf> {
        let args: Vec<&str> = items(case, "args").filter_map(Value::as_str).collect();
        let at = args.iter().position(|arg| *arg == "-c")?;
        Some(PathBuf::from(self.ours(args.get(at + 1)?)))
    }

    fn service_json(&self, case: &Value, base: &str) -> Vec<u8> {
        if let Some(encoded) = case["service_json_base64"].as_str() {
            return decode_base64(encoded);
        }
        if let Some(verbatim) = case["service_json"].as_str() {
            return self.ours(verbatim).into_bytes();
        }
        let mut config = self.recorded["base"][base].clone();
        for (path, value) in case["set"].as_object().into_iter().flatten() {
            set(&mut config, path, value.clone());
        }
        for path in items(case, "remove").filter_map(Value::as_str) {
            remove(&mut config, path);
        }
        self.ours(&config.to_string()).into_bytes()
    }

    fn file(&self, path: &str, want: &Value) -> Value {
        let path = PathBuf::from(self.ours(path));
        let Ok(metadata) = std::fs::metadata(&path) else { return Value::Null };
        let mut found = Map::new();
        found.insert("mode".into(), json!(format!("0o{:o}", metadata.permissions().mode() & 0o7777)));
        if want.get("dir").is_some() {
            let names = std::fs::read_dir(&path).into_iter().flatten().filter_map(Result::ok);
            let mut names: Vec<String> = names.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            found.insert("dir".into(), json!(names));
        } else {
            let bytes = std::fs::read(&path).unwrap_or_default();
            found.insert("text".into(), json!(String::from_utf8_lossy(&bytes)));
        }
        Value::Object(found)
    }

    /// A daemon on the folder of the case.
    fn start(&self, case: &Value) -> Result<Running, (Option<i32>, String)> {
        let folder = self.folder(case).expect("a folder");
        let mut command = service();
        command.arg("-c").arg(folder).arg("daemon");
        Running::start(command)
    }
}

fn write(path: &Path, content: &str) {
    std::fs::write(path, content).expect("written");
}

fn set(config: &mut Value, path: &str, value: Value) {
    match path.split_once('.') {
        None => config[path] = value,
        Some((head, rest)) => set(&mut config[head], rest, value),
    }
}

fn remove(config: &mut Value, path: &str) {
    match path.split_once('.') {
        None => drop(config.as_object_mut().and_then(|object| object.shift_remove(path))),
        Some((head, rest)) => remove(&mut config[head], rest),
    }
}

pub(super) fn decode_base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut out) = (0u32, 0, Vec::new());
    for byte in text.bytes().filter(|b| *b != b'=') {
        bits = (bits << 6) | u32::try_from(alphabet.iter().position(|a| *a == byte).expect("base64")).expect("small");
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xff).expect("a byte"));
        }
    }
    out
}

/// How long a run is waited for that is to end by itself: very long, on a busy machine too. One that is named may be so
/// since it goes on here.
pub(super) fn patience(file: &str, case: &Value) -> Duration {
    Duration::from_secs(if super::is_named(file, text(case, "name")) { 3 } else { 60 })
}

/// Runs a command to its end; one that does not end in time is ended, and has no exit code.
pub(super) fn finished(command: &mut Command, input: &str, patience: Duration) -> Map<String, Value> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        let _closed_early = stdin.write_all(input.as_bytes()); // A program need not read its input.
    });
    let (done, ended) = std::sync::mpsc::channel();
    let stdout = collect(child.stdout.take().expect("a pipe"), done.clone());
    let stderr = collect(child.stderr.take().expect("a pipe"), done);
    let in_time = (0..2).all(|_| ended.recv_timeout(patience).is_ok());
    if !in_time {
        child.kill().expect("it runs");
    }
    let status = child.wait().expect("it ends");
    writer.join().expect("the writer ends");
    let (stdout, stderr) = (stdout.join().expect("read"), stderr.join().expect("read"));
    as_case(status.code().filter(|_| in_time), &stdout, &stderr)
}

/// Reads all of a pipe on a thread, and tells when it is closed.
fn collect(mut pipe: impl Read + Send + 'static, done: Sender<()>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _what_there_is = pipe.read_to_end(&mut bytes);
        let _given_up = done.send(());
        bytes
    })
}

fn as_case(code: Option<i32>, stdout: &[u8], stderr: &[u8]) -> Map<String, Value> {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
    [("exit".to_owned(), json!(code)), ("stdout".to_owned(), text(stdout)), ("stderr".to_owned(), text(stderr))]
        .into_iter()
        .collect()
}

/// Runs a daemon until it serves, then signals it; without a signal it is still running when it is looked at.
fn signalled(command: Command, signal: Option<&str>) -> Map<String, Value> {
    let mut running = match Running::start(command) {
        Ok(running) => running,
        Err((code, said)) => return as_case(code, b"", said.as_bytes()),
    };
    let code = signal.and_then(|signal| {
        let (name, pid) = (signal.trim_start_matches("SIG"), running.child.id().to_string());
        assert!(Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs").success());
        running.child.wait().expect("it ends").code()
    });
    as_case(code, b"", b"")
}

/// A daemon that is killed when it is no longer needed.
struct Running {
    child: Child,
}

impl Running {
    /// Starts it and waits until it serves its API. One that ends first gives its code and what it said.
    fn start(mut command: Command) -> Result<Self, (Option<i32>, String)> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe"));
        let (mut line, mut seen) = (String::new(), String::new());
        while !line.contains("RESTAPI (HTTP)") {
            line.clear();
            if lines.read_line(&mut line).expect("text") == 0 {
                return Err((child.wait().expect("it ends").code(), seen));
            }
            seen.push_str(&line);
        }
        std::thread::spawn(move || {
            let _until_it_ends = lines.read_to_end(&mut Vec::new()); // Keeps the pipe empty.
        });
        Ok(Self { child })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_gone = self.child.wait();
    }
}
