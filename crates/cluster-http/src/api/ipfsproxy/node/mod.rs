//! Commands of Kubo that concern no pins, answered from the embedded node: there is no daemon to pass them on to. Only those
//! that its content is enough for; others are refused by name.
//!
//! Reading order: `files` (`cat`, `ls`), `archive` (`get`), `refs`, `blocks` (`block`, `dag`). Not here: the mutable file system, names,
//! the network.

mod archive;
mod blocks;
mod files;
mod refs;

use super::pins;
use super::service::{Answer, Asked};
use crate::server::{Ending, RequestBody, chunked};
use bytes::Bytes;
use cluster_component::content::Content;
use cluster_component::errors::ConnectorError;
use cluster_component::rpc::{Cluster, IPFSConnector, Rpc, RpcError, Target};
use cluster_types::Cid;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::header::{ALLOW, CONTENT_TYPE, ORIGIN, TRAILER};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;
use std::sync::Arc;

const CHUNKED_OUTPUT: HeaderName = HeaderName::from_static("x-chunked-output");
const STREAM_OUTPUT: HeaderName = HeaderName::from_static("x-stream-output");
const LENGTH: HeaderName = HeaderName::from_static("x-content-length");

/// The content of the node.
pub(super) type Node = Arc<dyn Content>;

/// A body on its way; the texts of errors are for its end.
type Chunks = BoxStream<'static, Result<Bytes, String>>;

/// Why a command is not answered.
#[derive(Debug, PartialEq, Eq)]
struct Refused(StatusCode, String);

impl Refused {
    /// The request makes no sense.
    fn wrong(text: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, text.into())
    }

    /// It does, but that cannot be.
    fn failed(text: impl Into<String>) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, text.into())
    }
}

impl From<ConnectorError> for Refused {
    fn from(error: ConnectorError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<RpcError> for Refused {
    fn from(error: RpcError) -> Self {
        Self::failed(error.message)
    }
}

/// As Kubo: commands are posted, so that no link makes a browser change anything; and since no page is known here, none
/// that a browser sends is answered.
pub(super) fn refusal(asked: &Asked) -> Option<Answer> {
    if asked.parts.method != Method::POST {
        let text = format!("{} is not allowed: commands are sent by POST", asked.parts.method);
        let mut answer = asked.error(StatusCode::METHOD_NOT_ALLOWED, text);
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(answer);
    }
    let text = "pages in browsers are not answered here: an embedded IPFS node has no list of those that may ask";
    asked.parts.headers.contains_key(ORIGIN).then(|| asked.error(StatusCode::FORBIDDEN, text))
}

pub(super) async fn answer(rpc: &Rpc, node: &Node, command: &str, asked: &Asked, body: RequestBody) -> Answer {
    let answered = match command {
        "cat" => files::cat(node, asked).await,
        "ls" => files::list(node, asked).await,
        "get" => archive::get(node, asked).await,
        "refs" => refs::refs(node, asked).await,
        "block/get" => blocks::get(node, asked).await,
        "block/stat" => blocks::stat(node, asked).await,
        "block/put" => blocks::put(rpc, node, asked, body).await,
        "dag/get" => blocks::dag_get(node, asked).await,
        "dag/put" => blocks::dag_put(rpc, node, asked, body).await,
        "swarm/peers" => swarm_peers(rpc, asked).await,
        "id" => id(rpc, asked).await,
        "version" => version(rpc, asked).await,
        "" => Err(Refused(StatusCode::NOT_FOUND, "404 page not found".into())),
        other => {
            let text = format!("{other}: a peer with an embedded IPFS node does not have this command");
            Err(Refused(StatusCode::NOT_IMPLEMENTED, text))
        }
    };
    answered.unwrap_or_else(|Refused(status, text)| asked.error(status, text))
}

/// Who the node is.
#[derive(Serialize)]
struct Id {
    #[serde(rename = "ID")]
    id: String,
    /// Not told by the node.
    #[serde(rename = "PublicKey")]
    public_key: &'static str,
    #[serde(rename = "Addresses")]
    addresses: Vec<String>,
    #[serde(rename = "AgentVersion")]
    agent: String,
    #[serde(rename = "Protocols")]
    protocols: [String; 0],
}

async fn id(rpc: &Rpc, asked: &Asked) -> Result<Answer, Refused> {
    let me = rpc.call::<Cluster::ID>(Target::Local, ()).await?;
    let id = me.ipfs.id.map(|id| id.to_string()).ok_or_else(|| Refused::failed(me.ipfs.error))?;
    if let Some(other) = asked.arguments().into_iter().find(|argument| *argument != id) {
        return Err(Refused::failed(format!("{other} is another node: this one, {id}, tells of itself only")));
    }
    let addresses = me.ipfs.addresses.unwrap_or_default().iter().map(ToString::to_string).collect();
    let agent = format!("ipfs-cluster/{}/embedded", me.version);
    Ok(asked.object(&Id { id, public_key: "", addresses, agent, protocols: [] }))
}

/// Whom the node is connected to. It does not tell by which addresses.
async fn swarm_peers(rpc: &Rpc, asked: &Asked) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Peer {
        #[serde(rename = "Addr")]
        address: &'static str,
        #[serde(rename = "Peer")]
        peer: String,
    }
    #[derive(Serialize)]
    struct Peers {
        #[serde(rename = "Peers")]
        peers: Vec<Peer>,
    }
    let peers = rpc.call::<IPFSConnector::SwarmPeers>(Target::Local, ()).await?;
    let peers = peers.into_iter().map(|peer| Peer { address: "", peer: peer.to_string() }).collect();
    Ok(asked.object(&Peers { peers }))
}

#[derive(Serialize)]
struct Version {
    /// Of the peer: there is no Kubo.
    #[serde(rename = "Version")]
    version: String,
    #[serde(rename = "Commit")]
    commit: String,
    #[serde(rename = "Repo")]
    repo: &'static str,
    #[serde(rename = "System")]
    system: String,
    #[serde(rename = "Golang")]
    golang: &'static str,
}

async fn version(rpc: &Rpc, asked: &Asked) -> Result<Answer, Refused> {
    let version = rpc.call::<Cluster::Version>(Target::Local, ()).await?.version;
    let system = format!("{}/{}", std::env::consts::ARCH, std::env::consts::OS);
    Ok(asked.object(&Version { version, commit: String::new(), repo: "", system, golang: "" }))
}

/// The arguments, of which there must be one.
fn arguments(asked: &Asked, name: &str) -> Result<Vec<String>, Refused> {
    let arguments = asked.arguments();
    if arguments.is_empty() { Err(Refused::wrong(format!("argument {name:?} is required"))) } else { Ok(arguments) }
}

/// What a path leads to.
async fn resolve(node: &Node, text: &str) -> Result<Cid, Refused> {
    let path = pins::path(text).map_err(Refused::failed)?;
    let Some(root) = path.root() else {
        let text = format!("{path} cannot be followed: the embedded IPFS node resolves /ipfs/ paths only");
        return Err(Refused::failed(text));
    };
    let names = path.segments().skip(2).collect::<Vec<_>>().join("/");
    Ok(node.resolve(&root, &names).await?.cid)
}

/// An option that is on or off, under its long or its short name. Named without a value it is on.
fn flag(asked: &Asked, names: &[&str], default: bool) -> Result<bool, Refused> {
    let Some((name, value)) = asked.query.iter().find(|(key, _)| names.contains(&key.as_str())) else {
        return Ok(default);
    };
    match value.as_str() {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Refused::wrong(format!("option {name}: {value:?} is neither true nor false"))),
    }
}

/// An option that is a number; not set is `None`.
fn number(asked: &Asked, names: &[&str]) -> Result<Option<u64>, Refused> {
    let set = asked.query.iter().find(|(key, value)| names.contains(&key.as_str()) && !value.is_empty());
    let Some((name, value)) = set else { return Ok(None) };
    let wrong = |_| Refused::wrong(format!("option {name}: {value:?} is no number of 0 or more"));
    value.parse().map(Some).map_err(wrong)
}

/// The answer begins when the first of it is there, so that its absence can be told.
async fn begun(chunks: Chunks) -> Result<Chunks, Refused> {
    // There may be nothing: then its end is met twice.
    let mut chunks = chunks.fuse();
    let first = chunks.next().await.transpose().map_err(Refused::failed)?;
    Ok(stream::iter(first.map(Ok)).chain(chunks).boxed())
}

fn streamed(asked: &Asked, chunks: Chunks) -> Answer {
    let ending = Ending { takes_trailers: asked.takes_trailers(), empty_trailer: false };
    let mut answer = asked.answer(StatusCode::OK, chunked(chunks, ending));
    answer.headers_mut().insert(TRAILER, HeaderValue::from_static("X-Stream-Error"));
    answer
}

/// An answer of objects, a line each.
async fn as_lines(asked: &Asked, lines: Chunks) -> Result<Answer, Refused> {
    let mut answer = streamed(asked, begun(lines).await?);
    answer.headers_mut().insert(CHUNKED_OUTPUT, HeaderValue::from_static("1"));
    Ok(answer)
}

/// An answer of bytes.
async fn as_bytes(asked: &Asked, bytes: Chunks, length: u64, media: &'static str) -> Result<Answer, Refused> {
    let mut answer = streamed(asked, begun(bytes).await?);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(STREAM_OUTPUT, HeaderValue::from_static("1"));
    headers.insert(LENGTH, HeaderValue::from(length));
    Ok(answer)
}

fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut line = cluster_types::json::to_go_json(value);
    line.push(b'\n');
    line
}
