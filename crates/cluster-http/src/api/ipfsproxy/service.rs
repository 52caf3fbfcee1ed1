//! The component: listens, answers what concerns pins, and passes on the rest.

use super::config::IpfsProxyConfig;
use super::forward::{Place, Upstream};
use super::headers::Extracted;
use super::{content, pins, repo};
use crate::api::door::query;
use crate::server::{self, AccessLog, BoundListener, Handler, Limits, ResponseBody, buffered};
use async_trait::async_trait;
use cluster_component::component::{Adder, Api, Component};
use cluster_component::errors::StartError;
use cluster_component::ports::Clock;
use cluster_component::rpc::{Rpc, RpcError};
use cluster_component::tasks::TaskScope;
use cluster_types::Multiaddr;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 16_384;

/// Where Kubo's commands are.
const COMMANDS: &str = "/api/v0/";

/// An answer on its way.
pub(super) type Answer = Response<ResponseBody>;

/// The IPFS proxy.
pub struct IpfsProxy {
    listeners: Mutex<Vec<BoundListener>>,
    addresses: Vec<Multiaddr>,
    limits: Limits,
    node: String,
    front: Arc<Front>,
}

impl fmt::Debug for IpfsProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpfsProxy").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// What answers requests.
pub(super) struct Front {
    pub(super) rpc: Rpc,
    pub(super) adder: Arc<dyn Adder>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) upstream: Upstream,
    extracted: Extracted,
    log: AccessLog,
}

impl IpfsProxy {
    /// Binds the listeners. Requests are answered once it is started; connections wait until then.
    ///
    /// `folder` is where a relative path of the access log begins.
    ///
    /// # Errors
    /// When an address cannot be listened on, the daemon's address is none, or the access log cannot be written.
    pub async fn bind(
        config: &IpfsProxyConfig,
        folder: &Path,
        rpc: Rpc,
        adder: Arc<dyn Adder>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let failed = |reason: String| StartError { component: "ipfsproxy", reason };
        let place = Place::of(&config.node_address().map_err(|e| failed(e.message))?).map_err(failed)?;
        let extra = config.extract_headers_extra.clone().unwrap_or_default();
        let extracted = Extracted::new(&extra, &config.extract_headers_path, config.extract_headers_ttl);
        let mut listeners = Vec::new();
        for address in config.listen_addresses().map_err(|e| failed(e.message))? {
            listeners.push(BoundListener::bind(&address).await.map_err(|e| failed(e.to_string()))?);
        }
        let log = match config.log_file.as_str() {
            "" => AccessLog::to_log(),
            file => AccessLog::to_file(&folder.join(file)).map_err(|e| failed(e.to_string()))?,
        };
        let upstream = Upstream::new(place);
        let front = Front { rpc, adder, clock, upstream, extracted: extracted.map_err(failed)?, log };
        Ok(Self {
            addresses: listeners.iter().map(|l| l.address().clone()).collect(),
            listeners: Mutex::new(listeners),
            limits: limits(config),
            node: config.node_multiaddress.clone(),
            front: Arc::new(front),
        })
    }
}

fn limits(config: &IpfsProxyConfig) -> Limits {
    Limits {
        read_header: config.read_header_timeout.get(),
        idle: config.idle_timeout.get(),
        read: config.read_timeout.get(),
        write: config.write_timeout.get(),
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
        let listeners = std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        for listener in listeners {
            tracing::info!(target: "ipfsproxy", "IPFS Proxy: {} -> {}", listener.address(), self.node);
            server::serve(listener, self.limits, Arc::clone(&self.front), tasks);
        }
        Ok(())
    }

    async fn shutdown(&self) {
        // Listeners that were never started are closed; the others end with their scope.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Api for IpfsProxy {
    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.addresses.clone()
    }
}

/// What is answered here.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ours {
    PinAdd(Option<String>),
    PinRm(Option<String>),
    PinLs(Option<String>),
    PinUpdate,
    Add,
    RepoStat,
    RepoGc,
    BlockPut,
    DagPut,
}

/// A request that is answered here, without its body.
pub(super) struct Asked {
    pub(super) parts: Parts,
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
    Some(match path.strip_prefix(COMMANDS)? {
        "pin/add" => Ours::PinAdd(None),
        "pin/rm" => Ours::PinRm(None),
        "pin/ls" => Ours::PinLs(None),
        "pin/update" => Ours::PinUpdate,
        "add" => Ours::Add,
        "repo/stat" => Ours::RepoStat,
        "repo/gc" => Ours::RepoGc,
        "block/put" if pinned() => Ours::BlockPut,
        "dag/put" if pinned() => Ours::DagPut,
        command => {
            let (verb, rest) = command.split_once('/').and_then(|(group, rest)| {
                let (verb, rest) = rest.split_once('/')?;
                (group == "pin").then_some((verb, rest))
            })?;
            match verb {
                "add" => Ours::PinAdd(argument(rest)?),
                "rm" => Ours::PinRm(argument(rest)?),
                "ls" => Ours::PinLs(argument(rest)?),
                _ => return None,
            }
        }
    })
}

impl Handler for Front {
    async fn handle(self: Arc<Self>, from: Arc<str>, request: Request<Incoming>) -> Answer {
        let entry = self.log.entry(Arc::clone(&from), &request);
        let pairs = query::parse(request.uri().query().unwrap_or(""));
        let path = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
        let response = match ours(request.method(), &path, &pairs) {
            None => self.upstream.pass(&from, request).await,
            Some(ours) => self.answer(ours, pairs, request).await,
        };
        entry.follow(response)
    }
}

impl Front {
    async fn answer(&self, ours: Ours, query: query::Pairs, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let headers = self.extracted.of(&parts, &self.upstream).await;
        let mut asked = Asked { parts, query, in_path: None, headers };
        match ours {
            Ours::PinAdd(argument) => {
                asked.in_path = argument;
                pins::add(self, &asked).await
            }
            Ours::PinRm(argument) => {
                asked.in_path = argument;
                pins::remove(self, &asked).await
            }
            Ours::PinLs(argument) => {
                asked.in_path = argument;
                pins::list(self, &asked).await
            }
            Ours::PinUpdate => pins::update(self, &asked).await,
            Ours::Add => content::add(self, asked, body).await,
            Ours::BlockPut => content::put(self, asked, body, content::Put::Block).await,
            Ours::DagPut => content::put(self, asked, body, content::Put::Dag).await,
            Ours::RepoStat => repo::stat(self, &asked).await,
            Ours::RepoGc => repo::gc(self, &asked).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_pins_is_answered_here_and_nothing_else() {
        let of = |method: Method, path: &str, query: &str| ours(&method, path, &query::parse(query));
        assert_eq!(of(Method::POST, "/api/v0/pin/add", ""), Some(Ours::PinAdd(None)));
        assert_eq!(of(Method::GET, "/api/v0/pin/ls/Qm", ""), Some(Ours::PinLs(Some("Qm".into()))));
        assert_eq!(of(Method::POST, "/api/v0/block/put", "pin=true"), Some(Ours::BlockPut));
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
