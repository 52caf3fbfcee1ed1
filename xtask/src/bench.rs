//! Measures the real program over HTTP against a daemon that answers at once, and another build of the reference beside
//! it: `cargo xtask bench [--reference FOLDER] [--pins COUNT] [--kubo FILE]`. What is added goes to the node within the peer,
//! which the reference has not; that of a Kubo is measured beside it.
//!
//! Both run in the same minutes on the same machine: compare the ratios, not figures of different days. Three peers with
//! raft, of ours alone, follow.

mod raft;

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than any start takes, with a million pins too.
const START_MAX: Duration = Duration::from_secs(120);

/// Longer than the slowest known build takes to track a million pins.
const TRACK_MAX: Duration = Duration::from_secs(1_800);

/// Pins of a stored pinset, unless said otherwise.
const PINS: u64 = 200_000;

/// What to measure.
struct Options {
    reference: Option<PathBuf>,
    kubo: Option<PathBuf>,
    pins: u64,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { reference: None, kubo: None, pins: PINS };
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} wants a value"))?;
            match flag.as_str() {
                "--reference" => options.reference = Some(value.into()),
                "--kubo" => options.kubo = Some(value.into()),
                "--pins" => options.pins = value.parse().with_context(|| format!("--pins {value}: not a number"))?,
                _ => bail!("unknown flag {flag}: there are --reference FOLDER, --pins COUNT and --kubo FILE"),
            }
        }
        Ok(options)
    }
}

/// A build that is measured.
struct Contestant {
    name: &'static str,
    service: PathBuf,
}

/// One figure of one contestant.
struct Figure {
    work: String,
    text: String,
}

impl Figure {
    /// One that is shown at once, too.
    fn noted(work: &str, text: String) -> Self {
        eprintln!("  {work}: {text}");
        Self { work: work.to_owned(), text }
    }
}

/// Measures everything and prints a table.
pub(crate) fn bench(args: impl Iterator<Item = String>) -> Result<()> {
    let options = Options::parse(args)?;
    let target = build()?;
    let tools = Tools { load: target.join("examples/load"), fake_kubo: target.join("examples/fake_kubo") };
    let mut contestants = vec![Contestant { name: "ours", service: target.join("ipfs-cluster-service") }];
    if let Some(folder) = options.reference {
        let service = folder.join("ipfs-cluster-service");
        ensure!(service.is_file(), "{} is not there: name the folder that holds it", service.display());
        contestants.push(Contestant { name: "reference", service });
    }
    let mut columns = Vec::new();
    for contestant in &contestants {
        eprintln!("measuring {}", contestant.name);
        columns.push(measure(contestant, &tools, options.pins)?);
    }
    columns[0].extend(raft::measure(&contestants[0], &tools)?);
    print(&contestants, &columns);
    for line in adds(&contestants[0], &tools, options.kubo.as_deref())? {
        println!("{line}");
    }
    Ok(())
}

/// Builds what is measured and what measures; returns the folder.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for what in [["-p", "ipfs-cluster-service"].as_slice(), &["-p", "cluster-testkit", "--examples"]] {
        let built = Command::new(&cargo).args(["build", "--release", "--locked"]).args(what).status()?;
        ensure!(built.success(), "the release build failed");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(target.join("release").canonicalize()?)
}

struct Tools {
    load: PathBuf,
    fake_kubo: PathBuf,
}

impl Tools {
    /// Runs the load generator; its words are the figure.
    fn load(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(&self.load).args(args).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "load {} failed", args.join(" "));
        let text = String::from_utf8(output.stdout)?;
        Ok(text.split_once(": ").map_or(text.as_str(), |(_, figures)| figures).trim().to_owned())
    }
}

fn measure(contestant: &Contestant, tools: &Tools, pins: u64) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut note = |work: &str, text: String| figures.push(Figure::noted(work, text));

    let kubo = Process::fake_kubo(tools)?;
    let mut peer = Peer::init(contestant, &kubo.address, &[])?;
    peer.start()?;
    note("memory, empty", peer.resident()?);
    note("POST /pins, 1 connection, 2,000 pins", tools.load(&[&peer.api, "pin", "2000", "1"])?);
    let begun = Instant::now();
    let cpu = peer.cpu_seconds()?;
    note("POST /pins, 64 connections, 20,000 pins", tools.load(&[&peer.api, "pin", "20000", "64", "2000"])?);
    peer.wait_until_tracked()?;
    note("the same until all are pinned", format!("{:.1} s", begun.elapsed().as_secs_f64()));
    let each_ms = (peer.cpu_seconds()? - cpu) * 1_000.0 / 20_000.0;
    note("CPU of that", format!("{each_ms:.3} ms a pin"));
    drop((peer, kubo));

    let kubo = Process::fake_kubo(tools)?;
    let mut peer = Peer::init(contestant, &kubo.address, &[])?;
    let file = peer.folder.path().join("export.ndjson");
    fs::write(&file, Command::new(&tools.load).args(["export", &pins.to_string()]).output()?.stdout)?;
    let begun = Instant::now();
    peer.run(&["state", "import", "--force", &file.display().to_string()])?;
    note(&format!("state import of {pins}"), format!("{:.1} s", begun.elapsed().as_secs_f64()));
    let begun = Instant::now();
    peer.start()?;
    note("start on them", format!("{:.2} s", begun.elapsed().as_secs_f64()));
    peer.wait_until_tracked()?;
    note("tracking all of them", format!("{:.1} s", begun.elapsed().as_secs_f64()));
    for path in ["/allocations", "/pins?local=true", "/pins"] {
        note(&format!("GET {path}"), tools.load(&[&peer.api, "list", path])?);
    }
    note("memory after that", peer.resident()?);
    Ok(figures)
}

/// Adds to the node within the peer, and to a Kubo.
fn adds(contestant: &Contestant, tools: &Tools, kubo: Option<&Path>) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut peer = Peer::init_embedded(contestant)?;
    peer.start()?;
    let empty = peer.resident()?;
    for _ in 0..ADDS {
        lines.push(format!("add of {ADD_MIB} MiB: {}", tools.load(&[&peer.api, "add", ADD_MIB])?));
    }
    lines.push(format!("memory: {empty} before, {} after", peer.resident()?));
    lines.push(format!("add of {ADD_FILES} files: {}", tools.load(&[&peer.api, "tree", ADD_FILES])?));
    lines.push(format!("memory after that: {}", peer.resident()?));
    drop(peer);
    if let Some(kubo) = kubo {
        let kubo = Kubo::start(kubo)?;
        for _ in 0..ADDS {
            let figure = tools.load(&[&kubo.process.address, "add", ADD_MIB, "/api/v0/add"])?;
            lines.push(format!("add of {ADD_MIB} MiB to a Kubo: {figure}"));
        }
    }
    Ok(lines)
}

/// Times that a file is added: the first ones make files and fill caches.
const ADDS: usize = 5;

const ADD_MIB: &str = "256";

const ADD_FILES: &str = "100000";

/// A Kubo without a network.
struct Kubo {
    process: Process,
    _folder: TempDir,
}

impl Kubo {
    fn start(program: &Path) -> Result<Self> {
        let (folder, address) = (tempfile::tempdir()?, format!("127.0.0.1:{}", free_port()?));
        let command = |args: &[&str]| {
            let mut command = Command::new(program);
            command.args(args).env("IPFS_PATH", folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let api = format!("/ip4/{}", address.replace(':', "/tcp/"));
        for args in [
            ["init", "--empty-repo"].as_slice(),
            &["config", "Addresses.API", &api],
            &["config", "Addresses.Gateway", ""],
        ] {
            ensure!(command(args).status()?.success(), "{} {} failed", program.display(), args.join(" "));
        }
        let process = Process { child: command(&["daemon", "--offline"]).spawn()?, address };
        let begun = Instant::now();
        while TcpStream::connect(&process.address).is_err() {
            ensure!(begun.elapsed() < START_MAX, "{} does not serve", program.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { process, _folder: folder })
    }
}

fn print(contestants: &[Contestant], columns: &[Vec<Figure>]) {
    let names: Vec<&str> = contestants.iter().map(|contestant| contestant.name).collect();
    println!("| work | {} | ratio of rates |\n|---|{}---|", names.join(" | "), "---|".repeat(names.len()));
    for (at, figure) in columns[0].iter().enumerate() {
        let cell = |column: &Vec<Figure>| column.get(at).map_or(String::new(), |figure| figure.text.clone());
        let cells: Vec<String> = columns.iter().map(cell).collect();
        let ratio = match cells.iter().map(|cell| rate(cell)).collect::<Option<Vec<f64>>>().as_deref() {
            Some([ours, reference]) => format!("{:.1}", ours / reference),
            _ => String::new(),
        };
        println!("| {} | {} | {ratio} |", figure.work, cells.join(" | "));
    }
}

/// The number before `/s` in a figure.
fn rate(text: &str) -> Option<f64> {
    let (before, _) = text.split_once("/s")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// A program that ends with its handle.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn fake_kubo(tools: &Tools) -> Result<Self> {
        let mut child = Command::new(&tools.fake_kubo).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().context("its output is piped")?).read_line(&mut address)?;
        Ok(Self { child, address: address.trim().to_owned() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A peer with a folder of its own and free ports.
struct Peer {
    service: PathBuf,
    folder: TempDir,
    api: String,
    daemon: String,
    process: Option<Process>,
}

impl Peer {
    fn init_embedded(contestant: &Contestant) -> Result<Self> {
        Self::init(contestant, "", &["--embedded"])
    }

    fn init(contestant: &Contestant, daemon: &str, args: &[&str]) -> Result<Self> {
        let (folder, api) = (tempfile::tempdir()?, format!("127.0.0.1:{}", free_port()?));
        let (service, daemon) = (contestant.service.clone(), daemon.to_owned());
        let peer = Self { service, folder, api, daemon, process: None };
        peer.run(&[&["init", "--randomports"], args].concat())?;
        Ok(peer)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.service);
        let api = self.api.replace(':', "/tcp/");
        command.arg("--config").arg(self.folder.path().join("peer")).stdout(Stdio::null()).stderr(Stdio::null());
        if !self.daemon.is_empty() {
            command.env("CLUSTER_IPFSHTTP_NODEMULTIADDRESS", &self.daemon);
        }
        command
            .env("CLUSTER_EMBEDDED_GATEWAYMULTIADDRESS", "")
            .env("CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS", format!("/ip4/{api}"));
        command
    }

    fn run(&self, args: &[&str]) -> Result<()> {
        let status = self.command().args(args).status()?;
        ensure!(status.success(), "{} {} ended with {status}", self.service.display(), args.join(" "));
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        self.spawn(Stdio::null())?;
        let begun = Instant::now();
        while self.get("/id").is_err() {
            ensure!(begun.elapsed() < START_MAX, "{} does not serve", self.service.display());
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn spawn(&mut self, log: Stdio) -> Result<()> {
        let child = self.command().arg("daemon").stderr(log).spawn()?;
        self.process = Some(Process { child, address: self.api.clone() });
        Ok(())
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.api)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.api)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 2"), "GET {path}: {}", answer.lines().next().unwrap_or_default());
        Ok(answer)
    }

    /// Waits until nothing is queued or under way, and something is pinned.
    fn wait_until_tracked(&self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < TRACK_MAX {
            let asked = Instant::now();
            let waiting = self.get("/pins?local=true&filter=queued,pinning,unexpectedly_unpinned")?;
            if !waiting.contains("\"cid\"") {
                return Ok(());
            }
            // A long list is asked for less often: asking must not be what is measured.
            std::thread::sleep((asked.elapsed() * 10).max(Duration::from_millis(50)));
        }
        bail!("not everything was pinned in {} s", TRACK_MAX.as_secs())
    }

    fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the peer does not run")?.child.id())
    }

    /// Resident memory, now and at its highest.
    fn resident(&self) -> Result<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let of = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1_024
        };
        Ok(format!("{} MiB (peak {})", of("VmRSS:"), of("VmHWM:")))
    }

    /// CPU time so far.
    fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(Path::new("/proc").join(self.pid()?.to_string()).join("stat"))?;
        // Behind the name, which may hold anything: the fields from the third on; user and system time are 14 and 15.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        Ok(ticks / 100.0)
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_found_in_figures() {
        assert_eq!(rate("30000/s, p50 1.80 ms"), Some(30_000.0));
        assert_eq!(rate("200000 items, 1 bytes in 0.20 s: 1000000/s, first"), Some(1_000_000.0));
        assert_eq!(rate("12 MiB (peak 13)"), None);
    }
}
