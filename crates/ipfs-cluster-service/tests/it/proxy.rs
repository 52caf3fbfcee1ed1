//! The IPFS proxy before the embedded node: commands of Kubo that a peer answers by itself. The answers are those of
//! Kubo 0.44 to the same content, without what it tells of modes and times.

use crate::peer::{Peer, service};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::path::Path;

/// The root of what [`tree`] makes.
const ROOT: &str = "Qme1WMqH6GDFJvWWxGbkZYJR5hzJwbzVJs5cPdQxbKqNKa";
const TEXT: &str = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN";
const LINK: &str = "QmS9U51FvTAqDDVLJ5okMzeLjsEeg8JEG1rPmSq2oPahF6";
const SUB: &str = "QmQjvkf6hJCk6YZPAfnUZmpz1xoBeXNubhtco5La6rWujc";
const ZEROS: &str = "QmXZSW216AmapthUD5r9LAoFg2LmkYY291aSKKi5cWUj6Y";
const ZEROS_PARTS: [&str; 2] =
    ["QmRk1rduJvo5DfEYAaLobS2za9tDszk35hzaNSDCJ74DA7", "QmcehoDzn1uSxtoPQovFyWsVxZDYc9x4vubStP4mxL43jg"];

/// A file, a link, and a directory with a file of two blocks.
fn tree(folder: &Path) {
    std::fs::create_dir_all(folder.join("sub")).expect("folders");
    std::fs::write(folder.join("a.txt"), "hello\n").expect("a file");
    std::fs::write(folder.join("sub/zeros"), vec![0; 300_000]).expect("a file");
    std::os::unix::fs::symlink("a.txt", folder.join("link")).expect("a link");
}

/// A peer with an embedded node, and the port of its proxy.
fn start(folder: &Path) -> (Peer, u16) {
    let mut command = service();
    command.arg("--config").arg(folder).args(["init", "--embedded", "--randomports"]);
    let output = command.output().expect("init runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(folder.join("service.json")).expect("a configuration");
    let config: Value = serde_json::from_str(&text).expect("JSON");
    let listen = config["api"]["ipfsproxy"]["listen_multiaddress"].as_str().expect("an address");
    let port = listen.rsplit('/').next().and_then(|port| port.parse().ok()).expect("a port");
    (Peer::start(folder), port)
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

fn send(request: Request<Full<bytes::Bytes>>) -> Answer {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (head, body) = client.request(request).await.expect("answered").into_parts();
        let body = body.collect().await.expect("whole").to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    })
}

fn url(port: u16, command: &str) -> String {
    format!("http://127.0.0.1:{port}/api/v0/{command}")
}

/// Posts a command without a body.
fn post(port: u16, command: &str) -> Answer {
    send(Request::post(url(port, command)).body(Full::default()).expect("a request"))
}

/// What a command that must succeed answers.
fn ok(port: u16, command: &str) -> String {
    let answer = post(port, command);
    assert_eq!(answer.status, 200, "{command}: {}", answer.body);
    answer.body
}

fn rows(body: &str) -> Vec<Value> {
    body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Sends a form with one part to a command that must succeed.
fn form(port: u16, command: &str, data: &str) -> Value {
    let body = format!(
        "--x\r\nContent-Disposition: form-data; name=\"data\"; filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n{data}\r\n--x--\r\n"
    );
    let request = Request::post(url(port, command));
    let request = request.header("content-type", "multipart/form-data; boundary=x").body(Full::from(body));
    let answer = send(request.expect("a request"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// Puts bytes as a block; tells its CID.
fn put(port: u16, options: &str, data: &str) -> String {
    let row = form(port, &format!("block/put?{options}"), data);
    assert_eq!(row["Size"], json!(data.len()));
    row["Key"].as_str().expect("a CID").to_owned()
}

#[test]
fn proc_content_is_read_by_kubos_commands_from_the_embedded_node() {
    let (home, source) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("source"));
    tree(&source.path().join("d"));
    let (peer, port) = start(home.path());
    let run = peer.ctl(&["add", "-r", "-Q", source.path().join("d").to_str().expect("a path")]);
    assert_eq!((run.code, run.stdout.trim()), (0, ROOT), "{run:?}");

    let entry = |name: &str, cid: &str, size: u64, kind: u8, target: &str| json!({ "Name": name, "Hash": cid, "Size": size, "Type": kind, "Target": target });
    let entries = [entry("a.txt", TEXT, 6, 2, ""), entry("link", LINK, 5, 4, "a.txt"), entry("sub", SUB, 0, 1, "")];
    let listing = |links: &[Value]| json!({ "Objects": [{ "Hash": ROOT, "Links": links }] });
    assert_eq!(rows(&ok(port, &format!("ls?arg={ROOT}"))), [listing(&entries)]);
    let one_by_one: Vec<Value> = entries.iter().map(|entry| listing(std::slice::from_ref(entry))).collect();
    assert_eq!(rows(&ok(port, &format!("ls?arg={ROOT}&stream=true"))), one_by_one);

    let refs = |query: &str| -> Vec<String> {
        let row = |row: &Value| {
            assert_eq!(row["Err"], "", "{row}");
            row["Ref"].as_str().expect("a reference").to_owned()
        };
        rows(&ok(port, &format!("refs?{query}"))).iter().map(row).collect()
    };
    assert_eq!(refs(&format!("arg={ROOT}")), [TEXT, LINK, SUB]);
    let all = [TEXT, LINK, SUB, ZEROS, ZEROS_PARTS[0], ZEROS_PARTS[1]];
    assert_eq!(refs(&format!("arg={ROOT}&recursive=true")), all);
    assert_eq!(refs(&format!("arg={ROOT}&arg={ROOT}&recursive=true&unique=true")), all);
    assert_eq!(refs(&format!("arg={ROOT}&recursive=true&max-depth=2")), all[..4]);
    let edges = [format!("{SUB} -> {ZEROS}"), format!("{ZEROS} -> {}", ZEROS_PARTS[0])];
    assert_eq!(refs(&format!("arg={SUB}&recursive=true&edges=true"))[..2], edges);
    assert_eq!(refs(&format!("arg={ROOT}/a.txt&recursive=true")), [""; 0]);

    let both = post(port, &format!("cat?arg={ROOT}/link&arg=/ipfs/{ROOT}/a.txt&offset=2&length=6"));
    assert_eq!((both.body.as_str(), &both.headers["x-content-length"]), ("txthel", &"6".parse().expect("a value")));
    assert_eq!(ok(port, &format!("cat?arg={ROOT}/sub/zeros")), "\0".repeat(300_000));
    assert_eq!(rows(&ok(port, &format!("block/stat?arg={ROOT}/sub"))), [json!({ "Key": SUB, "Size": 53 })]);
    let link = |name: &str, cid: &str, size: u64| json!({ "Hash": { "/": cid }, "Name": name, "Tsize": size });
    let links = [link("a.txt", TEXT, 14), link("link", LINK, 11), link("sub", SUB, 300_185)];
    let node = json!({ "Data": { "/": { "bytes": "CAE" } }, "Links": links });
    assert_eq!(rows(&ok(port, &format!("dag/get?arg={ROOT}"))), [node]);

    let directory = post(port, &format!("cat?arg={ROOT}"));
    let failure = json!({ "Message": "this dag node is a directory", "Code": 0, "Type": "error" });
    assert_eq!((directory.status, rows(&directory.body)), (500, vec![failure]));
    let nowhere = post(port, &format!("ls?arg={ROOT}/nope"));
    assert!(nowhere.body.contains(&format!("no link named \\\"nope\\\" under {ROOT}")), "{}", nowhere.body);
}

#[test]
fn proc_a_block_that_is_put_and_pinned_stays_when_garbage_is_collected() {
    let home = tempfile::tempdir().expect("home");
    let (_peer, port) = start(home.path());

    // First: while something is being pinned, what came since is not collected.
    let loose = put(port, "", "loose");
    let kept = put(port, "pin=true", "kept");
    let other = put(port, "mhtype=sha2-512&pin=true", "loose");
    assert_eq!(kept, "bafkreidz6b3kxxizu5jnw4thx77s7ebccyoredpksgp5vsrp7x6cjsumsy");
    let wanted = "bafkrgqhpyvjbyyz6s5umuftll6d5cnsmarjx4ueylk4neyq5b2eoup27ec22xn3uxlvpt4t5vrjhn5fupetc3gzdet5bv6ywjyzxbu3exh4cq";
    assert_eq!(other, wanted);
    let recursive = json!({ "Type": "recursive" });
    assert_eq!(rows(&ok(port, "pin/ls")), [json!({ "Keys": { &kept: recursive, &other: recursive } })]);

    assert_eq!(rows(&ok(port, "repo/gc")), [json!({ "Key": { "/": loose } })]);
    assert_eq!(ok(port, &format!("block/get?arg={kept}")), "kept");
}

#[test]
fn proc_what_the_embedded_node_does_not_have_is_refused_by_name() {
    let home = tempfile::tempdir().expect("home");
    let (_peer, port) = start(home.path());

    let unknown = post(port, "files/ls");
    assert!(unknown.status == 501 && unknown.body.contains("files/ls"), "{}", unknown.body);
    assert_eq!(
        post(port, "cat").body,
        "{\"Message\":\"argument \\\"ipfs-path\\\" is required\",\"Code\":0,\"Type\":\"error\"}"
    );
    assert_eq!(post(port, "block/stat?arg=x&arg=y").status, 500);

    // A page in a browser could send these.
    let get = send(Request::get(url(port, "repo/gc")).body(Full::default()).expect("a request"));
    assert_eq!((get.status, &get.headers["allow"]), (405, &"POST".parse().expect("a value")));
    for command in ["repo/gc", "add", "version"] {
        let page = Request::post(url(port, command)).header("origin", "http://127.0.0.1").body(Full::default());
        assert_eq!(send(page.expect("a request")).status, 403, "{command}");
    }
    assert_eq!(rows(&ok(port, "version"))[0]["Version"], "1.1.6");
}

#[test]
fn proc_data_is_put_and_directories_are_got_by_kubos_commands_from_the_embedded_node() {
    let (home, source) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("source"));
    tree(&source.path().join("d"));
    let (peer, port) = start(home.path());
    let run = peer.ctl(&["add", "-r", "-Q", source.path().join("d").to_str().expect("a path")]);
    assert_eq!((run.code, run.stdout.trim()), (0, ROOT), "{run:?}");

    let packed = ok(port, &format!("get?arg=/ipfs/{ROOT}"));
    let mut archive = tar::Archive::new(packed.as_bytes());
    let entries = archive.entries().expect("a tar file").map(|entry| {
        let mut entry = entry.expect("an entry");
        let (kind, path) = (entry.header().entry_type(), entry.path().expect("a path").display().to_string());
        let target = entry.link_name().expect("a target").map(|target| target.display().to_string());
        let mut content = String::new();
        std::io::Read::read_to_string(&mut entry, &mut content).expect("content");
        (path, kind, target, content)
    });
    let directory = |path: &str| (path.to_owned(), tar::EntryType::Directory, None, String::new());
    let file = |path: String, content: String| (path, tar::EntryType::Regular, None, content);
    let link = (format!("{ROOT}/link"), tar::EntryType::Symlink, Some("a.txt".to_owned()), String::new());
    let wanted = [
        directory(ROOT),
        file(format!("{ROOT}/a.txt"), "hello\n".into()),
        link,
        directory(&format!("{ROOT}/sub")),
        file(format!("{ROOT}/sub/zeros"), "\0".repeat(300_000)),
    ];
    assert!(entries.eq(wanted), "another tar file");
    assert!(packed.ends_with(&"\0".repeat(1_024)));
    assert_eq!(post(port, &format!("get?arg={ROOT}&compress=true")).status, 501);

    let json = format!("{{\"a\":[1,null,\"x\"],\"to\":{{\"/\":\"{TEXT}\"}}}}");
    let put = form(port, "dag/put?pin=true", &json);
    let cid = put["Cid"]["/"].as_str().expect("a CID");
    assert_eq!(ok(port, &format!("dag/get?arg={cid}")), json);
    assert_eq!(ok(port, &format!("cat?arg={cid}/to")), "hello\n");
    assert!(ok(port, "pin/ls").contains(cid));
    let raw = form(port, "dag/put?input-codec=raw&store-codec=raw", "bytes");
    assert_eq!(ok(port, &format!("block/get?arg={}", raw["Cid"]["/"].as_str().expect("a CID"))), "bytes");
    let unknown = post(port, "dag/put?input-codec=dag-json&store-codec=dag-pb");
    assert!(unknown.status >= 400, "{}", unknown.body);
    assert_eq!(ok(port, "swarm/peers"), "{\"Peers\":[]}");
}

/// The command line of a real Kubo against a peer, when `IPFS_CLUSTER_TEST_KUBO` names its program.
#[test]
fn proc_the_command_line_of_kubo_works_against_the_embedded_node() {
    let Some(program) = std::env::var_os("IPFS_CLUSTER_TEST_KUBO") else {
        return eprintln!("skipped: IPFS_CLUSTER_TEST_KUBO does not name an `ipfs` program");
    };
    let (home, source) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("source"));
    let (_peer, port) = start(home.path());
    let ipfs = |args: &[&str], input: &str| {
        let mut command = std::process::Command::new(&program);
        command.args(["--api", &format!("/ip4/127.0.0.1/tcp/{port}")]).args(args);
        command.env("IPFS_PATH", source.path().join("repo")).current_dir(source.path());
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("ipfs runs");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), input.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "ipfs {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    };
    tree(&source.path().join("d"));

    assert_eq!(ipfs(&["add", "-r", "-Q", "d"], "").lines().last(), Some(ROOT));
    assert!(ipfs(&["pin", "ls"], "").contains(ROOT));
    assert!(ipfs(&["ls", ROOT], "").contains("a.txt"));
    assert_eq!(ipfs(&["cat", &format!("{ROOT}/a.txt")], ""), "hello");
    ipfs(&["get", ROOT, "-o", "got"], "");
    let zeros = std::fs::read(source.path().join("got/sub/zeros")).expect("it was unpacked");
    assert!(zeros == vec![0; 300_000], "the content differs");
    let json = format!("{{\"to\":{{\"/\":\"{TEXT}\"}}}}");
    let cid = ipfs(&["dag", "put", "--pin"], &json);
    assert_eq!(ipfs(&["dag", "get", &cid], ""), json);
    let block = ipfs(&["block", "put", "--pin"], "a block");
    assert_eq!(ipfs(&["block", "get", &block], ""), "a block");
    assert!(ipfs(&["block", "stat", &block], "").contains("Size: 7"));
    ipfs(&["pin", "rm", &block], "");
    assert!(!ipfs(&["pin", "ls"], "").contains(&block));
    ipfs(&["swarm", "peers"], "");
}
