//! Content from a real Kubo and for it, when `IPFS_CLUSTER_TEST_KUBO` names its program.

use crate::support::{bytes, recursive};
use crate::swarm::{Member, open_to_others};
use bytes::Bytes;
use cluster_component::component::IpfsConnector;
use cluster_component::ports::Block;
use cluster_embedded::SwarmConfig;
use cluster_types::{Cid, Multiaddr};
use dag::file::{FileBuilder, Options};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// The variable that names the program.
const PROGRAM: &str = "IPFS_CLUSTER_TEST_KUBO";

/// A Kubo in a folder of its own, on loopback, that knows nobody.
struct Kubo {
    program: PathBuf,
    folder: TempDir,
    daemon: Option<Child>,
}

impl Kubo {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).env("IPFS_PATH", self.folder.path()).env("IPFS_TELEMETRY", "off");
        command
    }

    fn run(&self, args: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command(args).output().expect("ipfs runs");
        assert!(status.success(), "ipfs {args:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("text").trim().to_owned()
    }

    /// With this part in the DHT.
    fn start(program: &Path, routing: &str) -> Self {
        let folder = tempfile::tempdir().expect("temp folder");
        let mut kubo = Self { program: program.to_owned(), folder, daemon: None };
        kubo.run(&["init"]);
        kubo.run(&["bootstrap", "rm", "--all"]);
        for (key, value) in [
            ("Addresses.Swarm", "[\"/ip4/127.0.0.1/tcp/0\"]"),
            ("Addresses.API", "\"/ip4/127.0.0.1/tcp/0\""),
            ("Addresses.Gateway", "[]"),
            ("Discovery.MDNS.Enabled", "false"),
            ("Routing.Type", &format!("\"{routing}\"")),
            ("AutoConf.Enabled", "false"),
            ("AutoTLS.Enabled", "false"),
        ] {
            // Older ones do not know all of them.
            let _unknown = kubo.command(&["config", "--json", key, value]).output();
        }
        let mut daemon = kubo.command(&["daemon"]);
        let mut daemon = daemon.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ipfs runs");
        let mut lines = BufReader::new(daemon.stdout.take().expect("piped")).lines();
        let seen: Vec<String> =
            lines.by_ref().map_while(Result::ok).take_while(|line| !line.contains("Daemon is ready")).collect();
        kubo.daemon = Some(daemon);
        // It goes on writing.
        std::thread::spawn(move || lines.for_each(drop));
        assert!(!seen.is_empty(), "no daemon");
        kubo
    }

    fn add(&self, args: &[&str], content: &[u8]) -> Cid {
        let mut command = self.command(&[&["add", "-Q"], args].concat());
        let mut add = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ipfs runs");
        add.stdin.take().expect("piped").write_all(content).expect("taken");
        let out = add.wait_with_output().expect("ends");
        assert!(out.status.success());
        String::from_utf8(out.stdout).expect("text").trim().parse().expect("a CID")
    }

    fn address(&self) -> Multiaddr {
        let all = self.run(&["id", "-f", "<addrs>"]);
        let tcp = all.lines().find(|line| line.contains("/127.0.0.1/tcp/")).expect("it listens");
        tcp.parse().expect("an address")
    }
}

impl Drop for Kubo {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _gone = daemon.kill();
            let _gone = daemon.wait();
        }
    }
}

/// `None`: the test is skipped, and says so.
fn kubo(test: &str, routing: &str) -> Option<Kubo> {
    let program = std::env::var_os(PROGRAM);
    if program.is_none() {
        eprintln!("{test} was skipped: {PROGRAM} does not name an `ipfs` program");
    }
    program.map(|program| Kubo::start(Path::new(&program), routing))
}

/// A file as Kubo makes it.
fn large_file(content: &[u8]) -> (Cid, Vec<Block>) {
    let mut blocks = Vec::new();
    let mut builder = FileBuilder::new(Options::default());
    let mut out = |block: dag::Block| blocks.push(Block::claimed(Cid(block.cid), block.data));
    builder.push(content, &mut out);
    let root = builder.finish(&mut out);
    (Cid(root.cid), blocks)
}

async fn read(member: &Member, root: Cid) -> Vec<u8> {
    use futures::TryStreamExt;
    let pieces: Vec<Bytes> = member.made.node.content().read(root, 0..u64::MAX).try_collect().await.expect("read");
    pieces.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn content_of_a_kubo_is_pinned_here() {
    let Some(kubo) = kubo("content_of_a_kubo_is_pinned_here", "none") else { return };
    let content = bytes(21, 5_000_000);
    let root = kubo.add(&[], &content);
    let folder = kubo.folder.path().join("shared");
    std::fs::create_dir_all(folder.join("inner")).expect("made");
    for n in 0..50 {
        std::fs::write(folder.join(format!("inner/{n}")), bytes(100 + n, 3_000)).expect("written");
    }
    let directory: Cid = kubo.run(&["add", "-Qr", &folder.to_string_lossy()]).parse().expect("a CID");

    let member = Member::start(open_to_others()).await;
    member.connect(kubo.address()).await;
    for root in [root, directory] {
        member.pin(&recursive(root)).await.expect("pinned");
    }

    assert_eq!(read(&member, root).await, content);
    let inner = member.made.node.resolve(&format!("/ipfs/{directory}/inner/49")).await.expect("there");
    assert_eq!(read(&member, inner).await, bytes(149, 3_000));
    assert!(kubo.run(&["swarm", "peers"]).contains(&member.id().await.to_string()));
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubo_reads_what_is_here() {
    let Some(kubo) = kubo("a_kubo_reads_what_is_here", "none") else { return };
    let content = bytes(22, 5_000_000);
    let (root, blocks) = large_file(&content);
    let member = Member::start(open_to_others()).await;
    crate::support::put(&member.made.node, &blocks).await;

    kubo.run(&["swarm", "connect", &member.address().await.to_string()]);
    let out = kubo.command(&["cat", &root.to_string()]).output().expect("ipfs runs");

    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.stdout == content, "{} bytes", out.stdout.len());
    assert_eq!(member.peers().await.len(), 1);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubo_is_asked_who_has_it() {
    let Some(kubo) = kubo("a_kubo_is_asked_who_has_it", "dhtserver") else { return };
    let bootstrap = vec![kubo.address().to_string()];
    let knowing = || SwarmConfig { bootstrap: bootstrap.clone(), ..open_to_others() };
    let (holder, wanter) = (Member::start(knowing()).await, Member::start(knowing()).await);
    let (root, blocks) = large_file(&bytes(23, 1_000_000));
    crate::support::put(&holder.made.node, &blocks).await;
    holder.pin(&recursive(root)).await.expect("all is here");

    wanter.pin(&recursive(root)).await.expect("found and fetched");

    let holder_id = holder.id().await;
    assert!(kubo.run(&["routing", "findprovs", &root.to_string()]).contains(&holder_id.to_string()));
    assert!(wanter.peers().await.contains(&holder_id));
    wanter.stop().await;
    holder.stop().await;
}
