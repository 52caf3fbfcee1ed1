//! The gateway with the embedded node behind it, held against exchanges recorded from Kubo 0.44.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cluster_component::component::{Api, Component, IpfsConnector};
use cluster_component::ports::Block;
use cluster_component::tasks::TaskScope;
use cluster_datastore::MemoryStore;
use cluster_embedded::{Embedded, EmbeddedConfig, Parts};
use cluster_http::api::gateway::Gateway;
use cluster_testkit::{ManualClock, TokioSpawn};
use cluster_types::{Cid, Multiaddr};
use dag::file::{FileBuilder, Options};
use dag::hash::Naming;
use dag::tree::{Directory, Entry, symlink};
use futures::{StreamExt, stream};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The content that the recording speaks of.
struct Content(Vec<Block>);

const V1: Naming = Naming { version_1: true, hash: dag::hash::HashFunction::Sha2_256, inline: None };

impl Content {
    fn file(&mut self, bytes: &[u8], naming: Naming) -> Entry {
        let options = Options { raw_leaves: naming.version_1, naming, ..Options::default() };
        let mut builder = FileBuilder::new(options);
        let mut out = |block: dag::Block| self.0.push(Block::claimed(Cid(block.cid), block.data));
        builder.push(bytes, &mut out);
        let file = builder.finish(&mut out);
        Entry { cid: file.cid, tsize: file.tsize }
    }

    fn directory(&mut self) -> Cid {
        let mut tree = Directory::default();
        for (path, bytes) in [
            ("d/a.txt", b"text\n".to_vec()),
            ("d/data.json", b"{\"j\":1}\n".to_vec()),
            ("d/sub/b.txt", b"b\n".to_vec()),
            ("d/site/index.html", b"<!doctype html><title>t</title>\n".to_vec()),
            ("d/site/s.css", b"p{}\n".to_vec()),
            ("d/bin.dat", chance(5_000)),
            ("d/\u{fc} b.txt", b"u".to_vec()),
        ] {
            let entry = self.file(&bytes, V1);
            tree.put(path, entry).expect("put");
        }
        let mut out = |block: dag::Block| self.0.push(Block::claimed(Cid(block.cid), block.data));
        tree.put("d/ln", symlink("a.txt", None, V1, &mut out)).expect("put");
        let root = tree.finish_entry("d", V1, &mut out, &mut |_, _| {}).expect("finished").expect("there");
        Cid(root.cid)
    }

    fn twins(&mut self) -> Cid {
        let mut tree = Directory::default();
        let file = self.file(&chance(600_000), V1);
        for path in ["t/a", "t/b"] {
            tree.put(path, file).expect("put");
        }
        let mut out = |block: dag::Block| self.0.push(Block::claimed(Cid(block.cid), block.data));
        Cid(tree.finish_entry("t", V1, &mut out, &mut |_, _| {}).expect("finished").expect("there").cid)
    }

    fn data(&mut self, cid: &str, bytes: &[u8]) {
        self.0.push(Block::claimed(cid.parse().expect("a CID"), bytes.to_vec().into()));
    }
}

const PLAIN_JSON: &[u8] = b"{\"plain\":1}";

/// `{"plain": 1}`
const PLAIN_CBOR: &[u8] = b"\xa1eplain\x01";

fn of_codec(codec: u64, data: &[u8]) -> String {
    V1.cid(codec, data).to_string()
}

/// The recording's generator, seed 1.
fn chance(length: usize) -> Vec<u8> {
    let (mut x, mut out) = (1_u64, Vec::new());
    while out.len() < length {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        out.extend_from_slice(&x.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(length);
    out
}

struct Served {
    address: String,
    /// A directory with one file under two names.
    twins: Cid,
    tasks: TaskScope,
    _folder: tempfile::TempDir,
}

async fn serve() -> Served {
    let mut content = Content(Vec::new());
    content.file(b"hello gateway\n", V1);
    content.file(b"hello gateway\n", Naming::default());
    content.file(&chance(600_000), V1);
    let directory = content.directory();
    assert_eq!(directory.to_string(), "bafybeiectar6jb7m42szl7a5qscd5iut4w2idxy6fxpotbwp536jwsuqi4");
    let cbor = STANDARD.decode("omFhAWFs2CpYJQABVRIgUI69+AG0pDilx0BnCJMAgnPLfmucpxVkYorOgkYUsQ4=").expect("base64");
    content.data("bafyreih2tbv7b22vltzfqbsjtbcv73vopd6pip5qpzjh5umxny7urnsmvu", &cbor);
    content.data("baguqeeraafnl2724yv5c3wklowipaswybbbhhec64m7mltv6vzrco2ux7bra", b"{\"a\":1}");
    let twins = content.twins();
    content.data(&of_codec(0x0200, PLAIN_JSON), PLAIN_JSON);
    content.data(&of_codec(0x51, PLAIN_CBOR), PLAIN_CBOR);

    let folder = tempfile::tempdir().expect("temp folder");
    let parts = Parts {
        folder: folder.path().to_path_buf(),
        store: Arc::new(MemoryStore::new()),
        clock: Arc::new(ManualClock::default()),
        exchange: None,
        wanted: None,
    };
    let node = Embedded::open(EmbeddedConfig::default(), parts).expect("opened");
    node.block_put(stream::iter(content.0.into_iter().map(Ok)).boxed()).await.expect("stored");
    let any: Multiaddr = "/ip4/127.0.0.1/tcp/0".parse().expect("an address");
    let gateway = Arc::new(Gateway::bind(&any, node.content(), Arc::default()).await.expect("bound"));
    let address = gateway.listen_addrs()[0].to_string();
    let port = address.rsplit('/').next().expect("a port");
    let tasks = TaskScope::new(Arc::new(TokioSpawn));
    let served = Served { address: format!("127.0.0.1:{port}"), twins, tasks: tasks.clone(), _folder: folder };
    gateway.start(&tasks).await.expect("started");
    served
}

struct Answer {
    status: u64,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// One exchange on a connection of its own.
async fn ask(address: &str, case: &Value) -> Answer {
    let text = |key: &str| case[key].as_str().expect("a text").to_owned();
    let query = if text("query").is_empty() { String::new() } else { format!("?{}", text("query")) };
    let mut request =
        format!("{} {}{query} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n", text("method"), text("path"));
    for header in case["headers"].as_array().expect("headers") {
        let [name, value] = [0, 1].map(|at| header[at].as_str().expect("a text"));
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all((request + "\r\n").as_bytes()).await.expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("answered");
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("the end of the headers");
    // Headers are bytes; the recording has them as Latin-1.
    let head: String = bytes[..end].iter().map(|byte| char::from(*byte)).collect();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|s| s.parse().ok()).expect("a status");
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let headers: BTreeMap<String, String> = lines.filter_map(header).collect();
    let mut body = bytes[end + 4..].to_vec();
    if headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
        body = unchunked(&body);
    }
    Answer { status, headers, body }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let length = std::str::from_utf8(&rest[..end]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let length = length.expect("a length");
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 4 + length..];
    }
    panic!("the body was cut");
}

/// What is compared of a header: our own pages and tags of CAR files have other versions in their tags.
fn comparable(name: &str, value: &str) -> String {
    match name {
        "etag" if value.starts_with("\"DirIndex-") => value.rsplit('_').next().unwrap_or_default().to_owned(),
        "etag" if value.starts_with("W/") => value.split(".car.").next().unwrap_or_default().to_owned(),
        _ => value.to_owned(),
    }
}

/// Headers that Kubo has set already when it finds that it cannot give the form that is asked for: that a refusal never
/// changes and is to be saved as a file is not worth repeating.
const NOT_ON_REFUSALS: [&str; 5] = ["cache-control", "content-disposition", "content-location", "etag", "x-ipfs-roots"];

/// Headers whose absence or other value is meant: how a body is framed, and what `Allow` tells.
const NOT_COMPARED: [&str; 3] = ["transfer-encoding", "content-length", "allow"];

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_kubo() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../data/gateway.json")).expect("cases");
    let served = serve().await;
    let mut wrong = Vec::new();
    for case in &cases {
        let id = case["id"].as_str().expect("an id");
        let answer = ask(&served.address, case).await;
        let mut note = |text: String| wrong.push(format!("{id}: {text}"));
        if Some(answer.status) != case["status"].as_u64() {
            note(format!("status {} for {}: {}", answer.status, case["status"], String::from_utf8_lossy(&answer.body)));
            continue;
        }
        let head_of_a_page = id == "dir-head";
        let refused = matches!(answer.status, 400 | 406);
        for header in case["answer"].as_array().expect("headers") {
            let [name, value] = [0, 1].map(|at| header[at].as_str().expect("a text"));
            let name = name.to_ascii_lowercase();
            let meant = NOT_COMPARED.contains(&name.as_str()) || (refused && NOT_ON_REFUSALS.contains(&name.as_str()));
            if meant || head_of_a_page {
                continue;
            }
            let ours = answer.headers.get(&name).map(|ours| comparable(&name, ours));
            if ours.as_deref() != Some(&comparable(&name, value)) {
                note(format!("{name}: {ours:?} for {value:?}"));
            }
        }
        let page = case["length"].as_u64().is_some_and(|length| length > 200_000 && id.contains("dir"));
        let same = match (&case["text"], &case["base64"], &case["sha256"]) {
            // Why a text is no CID is told in other words.
            (Value::String(_), ..) if id == "bad-cid" => {
                answer.body.starts_with(b"invalid path \"/ipfs/notacid\": invalid cid: ")
            }
            (Value::String(text), ..) => answer.body == text.as_bytes(),
            (_, Value::String(text), _) => answer.body == STANDARD.decode(text).expect("base64"),
            (.., Value::String(hash)) => {
                let ours: String = Sha256::digest(&answer.body).iter().map(|byte| format!("{byte:02x}")).collect();
                page || ours == *hash
            }
            _ => answer.body.is_empty(),
        };
        if !same {
            note(format!("another body: {}", String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)])));
        }
    }
    served.tasks.stop().await;
    assert!(wrong.is_empty(), "{} differences in {} exchanges:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_are_pages_that_lead_on() {
    let served = serve().await;
    let directory = "bafybeiectar6jb7m42szl7a5qscd5iut4w2idxy6fxpotbwp536jwsuqi4";
    let case =
        serde_json::json!({ "method": "GET", "path": format!("/ipfs/{directory}/"), "query": "", "headers": [] });

    let page = String::from_utf8(ask(&served.address, &case).await.body).expect("a page");

    for name in ["a.txt", "data.json", "sub", "site", "ln", "%C3%BC%20b.txt"] {
        assert!(page.contains(&format!("<a href=\"./{name}\">")), "{name} is not in {page}");
    }
    served.tasks.stop().await;
}

/// What is expected of an answer.
enum Expect<'a> {
    /// This status, and headers that have these words in them.
    Headers(u64, &'a [(&'a str, &'a str)]),
    /// A CAR file with so many blocks, and these words in its type.
    Blocks(usize, &'a str),
    /// A CAR file with these pieces of the file of three pieces, behind its root.
    Pieces(&'a [usize]),
}

/// The blocks of a CAR file in their order, each checked against its name.
fn blocks(car: &[u8]) -> Result<Vec<String>, String> {
    let (mut reader, mut blocks) = (dag::car::read::Reader::default(), Vec::new());
    let mut out = |item| {
        if let dag::car::read::Item::Block(block) = item {
            blocks.push(block.cid.to_string());
        }
    };
    reader.push(car, &mut out).map_err(|e| e.to_string())?;
    reader.finish().map_err(|e| e.to_string())?;
    Ok(blocks)
}

/// What the specifications of path and trustless gateways (<https://specs.ipfs.tech/http-gateways/>) say and the recording
/// does not show.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_the_specifications() {
    use Expect::{Blocks, Headers, Pieces};
    const BIG: &str = "bafybeihfwuqnkys6aqctym6trtjcp4mjkzxa6lt6agfmavamsn4jbqnswq";
    const NOBODY: &str = "bafkreifwqvs46vuze47wuimepm76irzgg5gl23b37xecsut7dwzkaucdie";
    const CBOR: &str = "bafyreih2tbv7b22vltzfqbsjtbcv73vopd6pip5qpzjh5umxny7urnsmvu";
    let served = serve().await;
    let twins = served.twins.to_string();
    let (json, cbor) = (of_codec(0x0200, PLAIN_JSON), of_codec(0x51, PLAIN_CBOR));
    let entity = |bytes: &str| format!("format=car&dag-scope=entity&entity-bytes={bytes}");
    let accept_dups = "application/vnd.ipld.car; version=1; order=dfs; dups=y";
    let pieces_of_big = {
        let case = serde_json::json!({ "method": "GET", "path": format!("/ipfs/{BIG}"), "query": "format=car", "headers": [] });
        blocks(&ask(&served.address, &case).await.body).expect("a CAR file")
    };
    assert_eq!(pieces_of_big.len(), 4, "a root and three pieces");
    let cases: Vec<(&str, String, String, &str, Expect<'_>)> = vec![
        // Ranges of entities; the pieces end at 262,144, 524,288 and 600,000.
        ("GET", BIG.into(), entity("0:0"), "", Pieces(&[0])),
        ("GET", BIG.into(), entity("0:262143"), "", Pieces(&[0])),
        ("GET", BIG.into(), entity("0:262144"), "", Pieces(&[0, 1])),
        ("GET", BIG.into(), entity("524287:524288"), "", Pieces(&[1, 2])),
        ("GET", BIG.into(), entity("0:*"), "", Pieces(&[0, 1, 2])),
        ("GET", BIG.into(), entity("-5:*"), "", Pieces(&[2])),
        ("GET", BIG.into(), entity("-9999999:*"), "", Pieces(&[0, 1, 2])),
        ("GET", BIG.into(), entity("-9999999:-80000"), "", Pieces(&[0, 1])),
        ("GET", BIG.into(), entity("300000:-100000"), "", Pieces(&[1])),
        ("GET", BIG.into(), entity("600000:*"), "", Pieces(&[])),
        ("GET", BIG.into(), "format=car&entity-bytes=0:9".into(), "", Pieces(&[0])),
        ("GET", BIG.into(), entity("9:2"), "", Headers(400, &[])),
        ("GET", BIG.into(), entity("-2:-9"), "", Headers(400, &[])),
        ("GET", BIG.into(), entity("a:b"), "", Headers(400, &[])),
        ("GET", twins.clone(), entity("0:9"), "", Blocks(1, "dups=n")),
        ("GET", CBOR.into(), entity("0:9"), "", Blocks(1, "dups=n")),
        // A block that comes twice.
        ("GET", twins.clone(), String::new(), accept_dups, Blocks(9, "version=1; order=dfs; dups=y")),
        ("GET", twins.clone(), "format=car".into(), accept_dups, Blocks(9, "order=dfs; dups=y")),
        ("GET", twins.clone(), "format=car&car-dups=n".into(), accept_dups, Blocks(5, "order=dfs; dups=n")),
        ("GET", twins.clone(), "format=car&car-dups=y".into(), "", Blocks(9, "dups=y")),
        (
            "GET",
            twins.clone(),
            "format=car&car-order=dfs".into(),
            "application/vnd.ipld.car; order=unk",
            Blocks(5, "order=dfs"),
        ),
        ("GET", twins.clone(), "format=car".into(), "", Blocks(5, "version=1; order=dfs; dups=n")),
        ("GET", format!("{twins}/a"), "format=car".into(), "", Blocks(5, "")),
        ("GET", format!("{twins}/a"), "format=car&dag-scope=block".into(), "", Blocks(2, "")),
        ("GET", format!("{twins}/c"), "format=car".into(), "", Headers(404, &[])),
        ("GET", twins.clone(), "format=car&car-version=2".into(), "", Headers(400, &[])),
        // A query goes before a header.
        (
            "GET",
            twins.clone(),
            "format=raw".into(),
            accept_dups,
            Headers(200, &[("content-type", "vnd.ipld.raw"), ("etag", ".raw\"")]),
        ),
        ("GET", twins.clone(), "format=car".into(), "application/vnd.ipld.raw", Blocks(5, "")),
        // The probe, and blocks that are in their names.
        (
            "GET",
            "bafkqaaa".into(),
            "format=raw".into(),
            "",
            Headers(200, &[("content-length", "0"), ("content-disposition", "attachment")]),
        ),
        ("HEAD", "bafkqaaa".into(), "format=raw".into(), "", Headers(200, &[("content-length", "0")])),
        ("GET", "bafkqaaa".into(), "format=car".into(), "", Blocks(0, "")),
        ("GET", "bafkqabdbmjrwi".into(), String::new(), accept_dups, Blocks(0, "dups=y")),
        // Nobody has it.
        ("GET", NOBODY.into(), "format=raw".into(), "", Headers(404, &[])),
        ("HEAD", NOBODY.into(), "format=car".into(), "", Headers(404, &[])),
        ("GET", NOBODY.into(), "format=car".into(), "", Headers(404, &[])),
        // Plain data, and a path that ends within a block.
        (
            "GET",
            json.clone(),
            String::new(),
            "",
            Headers(
                200,
                &[
                    ("content-type", "application/json"),
                    ("content-disposition", "inline; filename=\"bag"),
                    ("etag", ".json\""),
                ],
            ),
        ),
        ("GET", json, "format=json".into(), "", Headers(200, &[("content-type", "application/json")])),
        (
            "GET",
            cbor,
            String::new(),
            "",
            Headers(
                200,
                &[
                    ("content-type", "application/cbor"),
                    ("content-disposition", "attachment; filename=\"bafir"),
                    ("etag", ".cbor\""),
                ],
            ),
        ),
        ("GET", format!("{CBOR}/a"), String::new(), "", Headers(501, &[])),
        // Headers of every CAR file.
        (
            "HEAD",
            twins.clone(),
            "format=car".into(),
            "",
            Headers(
                200,
                &[
                    ("content-disposition", "attachment; filename=\"baf"),
                    ("etag", "W/\""),
                    ("x-content-type-options", "nosniff"),
                    ("cache-control", "immutable"),
                    ("accept-ranges", "none"),
                    ("x-ipfs-path", "/ipfs/baf"),
                    ("x-ipfs-roots", "baf"),
                ],
            ),
        ),
    ];
    let (count, mut wrong) = (cases.len(), Vec::new());
    for (method, path, query, accept, expect) in cases {
        let headers: Vec<[&str; 2]> = if accept.is_empty() { Vec::new() } else { vec![["Accept", accept]] };
        let case = serde_json::json!({ "method": method, "path": format!("/ipfs/{path}"), "query": query, "headers": headers });
        let answer = ask(&served.address, &case).await;
        let got = |name: &str| answer.headers.get(name).cloned().unwrap_or_default();
        let fault = match expect {
            Headers(status, headers) => {
                let missing = headers.iter().find(|(name, words)| !got(name).contains(words));
                let told = missing.map(|(name, words)| format!("{name}: {:?} for {words:?}", got(name)));
                if answer.status == status { told } else { Some(format!("status {} for {status}", answer.status)) }
            }
            Blocks(count, words) => match blocks(&answer.body) {
                Ok(blocks) if blocks.len() == count && got("content-type").contains(words) => None,
                other => Some(format!("{other:?}, {} for {count} blocks", got("content-type"))),
            },
            Pieces(places) => {
                let wanted: Vec<String> =
                    [0].into_iter().chain(places.iter().map(|at| at + 1)).map(|at| pieces_of_big[at].clone()).collect();
                let came = blocks(&answer.body);
                (came.as_ref() != Ok(&wanted)).then(|| format!("{came:?} for {wanted:?}"))
            }
        };
        wrong.extend(fault.map(|fault| format!("{method} {path}?{query} {accept}: {fault}")));
    }
    served.tasks.stop().await;
    assert!(wrong.is_empty(), "{} of {count} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
