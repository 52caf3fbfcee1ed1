//! The component: listens, answers what concerns pins, and hands the rest to what is behind it.

use super::config::IpfsProxyConfig;
use super::dial::Dialer;
use super::forward::Upstream;
use super::headers::{Extracted, is_of_strange_page};
use super::{content, node, pins, repo};
use crate::api::door::query;
use crate::server::{self, AccessLog, Handler, Journal, Limits, Listeners, RequestBody, ResponseBody, buffered};
use async_trait::async_trait;
use cluster_component::component::{Adder, Api, Component};
use cluster_component::content::Content;
use cluster_component::errors::StartError;
use cluster_component::metrics::Metrics;
use cluster_component::ports::Clock;
use cluster_component::rpc::{Rpc, RpcError};
use cluster_component::tasks::TaskScope;
use cluster_component::trace::Tracer;
use cluster_types::Multiaddr;
use http::request::Parts as Head;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 16_384;

/// Where Kubo's commands are.
const COMMANDS: &str = "/api/v0/";

/// An answer on its way.
pub(super) type Answer = Response<ResponseBody>;

/// The IPFS proxy.
pub struct IpfsProxy {
    listeners: Listeners,
    limits: Limits,
    /// What is behind it, in words.
    behind: String,
    front: Arc<Front>,
}

impl fmt::Debug for IpfsProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpfsProxy").field("addresses", &self.listeners.addresses()).finish_non_exhaustive()
    }
}

/// What the proxy is made of.
#[allow(missing_debug_implementations)] // Its parts are traits that need not show themselves.
pub struct Parts {
    /// The peer.
    pub rpc: Rpc,
    /// Takes in what is added.
    pub adder: Arc<dyn Adder>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The content of the embedded node, where that is in the daemon's place.
    pub content: Option<Arc<dyn Content>>,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// What is told of each request.
    pub tracer: Tracer,
}

/// What answers requests.
pub(super) struct Front {
    pub(super) rpc: Rpc,
    pub(super) adder: Arc<dyn Adder>,
    pub(super) clock: Arc<dyn Clock>,
    behind: Behind,
    journal: Journal,
}

/// What is behind the proxy.
enum Behind {
    /// A daemon, and what is remembered of its headers.
    Daemon(Box<(Upstream, Extracted)>),
    /// The node in this process.
    Node(Arc<dyn Content>),
}

impl Behind {
    /// What requests are counted as that are handed to it.
    fn route(&self) -> &'static str {
        match self {
            Self::Daemon(_) => "proxy/daemon",
            Self::Node(_) => "proxy/node",
        }
    }

    fn new(config: &IpfsProxyConfig, content: Option<Arc<dyn Content>>) -> Result<Self, String> {
        if let Some(content) = content {
            return Ok(Self::Node(content));
        }
        let plain = Dialer::new(&config.node_address().map_err(|e| e.message)?)?;
        let dialer = if config.node_https { plain.with_tls()? } else { plain };
        let extra = config.extract_headers_extra.clone().unwrap_or_default();
        let extracted = Extracted::new(&extra, &config.extract_headers_path, config.extract_headers_ttl)?;
        Ok(Self::Daemon(Box::new((Upstream::new(dialer), extracted))))
    }
}

impl IpfsProxy {
    /// Binds the listeners. Requests are answered once it is started; connections wait until then.
    ///
    /// `folder` is where a relative path of the access log begins.
    ///
    /// # Errors
    /// When an address cannot be listened on, the daemon's address is none, or the access log cannot be written.
    pub async fn bind(config: &IpfsProxyConfig, folder: &Path, parts: Parts) -> Result<Self, StartError> {
        let failed = |reason: String| StartError { component: "ipfsproxy", reason };
        let named = if parts.content.is_some() { "the node in this process" } else { &config.node_multiaddress };
        let behind = Behind::new(config, parts.content).map_err(failed)?;
        let addresses = config.listen_addresses().map_err(|e| failed(e.message))?;
        let listeners = Listeners::bind(&addresses).await.map_err(|e| failed(e.to_string()))?;
        let log = AccessLog::named(folder, &config.log_file).map_err(|e| failed(e.to_string()))?;
        let Parts { rpc, adder, clock, metrics, tracer, .. } = parts;
        let mut journal = Journal::new(log, metrics);
        journal.trace(tracer);
        Ok(Self {
            listeners,
            limits: limits(config),
            behind: named.to_owned(),
            front: Arc::new(Front { rpc, adder, clock, behind, journal }),
        })
    }
}

fn limits(config: &IpfsProxyConfig) -> Limits {
    Limits {
        read_header: config.read_header_timeout.get(),
        idle: config.idle_timeout.get(),
        read: config.read_timeout.get(),
        write: config.write_timeout.get(),
        stall: config.stall_timeout.get(),
        header_bytes: usize::try_from(config.max_header_bytes).unwrap_or(usize::MAX),
        connections: CONNECTIONS_MAX,
    }
}

#[async_trait]
impl Component for IpfsProxy {
    fn key(&self) -> &'static str {
        "ipfsproxy"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        for listener in self.listeners.take() {
            tracing::info!(target: "ipfsproxy", "IPFS Proxy: {} -> {}", listener.address(), self.behind);
            server::serve(listener, self.limits, Arc::clone(&self.front), tasks);
        }
        Ok(())
    }

    async fn shutdown(&self) {
        drop(self.listeners.take());
    }
}

impl Api for IpfsProxy {
    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.listeners.addresses().to_vec()
    }
}

/// What is not simply the daemon's.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ours {
    Cluster(Command),
    /// The daemon takes it in, the cluster pins it.
    Put(content::Put),
}

/// What the cluster answers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Command {
    PinAdd(Option<String>),
    PinRm(Option<String>),
    PinLs(Option<String>),
    PinUpdate,
    Add,
    RepoStat,
    RepoGc,
}

impl Ours {
    /// What it is counted as.
    fn route(&self) -> &'static str {
        match self {
            Self::Cluster(Command::PinAdd(_)) => "proxy/pin/add",
            Self::Cluster(Command::PinRm(_)) => "proxy/pin/rm",
            Self::Cluster(Command::PinLs(_)) => "proxy/pin/ls",
            Self::Cluster(Command::PinUpdate) => "proxy/pin/update",
            Self::Cluster(Command::Add) => "proxy/add",
            Self::Cluster(Command::RepoStat) => "proxy/repo/stat",
            Self::Cluster(Command::RepoGc) => "proxy/repo/gc",
            Self::Put(content::Put::Block) => "proxy/block/put",
            Self::Put(content::Put::Dag) => "proxy/dag/put",
        }
    }
}

/// A request that is answered here, without its body.
pub(super) struct Asked {
    pub(super) parts: Head,
    /// Decoded pairs of the query, in order.
    pub(super) query: query::Pairs,
    /// What the path names behind the command.
    pub(super) in_path: Option<String>,
    /// What every answer carries.
    pub(super) headers: HeaderMap,
}

impl Asked {
    /// The values of `arg`, the one in the path first, if there is one.
    pub(super) fn arguments(&self) -> Vec<String> {
        let listed = self.query.iter().filter(|(key, _)| key == "arg").map(|(_, value)| value.clone());
        self.in_path.iter().cloned().chain(listed).collect()
    }

    pub(super) fn value(&self, key: &str) -> &str {
        query::first(&self.query, key)
    }

    pub(super) fn takes_trailers(&self) -> bool {
        server::takes_trailers(&self.parts.headers)
    }

    /// An answer of these bytes.
    pub(super) fn answer(&self, status: StatusCode, body: ResponseBody) -> Answer {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response.headers_mut().extend(self.headers.clone());
        response
    }

    /// A value.
    pub(super) fn object<T: Serialize>(&self, value: &T) -> Answer {
        self.answer(StatusCode::OK, buffered(cluster_types::json::to_go_json(value)))
    }

    /// An error in Kubo's form.
    pub(super) fn error(&self, status: StatusCode, message: impl Into<String>) -> Answer {
        #[derive(Serialize)]
        struct Failure {
            #[serde(rename = "Message")]
            message: String,
            #[serde(rename = "Code")]
            code: u32,
            #[serde(rename = "Type")]
            kind: &'static str,
        }
        let failure = Failure { message: message.into(), code: 0, kind: "error" };
        self.answer(status, buffered(cluster_types::json::to_go_json(&failure)))
    }

    /// A failed call: 500 with what it says, as the reference.
    pub(super) fn failure(&self, failed: &RpcError) -> Answer {
        self.error(StatusCode::INTERNAL_SERVER_ERROR, failed.message.clone())
    }
}

/// What is answered here of a request, if anything is.
fn ours(method: &Method, path: &str, query: &query::Pairs) -> Option<Ours> {
    if ![Method::GET, Method::POST, Method::PUT].contains(method) {
        return None;
    }
    let pinned = || query::first(query, "pin") == "true";
    let argument = |rest: &str| (!rest.is_empty() && !rest.contains('/')).then(|| Some(rest.to_owned()));
    Some(Ours::Cluster(match path.strip_prefix(COMMANDS)? {
        "pin/add" => Command::PinAdd(None),
        "pin/rm" => Command::PinRm(None),
        "pin/ls" => Command::PinLs(None),
        "pin/update" => Command::PinUpdate,
        "add" => Command::Add,
        "repo/stat" => Command::RepoStat,
        "repo/gc" => Command::RepoGc,
        "block/put" if pinned() => return Some(Ours::Put(content::Put::Block)),
        "dag/put" if pinned() => return Some(Ours::Put(content::Put::Dag)),
        command => {
            let (verb, rest) = command.split_once('/').and_then(|(group, rest)| {
                let (verb, rest) = rest.split_once('/')?;
                (group == "pin").then_some((verb, rest))
            })?;
            match verb {
                "add" => Command::PinAdd(argument(rest)?),
                "rm" => Command::PinRm(argument(rest)?),
                "ls" => Command::PinLs(argument(rest)?),
                _ => return None,
            }
        }
    }))
}

impl Handler for Front {
    async fn handle(self: Arc<Self>, from: Arc<str>, request: Request<RequestBody>) -> Answer {
        let pairs = query::parse(request.uri().query().unwrap_or(""));
        let path = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
        let ours = ours(request.method(), &path, &pairs);
        let route = ours.as_ref().map_or_else(|| self.behind.route(), Ours::route);
        let client = Arc::clone(&from);
        self.journal.follow(from, route, request, |request| self.choose(client, request, path, pairs, ours)).await
    }
}

impl Front {
    /// Answers here what concerns pins, and hands on the rest.
    async fn choose(
        &self,
        from: Arc<str>,
        request: Request<RequestBody>,
        path: String,
        pairs: query::Pairs,
        ours: Option<Ours>,
    ) -> Answer {
        match (&self.behind, ours) {
            (Behind::Daemon(daemon), None) => daemon.0.pass(&from, request).await,
            (Behind::Daemon(daemon), Some(ours)) => {
                let (upstream, extracted) = &**daemon;
                let (parts, body) = request.into_parts();
                let headers = extracted.of(&parts, upstream).await;
                let asked = Asked { parts, query: pairs, in_path: None, headers };
                match ours {
                    _ if is_of_strange_page(&asked.parts.headers, &asked.headers) => {
                        // As the daemon refuses them what is passed on to it.
                        let text = "this page is not let in: API.HTTPHeaders of the IPFS daemon's configuration says which are";
                        asked.error(StatusCode::FORBIDDEN, text)
                    }
                    Ours::Cluster(command) => self.answer(command, asked, body).await,
                    Ours::Put(what) => content::put(&self.rpc, upstream, asked, body, what).await,
                }
            }
            (Behind::Node(node), ours) => {
                let (parts, body) = request.into_parts();
                let asked = Asked { parts, query: pairs, in_path: None, headers: super::headers::own() };
                match (node::refusal(&asked), ours) {
                    (Some(refusal), _) => refusal,
                    (None, Some(Ours::Cluster(command))) => self.answer(command, asked, body).await,
                    (None, _) => {
                        let command = path.strip_prefix(COMMANDS).unwrap_or("");
                        node::answer(&self.rpc, node, command, &asked, body).await
                    }
                }
            }
        }
    }

    async fn answer(&self, command: Command, mut asked: Asked, body: RequestBody) -> Answer {
        match command {
            Command::PinAdd(argument) => {
                asked.in_path = argument;
                pins::add(self, &asked).await
            }
            Command::PinRm(argument) => {
                asked.in_path = argument;
                pins::remove(self, &asked).await
            }
            Command::PinLs(argument) => {
                asked.in_path = argument;
                pins::list(self, &asked).await
            }
            Command::PinUpdate => pins::update(self, &asked).await,
            Command::Add => content::add(self, asked, body).await,
            Command::RepoStat => repo::stat(self, &asked).await,
            Command::RepoGc => repo::gc(self, &asked).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_pins_is_answered_here_and_nothing_else() {
        let of = |method: Method, path: &str, query: &str| ours(&method, path, &query::parse(query));
        assert_eq!(of(Method::POST, "/api/v0/pin/add", ""), Some(Ours::Cluster(Command::PinAdd(None))));
        assert_eq!(of(Method::GET, "/api/v0/pin/ls/Qm", ""), Some(Ours::Cluster(Command::PinLs(Some("Qm".into())))));
        assert_eq!(of(Method::POST, "/api/v0/block/put", "pin=true"), Some(Ours::Put(content::Put::Block)));
        for (method, path, query) in [
            (Method::POST, "/api/v0/block/put", "pin=false"),
            (Method::POST, "/api/v0/pin/add/", ""),
            (Method::POST, "/api/v0/pin/add/a/b", ""),
            (Method::POST, "/api/v0/pin/verify", ""),
            (Method::POST, "/api/v0/pin/remote/ls", ""),
            (Method::OPTIONS, "/api/v0/pin/add", ""),
            (Method::DELETE, "/api/v0/pin/add", ""),
            (Method::POST, "/api/v1/pin/ls", ""),
            (Method::GET, "/webui", ""),
        ] {
            assert_eq!(of(method, path, query), None, "{path}");
        }
    }
}
