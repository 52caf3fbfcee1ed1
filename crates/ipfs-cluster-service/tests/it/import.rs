//! `embedded import`: CAR files, and what a Kubo has pinned, in the repository of a peer that is not running.

use crate::embedded::{disk_bytes, get, init, until};
use crate::peer::{Peer, service};
use crate::tree;
use bytes::Bytes;
use cluster_testkit::kubo::{FakeKubo, Scripted};
use dag::file::{FileBuilder, Options};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Bytes of the file whose import is interrupted: far more than memory may be taken.
const LARGE: usize = 96 << 20;

/// Bytes of memory that an import may take besides the program's own.
const MEMORY_MAX: u64 = 64 << 20;

/// A file recorded from Kubo.
fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dag/tests/data/car").join(format!("{name}.car"));
    path.to_str().expect("a path").to_owned()
}

/// A file of these bytes as Kubo's adds make it: its root, and a CAR file.
fn car_of(content: &[u8]) -> (String, Vec<u8>) {
    let mut blocks = Vec::new();
    let mut builder = FileBuilder::new(Options { raw_leaves: true, ..Options::default() });
    builder.push(content, &mut |block| blocks.push(block));
    let root = builder.finish(&mut |block| blocks.push(block)).cid;
    let mut car = dag::car::header(&root).to_vec();
    blocks.iter().for_each(|block| car.extend_from_slice(&dag::car::section(&block.cid, &block.data)));
    (root.to_string(), car)
}

/// The blocks of a CAR file with this root, without its header.
fn sections<'a>(root: &str, car: &'a [u8]) -> &'a [u8] {
    &car[header(root).len()..]
}

fn header(root: &str) -> Bytes {
    dag::car::header(&root.parse().expect("a CID"))
}

/// What a run of the program said.
#[derive(Debug)]
struct Run {
    code: i32,
    roots: Vec<String>,
    stderr: String,
}

fn import_command(folder: &Path, args: &[&str]) -> Command {
    let mut command = service();
    command.arg("--config").arg(folder).args(["embedded", "import"]).args(args);
    command
}

fn import(folder: &Path, args: &[&str]) -> Run {
    let output = import_command(folder, args).output().expect("the program runs");
    Run {
        code: output.status.code().unwrap_or(-1),
        roots: String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn imported(folder: &Path, args: &[&str]) -> Vec<String> {
    let run = import(folder, args);
    assert_eq!(run.code, 0, "{run:?}");
    run.roots
}

fn written(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path: PathBuf = folder.join(name);
    std::fs::write(&path, bytes).expect("written");
    path.to_str().expect("a path").to_owned()
}

#[test]
fn proc_roots_of_car_files_are_pinned_kept_and_at_hand_for_the_cluster() {
    let home = tempfile::tempdir().expect("home");
    init(home.path());
    let content = tree::bytes(41, 3_000_000);
    let (root, car) = car_of(&content);
    let made = written(home.path(), "made.car", &car);
    let files = ["dir_nested_v1", "carv2_index_sorted", "dag_cbor", "hamt_small", "multi_root"].map(recorded);
    let args: Vec<&str> = ["--car", &made].into_iter().chain(files.iter().map(String::as_str)).collect();

    let roots = imported(home.path(), &args);
    assert_eq!(roots.len(), 1 + 4 + 2, "{roots:?}");
    assert_eq!(roots[0], root);
    let size = disk_bytes(home.path());
    assert_eq!(imported(home.path(), &args), roots, "again");
    assert_eq!(disk_bytes(home.path()), size, "nothing is written twice");

    let peer = Peer::start(home.path());
    let gc = peer.ctl(&["ipfs", "gc"]);
    assert!(gc.code == 0 && !gc.stdout.contains(&root), "{gc:?}");
    for root in &roots {
        assert_eq!(peer.ctl(&["pin", "add", "--no-status", root]).code, 0);
    }
    roots.iter().for_each(|root| until(&peer, root, "PINNED"));
    assert!(get(&peer, &format!("/ipfs/{root}")) == content, "the content differs");
}

#[test]
fn proc_car_files_that_are_not_right_are_named_with_the_reason_and_pin_nothing() {
    let home = tempfile::tempdir().expect("home");
    init(home.path());
    let (root, mut car) = car_of(&tree::bytes(42, 1_000_000));
    // All but the last block, which is the root; and all but a leaf.
    let (other_root, other) = car_of(&tree::bytes(43, 262_144));
    let without_root = car[..car.len() - 300].to_vec();
    let without_root = written(home.path(), "without-root.car", &without_root[..whole_sections(&without_root)]);
    let lies = car.len() / 2;
    car[lies] ^= 1;
    let lies = written(home.path(), "lies.car", &car);
    let foreign = [&header(&root)[..], sections(&other_root, &other)].concat();
    let foreign = written(home.path(), "foreign.car", &foreign);
    let empty = written(home.path(), "empty.car", b"");
    let not_there = home.path().join("not-there.car").to_str().expect("a path").to_owned();

    for (file, reason) in [
        (&without_root, format!("the DAG of {root} is not whole: block {root} was not among")),
        (&foreign, format!("the DAG of {root} is not whole: block {root} was not among")),
        (&lies, "mismatch in content integrity".to_owned()),
        (&recorded("wrong_hash"), "mismatch in content integrity".to_owned()),
        (&recorded("truncated_block"), "it ends too early, or is no CAR file (unexpected EOF)".to_owned()),
        (&recorded("no_roots"), "it names no roots".to_owned()),
        (&recorded("header_only"), "is not whole: block".to_owned()),
        (
            &recorded("version_3"),
            "it cannot be read as a CAR file of version 1 or 2: invalid car version: 3".to_owned(),
        ),
        (&recorded("garbage"), "it ends too early, or is no CAR file".to_owned()),
        (&empty, "it is empty".to_owned()),
        (&not_there, "no such file".to_owned()),
    ] {
        let run = import(home.path(), &["--car", file]);
        let begin = format!("error importing {file}: ");
        assert!(run.code == 1 && run.roots.is_empty(), "{file}: {run:?}");
        assert!(run.stderr.contains(&begin) && run.stderr.contains(&reason), "{file}: {run:?}");
    }

    // What came of them is garbage.
    assert!(disk_bytes(home.path()) > 500_000);
    let peer = Peer::start(home.path());
    assert_eq!(peer.ctl(&["ipfs", "gc"]).code, 0);
    assert!(disk_bytes(home.path()) < 1_000, "{} bytes stayed", disk_bytes(home.path()));
}

/// How many of these bytes of a CAR file are whole sections.
fn whole_sections(car: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let Ok((length, behind)) = unsigned_varint::decode::usize(&car[at..]) else { return at };
        let end = car.len() - behind.len() + length;
        if end > car.len() {
            return at;
        }
        at = end;
    }
}

fn memory_peak(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[test]
fn proc_an_import_that_is_killed_can_be_made_again_and_takes_little_memory() {
    let home = tempfile::tempdir().expect("home");
    init(home.path());
    let content = tree::bytes(44, LARGE);
    let (root, car) = car_of(&content);
    drop(content);
    let mut command = import_command(home.path(), &["--car", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(&car[..1 << 20]).expect("it reads");
    let before = memory_peak(&child);
    input.write_all(&car[1 << 20..car.len() - (1 << 20)]).expect("it reads");
    if let (Some(before), Some(after)) = (before, memory_peak(&child)) {
        assert!(after - before < MEMORY_MAX, "the import took {} bytes of memory", after - before);
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let left = disk_bytes(home.path());
    assert!(left > (LARGE as u64) / 10 * 9, "{left}");

    // An end that is none pins nothing.
    let file = written(home.path(), "large.car", &car[..car.len() - (1 << 20)]);
    let run = import(home.path(), &["--car", &file]);
    assert!(run.code == 1 && run.roots.is_empty(), "{run:?}");

    let file = written(home.path(), "large.car", &car);
    assert_eq!(imported(home.path(), &["--car", &file]), std::slice::from_ref(&root));
    let all = disk_bytes(home.path());
    assert!(all < LARGE as u64 + (LARGE as u64) / 20, "{all} bytes are there, {left} of them since before");
    let peer = Peer::start(home.path());
    assert!(get(&peer, &format!("/ipfs/{root}")) == tree::bytes(44, LARGE), "the content differs");
}

#[test]
fn proc_a_peer_that_runs_or_has_a_kubo_is_refused() {
    let (home, other) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("home"));
    let kubo = FakeKubo::start();
    crate::peer::init(other.path(), &kubo);
    let run = import(other.path(), &["--car", &recorded("dag_cbor")]);
    assert!(run.code == 1 && run.stderr.contains("this peer has no embedded IPFS node"), "{run:?}");

    init(home.path());
    let _peer = Peer::start(home.path());
    let run = import(home.path(), &["--car", &recorded("dag_cbor")]);
    assert!(run.code == 1 && run.stderr.contains("someone else has the lock"), "{run:?}");

    for (args, reason) in [
        (&["--kubo", "nonsense"][..], "names no Kubo: write http://127.0.0.1:5001"),
        (&["--kubo", "http://127.0.0.1:1"], "connection refused"),
    ] {
        let home = tempfile::tempdir().expect("home");
        init(home.path());
        let run = import(home.path(), args);
        assert!(run.code == 1 && run.stderr.contains(reason), "{run:?}");
    }
}

fn exported(kubo: &FakeKubo, root: &str, car: impl Into<Bytes>) {
    let target = format!("POST /api/v0/dag/export?arg={root}&offline=true");
    let answer = Scripted { status: 200, body: car.into(), ..Scripted::default() };
    kubo.world().scripted.insert(target, answer);
}

#[test]
fn proc_pins_of_a_kubo_are_taken_over_and_those_that_cannot_be_are_named() {
    let (home, kubo) = (tempfile::tempdir().expect("home"), FakeKubo::start());
    init(home.path());
    let ((good, good_car), (lied, lied_car), (gone, _)) =
        (car_of(&tree::bytes(45, 600_000)), car_of(&tree::bytes(46, 600_000)), car_of(b"gone"));
    let (direct, _) = car_of(b"direct");
    exported(&kubo, &good, good_car);
    // The right root, and blocks of something else.
    let (else_root, else_car) = car_of(b"else");
    let lie = [&header(&lied)[..], sections(&else_root, &else_car)].concat();
    exported(&kubo, &lied, lie);
    kubo.world().recursive.extend([good.clone(), lied.clone(), gone.clone()]);
    kubo.world().direct.insert(direct.clone());
    kubo.world().blocks.insert(direct.clone(), Bytes::from_static(b"direct"));
    let url = format!("http://{}", kubo.address());

    let run = import(home.path(), &["--kubo", &url]);
    assert_eq!(run.code, 1, "{run:?}");
    let sorted = |mut roots: Vec<String>| {
        roots.sort();
        roots
    };
    assert_eq!(sorted(run.roots), sorted(vec![good.clone(), direct.clone()]));
    assert!(
        run.stderr.contains(&format!("{lied} was not taken over: the DAG of {lied} is not whole")),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains(&format!("{gone} was not taken over: ")), "{}", run.stderr);
    assert!(run.stderr.contains("2 pins could not be taken over"), "{}", run.stderr);

    // Again, when it is mended: what is here is not fetched.
    exported(&kubo, &lied, lied_car);
    kubo.world().recursive.remove(&gone);
    let all = sorted(vec![good.clone(), lied.clone(), direct]);
    assert_eq!(sorted(imported(home.path(), &["--kubo", &url])), all);
    assert!(kubo.world().scripted.is_empty());

    let peer = Peer::start(home.path());
    assert_eq!(peer.ctl(&["ipfs", "gc"]).code, 0);
    assert!(get(&peer, &format!("/ipfs/{good}")) == tree::bytes(45, 600_000));
    assert!(get(&peer, &format!("/ipfs/{lied}")) == tree::bytes(46, 600_000));
}

/// A real Kubo, offline, in a folder of its own.
struct Kubo {
    daemon: Child,
    folder: tempfile::TempDir,
    program: PathBuf,
    api: String,
}

impl Kubo {
    /// `None`: the test is skipped, and says so.
    fn start(test: &str) -> Option<Self> {
        let Some(program) = std::env::var_os("IPFS_CLUSTER_TEST_KUBO").map(PathBuf::from) else {
            eprintln!("{test} was skipped: IPFS_CLUSTER_TEST_KUBO does not name an `ipfs` program");
            return None;
        };
        let folder = tempfile::tempdir().expect("temp folder");
        let run = |args: &[&str]| {
            let output = command(&program, folder.path()).args(args).output().expect("ipfs runs");
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(&["init"]);
        run(&["config", "Addresses.API", "/ip4/127.0.0.1/tcp/0"]);
        run(&["config", "--json", "Addresses.Gateway", "[]"]);
        let mut daemon = command(&program, folder.path());
        let daemon = daemon.args(["daemon", "--offline"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut daemon = daemon.spawn().expect("ipfs runs");
        let mut lines = BufReader::new(daemon.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let said: Vec<String> = lines.by_ref().take_while(|line| !line.contains("Daemon is ready")).collect();
        std::thread::spawn(move || lines.for_each(drop));
        let api = said.iter().find_map(|line| line.split_once("RPC API server listening on "));
        let api = api.expect("it serves").1.trim().to_owned();
        Some(Self { daemon, folder, program, api })
    }

    /// What it prints.
    fn run(&self, args: &[&str], input: &[u8]) -> String {
        let mut command = command(&self.program, self.folder.path());
        let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ipfs runs");
        child.stdin.take().expect("piped").write_all(input).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "ipfs {args:?}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }
}

fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("IPFS_PATH", folder).env("IPFS_TELEMETRY", "off");
    command
}

impl Drop for Kubo {
    fn drop(&mut self) {
        let _gone = self.daemon.kill();
        let _gone = self.daemon.wait();
    }
}

#[test]
fn proc_pins_of_a_real_kubo_are_taken_over() {
    let Some(kubo) = Kubo::start("proc_pins_of_a_real_kubo_are_taken_over") else { return };
    let (home, content) = (tempfile::tempdir().expect("home"), tree::bytes(47, 5_000_000));
    init(home.path());
    let file = kubo.run(&["add", "-Q"], &content);
    let data = kubo.run(&["dag", "put", "--pin"], format!("{{\"to\":{{\"/\":\"{file}\"}}}}").as_bytes());
    let direct = kubo.run(&["add", "-Q", "--pin=false"], b"held by itself");
    kubo.run(&["pin", "add", "--recursive=false", &direct], b"");

    let run = import(home.path(), &["--kubo", &kubo.api]);
    assert_eq!(run.code, 0, "{run:?}");
    for root in [&file, &data, &direct] {
        assert!(run.roots.contains(root), "{root} is missing: {run:?}");
    }
    // A Kubo that has lost a block says so late.
    let lost = kubo.run(&["add", "-Q"], &tree::bytes(48, 1_000_000));
    let leaf = kubo.run(&["refs", &lost], b"").lines().last().expect("a leaf").to_owned();
    let key = kubo.run(&["cid", "format", "-f", "%M", "-b", "base32upper", &leaf], b"");
    let name = key.trim_start_matches('B');
    let path =
        kubo.folder.path().join("blocks").join(&name[name.len() - 3..name.len() - 1]).join(format!("{name}.data"));
    std::fs::remove_file(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let run = import(home.path(), &["--kubo", &kubo.api]);
    assert!(run.code == 1 && run.stderr.contains(&format!("{lost} was not taken over: ")), "{run:?}");
    assert!(run.roots.contains(&file), "{run:?}");

    let peer = Peer::start(home.path());
    assert_eq!(peer.ctl(&["ipfs", "gc"]).code, 0);
    assert!(get(&peer, &format!("/ipfs/{file}")) == content, "the content differs");
    assert!(get(&peer, &format!("/ipfs/{direct}")) == b"held by itself");
}
