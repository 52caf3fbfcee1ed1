//! A Kubo daemon that is played: its HTTP API with pins and blocks in memory, and faults that a test switches. It answers
//! at once, so that what is measured with it is the cluster's own.

use bytes::Bytes;
use cluster_types::Cid;
use futures::StreamExt;
use http::header::{
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Who the daemon says it is.
const ID: &str = "12D3KooWRndVhVZPCiQwHBBBdg769GyrPUW13zxwqQyf9r3ANaba";

/// What the daemon has, and how it misbehaves.
#[derive(Debug, Default)]
pub struct World {
    /// Recursive pins.
    pub recursive: BTreeSet<String>,
    /// Direct pins.
    pub direct: BTreeSet<String>,
    /// Blocks by the name that they were put under.
    pub blocks: BTreeMap<String, Bytes>,
    /// Pinning fails with these words, as a plain error.
    pub refuse_pins: Option<String>,
    /// Pinning fails with these words, told behind the answer.
    pub refuse_pins_late: Option<String>,
    /// Content that nobody has: pinning it never answers.
    pub missing: BTreeSet<String>,
    /// Pinning never answers.
    pub hang_pins: bool,
    /// What paths behind a CID lead to.
    pub names: BTreeMap<String, String>,
    /// What the next request of a method and target, such as `POST /api/v0/version`, is answered with, instead of what
    /// this daemon would say.
    pub scripted: BTreeMap<String, Scripted>,
    /// Every answer is this.
    pub garbage: Option<String>,
    /// Who the daemon is when it is not the usual one; nobody knows where that is.
    pub id: Option<String>,
    /// Requests so far.
    pub requests: u64,
}

/// An answer that a test has written.
#[derive(Debug, Clone, Default)]
pub struct Scripted {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
}

/// The daemon, on a thread of its own; it ends with the process.
#[derive(Debug, Clone)]
pub struct FakeKubo {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
}

impl FakeKubo {
    /// Starts a daemon on a free port of the loopback interface.
    ///
    /// # Panics
    /// When the machine gives no port or thread.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"))
    }

    /// Starts a daemon at an address.
    ///
    /// # Panics
    /// When it cannot listen there.
    #[must_use]
    pub fn start_at(address: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind(address).expect("the address is free");
        listener.set_nonblocking(true).expect("a socket can be asynchronous");
        let address = listener.local_addr().expect("a bound socket has an address");
        let world = Arc::new(Mutex::new(World::default()));
        let served = Arc::clone(&world);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(listener, served));
        });
        Self { address, world }
    }

    /// Its API as a multiaddr.
    #[must_use]
    pub fn multiaddr(&self) -> String {
        format!("/ip4/{}/tcp/{}", self.address.ip(), self.address.port())
    }

    /// Where its API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has, to look at and to change.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: std::net::TcpListener, world: Arc<Mutex<World>>) {
    let listener = TcpListener::from_std(listener).expect("a listening socket");
    while let Ok((stream, _)) = listener.accept().await {
        let _best_effort = stream.set_nodelay(true);
        let world = Arc::clone(&world);
        let service = service_fn(move |request| {
            let world = Arc::clone(&world);
            async move { Ok::<_, Infallible>(answer(request, &world).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        drop(tokio::spawn(connection));
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(request: Request<Incoming>, world: &Mutex<World>) -> Response<Body> {
    let path = request.uri().path().trim_start_matches("/api/v0/").to_owned();
    let query = request.uri().query().unwrap_or("").to_owned();
    let get = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next().unwrap_or_default()
    };
    {
        let mut world = lock(world);
        world.requests += 1;
        if let Some(garbage) = &world.garbage {
            return plain(garbage.clone());
        }
        let target = request.uri().path_and_query().map_or("", |target| target.as_str());
        if let Some(scripted) = world.scripted.remove(&format!("{} {target}", request.method())) {
            return written(scripted);
        }
    }
    if request.method() == Method::OPTIONS {
        return preflight(request.headers());
    }
    match path.as_str() {
        "id" => match &lock(world).id {
            Some(id) => plain(format!("{{\"ID\":\"{id}\",\"Addresses\":null}}")),
            None => plain(format!("{{\"ID\":\"{ID}\",\"Addresses\":[\"/ip4/10.9.9.9/tcp/4001/p2p/{ID}\"]}}")),
        },
        "pin/ls" => pin_ls(&get("arg"), &get("type"), &lock(world)),
        "pin/add" => pin_add(&get("arg"), get("recursive") != "false", world).await,
        "pin/rm" => pin_rm(&get("arg"), &mut lock(world)),
        "repo/stat" => {
            let size: usize = lock(world).blocks.values().map(Bytes::len).sum();
            plain(format!("{{\"RepoSize\":{size},\"StorageMax\":10000000000}}"))
        }
        "repo/gc" => gc(&mut lock(world)),
        "block/put" => block_put(request, world).await,
        "block/get" => match lock(world).blocks.get(&get("arg")) {
            Some(block) => plain(block.clone()),
            None => error("block was not found locally (offline): ipld: could not find it"),
        },
        "version" => {
            let mut response = plain("{\"Version\":\"0.44.0\"}");
            let exposed = HeaderValue::from_static("X-Stream-Output, X-Chunked-Output, X-Content-Length");
            response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
            response
        }
        "resolve" => resolve(&get("arg"), &lock(world)),
        "swarm/peers" => plain("{\"Peers\":null}"),
        "swarm/connect" => plain("{\"Strings\":[\"connect success\"]}"),
        _ => response(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn response(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn written(scripted: Scripted) -> Response<Body> {
    let status = StatusCode::from_u16(scripted.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = response(status, scripted.body);
    for (name, value) in scripted.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// What a browser may do, as Kubo says it: pages from the daemon's own place may post.
fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = response(StatusCode::NO_CONTENT, "");
    let varies = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    response.headers_mut().insert(VARY, HeaderValue::from_static(varies));
    if let Some(origin) = asked.get(ORIGIN).filter(|origin| origin.as_bytes().starts_with(b"http://127.0.0.1:")) {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    }
    response
}

fn resolve(path: &str, world: &World) -> Response<Body> {
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
    let names = path.trim_start_matches("/ipfs/");
    match (world.names.get(names), names.rsplit_once('/')) {
        (Some(cid), _) => plain(format!("{{\"Path\":\"/ipfs/{cid}\"}}")),
        (None, None) => plain(format!("{{\"Path\":\"/ipfs/{names}\"}}")),
        (None, Some((root, name))) => error(&format!("no link named {name:?} under {root}")),
    }
}

fn plain(body: impl Into<Bytes>) -> Response<Body> {
    response(StatusCode::OK, body)
}

fn error(message: &str) -> Response<Body> {
    let body = serde_json::json!({ "Message": message, "Code": 0, "Type": "error" });
    response(StatusCode::INTERNAL_SERVER_ERROR, body.to_string())
}

fn pin_ls(cid: &str, kind: &str, world: &World) -> Response<Body> {
    let pins = if kind == "direct" { &world.direct } else { &world.recursive };
    let row = |cid: &String| format!("{{\"Cid\":\"{cid}\",\"Type\":\"{kind}\"}}\n");
    if cid.is_empty() {
        return plain(pins.iter().map(row).collect::<String>());
    }
    match pins.get(cid) {
        Some(cid) => plain(row(cid)),
        None => error(&format!("path '{cid}' is not pinned")),
    }
}

async fn pin_add(cid: &str, recursive: bool, world: &Mutex<World>) -> Response<Body> {
    let hangs = {
        let world = lock(world);
        world.hang_pins || world.missing.contains(cid)
    };
    if hangs {
        std::future::pending::<()>().await;
    }
    let mut world = lock(world);
    if let Some(message) = &world.refuse_pins {
        return error(message);
    }
    let progress = "{\"Progress\":1}\n";
    if let Some(message) = &world.refuse_pins_late {
        return with_late_error(progress, message);
    }
    let pins = if recursive { &mut world.recursive } else { &mut world.direct };
    pins.insert(cid.to_owned());
    plain(format!("{progress}{{\"Pins\":[\"{cid}\"]}}\n"))
}

/// An answer that looks fine until its trailer.
fn with_late_error(body: &'static str, message: &str) -> Response<Body> {
    let name = HeaderName::from_static("x-stream-error");
    let value = HeaderValue::from_str(message).unwrap_or_else(|_| HeaderValue::from_static("error"));
    let trailers = HeaderMap::from_iter([(name, value)]);
    let frames = futures::stream::iter([Ok(Frame::data(Bytes::from(body))), Ok(Frame::trailers(trailers))]);
    let mut response = Response::new(StreamBody::new(frames.boxed()).boxed_unsync());
    response.headers_mut().insert("trailer", HeaderValue::from_static("X-Stream-Error"));
    response
}

fn pin_rm(cid: &str, world: &mut World) -> Response<Body> {
    let removed = world.recursive.remove(cid) | world.direct.remove(cid);
    if removed { plain(format!("{{\"Pins\":[\"{cid}\"]}}\n")) } else { error("not pinned or pinned indirectly") }
}

/// Removes every block once nothing is pinned: this daemon knows nothing of DAGs.
fn gc(world: &mut World) -> Response<Body> {
    if !world.recursive.is_empty() || !world.direct.is_empty() {
        return plain("");
    }
    let blocks = std::mem::take(&mut world.blocks);
    plain(blocks.keys().map(|cid| format!("{{\"Key\":{{\"/\":\"{cid}\"}}}}\n")).collect::<String>())
}

async fn block_put(request: Request<Incoming>, world: &Mutex<World>) -> Response<Body> {
    let content_type = request.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let boundary = content_type.split("boundary=").nth(1).unwrap_or("").to_owned();
    let Ok(body) = request.into_body().collect().await else { return error("unexpected EOF") };
    let mut rows = String::new();
    for (name, data) in parts(&body.to_bytes(), &boundary) {
        if name.parse::<Cid>().is_err() {
            return error("a part is not named by its CID");
        }
        rows.push_str(&format!("{{\"Key\":\"{name}\",\"Size\":{}}}\n", data.len()));
        lock(world).blocks.insert(name, data);
    }
    plain(rows)
}

/// The parts of a form: the file name and the content of each.
fn parts(body: &Bytes, boundary: &str) -> Vec<(String, Bytes)> {
    let opening = format!("--{boundary}\r\n");
    let closing = format!("\r\n--{boundary}");
    let find = |from: usize, what: &str| {
        body[from..].windows(what.len()).position(|w| w == what.as_bytes()).map(|at| from + at)
    };
    let (mut parts, mut at) = (Vec::new(), 0);
    while let Some(start) = find(at, &opening) {
        let Some(head_end) = find(start, "\r\n\r\n") else { break };
        let head = String::from_utf8_lossy(&body[start..head_end]).into_owned();
        let name = head.split("filename=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
        let Some(end) = find(head_end + 4, &closing) else { break };
        parts.push((name.to_owned(), body.slice(head_end + 4..end)));
        at = end + 2;
    }
    parts
}
