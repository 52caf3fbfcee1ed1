//! Content that comes in: adds go to the cluster, blocks go to the daemon and what they make is pinned.

use super::forward::{Upstream, answer};
use super::service::{Answer, Asked, Front};
use crate::api::door::multipart;
use crate::api::restapi::add as rest_add;
use crate::server::{Ending, RequestBody, chunked};
use bytes::{Bytes, BytesMut};
use cluster_component::errors::ClusterError;
use cluster_component::rpc::{Cluster, Rpc, Target};
use cluster_types::{AddLayout, Added, Cid, Pin, PinOptions, pin_query};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::header::{CACHE_CONTROL, CONNECTION, TRAILER};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bytes of one object of the daemon's answer.
const OBJECT_MAX: usize = 64 << 10;

/// A line of Kubo's `add`.
#[derive(Serialize)]
struct Line {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Hash", skip_serializing_if = "Option::is_none")]
    hash: Option<Cid>,
    #[serde(rename = "Bytes", skip_serializing_if = "is_zero")]
    bytes: u64,
    #[serde(rename = "Size", skip_serializing_if = "Option::is_none")]
    size: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde asks.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn line(added: Added) -> Vec<u8> {
    let size = (added.size > 0).then(|| added.size.to_string());
    let line = Line { name: added.name, hash: added.cid, bytes: added.bytes, size };
    cluster_types::json::to_go_json(&line)
}

/// Adds to the cluster, with the options of Kubo's `add` that mean something there.
pub(super) async fn add(front: &Front, asked: Asked, body: RequestBody) -> Answer {
    let boundary = match multipart::boundary(&asked.parts.headers) {
        Ok(boundary) => boundary,
        Err(wrong) => {
            return asked.error(StatusCode::INTERNAL_SERVER_ERROR, format!("error reading request: {}", wrong.0));
        }
    };
    if asked.value("only-hash") == "true" {
        let text = "only-hash is not supported when adding to cluster";
        return asked.error(StatusCode::INTERNAL_SERVER_ERROR, text);
    }
    let mut params = match pin_query::add_params_from_query(&asked.query, front.clock.now().wall) {
        Ok(params) => params,
        Err(wrong) => {
            return asked.error(StatusCode::INTERNAL_SERVER_ERROR, format!("error parsing options:{wrong}"));
        }
    };
    if asked.value("trickle") == "true" {
        params.layout = AddLayout::Trickle;
    }
    params.no_pin |= asked.value("pin") == "false";
    let streamed = params.stream_channels;
    let body = multipart::begun(body, &asked.parts.headers).await;
    let added = Arc::clone(&front.adder).add(params, multipart::parts(body, boundary));
    let failure = |failed: ClusterError| asked.error(StatusCode::INTERNAL_SERVER_ERROR, failed.to_string());
    let mut response = if streamed {
        let with_end = |added| [line(added).as_slice(), b"\n"].concat();
        rest_add::as_lines(added, asked.takes_trailers(), with_end, failure).await
    } else {
        rest_add::as_array(added, line, failure).await
    };
    let headers = response.headers_mut();
    headers.extend(asked.headers);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Block,
    Dag,
}

#[derive(Deserialize)]
struct BlockAnswer {
    #[serde(rename = "Key")]
    key: Cid,
}

#[derive(Deserialize)]
struct DagAnswer {
    #[serde(rename = "Cid")]
    cid: DagLink,
}

#[derive(Deserialize)]
struct DagLink {
    #[serde(rename = "/")]
    cid: Cid,
}

impl Put {
    /// What an object of the daemon's answer says was made.
    fn made(self, object: &[u8]) -> Result<Cid, String> {
        let made = match self {
            Self::Block => serde_json::from_slice::<BlockAnswer>(object).map(|answer| answer.key),
            Self::Dag => serde_json::from_slice::<DagAnswer>(object).map(|answer| answer.cid.cid),
        };
        made.map_err(|error| format!("the daemon's answer makes no sense: {error}"))
    }
}

/// Has the daemon take it in, and the cluster pin what comes of it. What the daemon refuses is passed on as it says.
pub(super) async fn put(rpc: &Rpc, upstream: &Upstream, asked: Asked, body: RequestBody, what: Put) -> Answer {
    let mut request = Request::new(body.boxed_unsync());
    *request.method_mut() = asked.parts.method.clone();
    *request.uri_mut() = match what {
        Put::Block => asked.parts.uri.clone(),
        // The daemon itself need not pin.
        Put::Dag => match without_pin(&asked) {
            Ok(uri) => uri,
            Err(error) => return asked.error(StatusCode::INTERNAL_SERVER_ERROR, error),
        },
    };
    *request.headers_mut() = asked.parts.headers.clone();
    request.headers_mut().remove(CONNECTION);
    let from = match upstream.send(request).await {
        Ok(from) => from,
        Err(error) => return asked.error(StatusCode::INTERNAL_SERVER_ERROR, error),
    };
    if from.status() != StatusCode::OK {
        let status = from.status();
        let (_, body) = answer(from).into_parts();
        return asked.answer(status, body);
    }
    let objects = objects(from.into_body().into_data_stream().map(|piece| piece.map_err(|e| e.to_string())).boxed());
    let chunks = pinned(objects, rpc.clone(), what);
    let ending = Ending { takes_trailers: asked.takes_trailers(), empty_trailer: false };
    let mut response = asked.answer(StatusCode::OK, chunked(chunks, ending));
    response.headers_mut().insert(TRAILER, HeaderValue::from_static("X-Stream-Error"));
    response
}

/// The request's path and query with `pin=false`.
fn without_pin(asked: &Asked) -> Result<Uri, String> {
    let uri = &asked.parts.uri;
    let pair = |pair: &str| if pair.starts_with("pin=") { "pin=false".to_owned() } else { pair.to_owned() };
    let query: Vec<String> = uri.query().unwrap_or("").split('&').map(pair).collect();
    format!("{}?{}", uri.path(), query.join("&")).parse().map_err(|error: http::uri::InvalidUri| error.to_string())
}

type Objects = BoxStream<'static, Result<Bytes, String>>;

/// The lines of the daemon's answer.
fn objects(bytes: Objects) -> Objects {
    let lines = futures::stream::try_unfold((bytes, BytesMut::new()), |(mut bytes, mut held)| async move {
        loop {
            if let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                let line = held.split_to(end + 1).freeze();
                return Ok(Some((line, (bytes, held))));
            }
            if held.len() > OBJECT_MAX {
                return Err(format!("the daemon answered with an object of more than {OBJECT_MAX} bytes"));
            }
            match bytes.next().await {
                Some(piece) => held.extend_from_slice(&piece?),
                None if held.is_empty() => return Ok(None),
                None => held.extend_from_slice(b"\n"),
            }
        }
    });
    lines.try_filter(|line| std::future::ready(!line.trim_ascii().is_empty())).boxed()
}

/// The objects, each after the cluster was told to pin it. What it refuses is told at the end, as the reference does.
fn pinned(objects: Objects, rpc: Rpc, what: Put) -> Objects {
    let state = Some((objects, rpc, String::new()));
    let next = move |state: Option<(Objects, Rpc, String)>| async move {
        let (mut objects, rpc, mut errors) = state?;
        match objects.next().await {
            Some(Ok(object)) => {
                if let Err(error) = pin(&rpc, &object, what).await {
                    errors.push_str(&format!("{error}; "));
                }
                Some((Ok(object), Some((objects, rpc, errors))))
            }
            Some(Err(error)) => Some((Err(format!("{errors}{error}")), None)),
            None if errors.is_empty() => None,
            None => Some((Err(errors), None)),
        }
    };
    futures::stream::unfold(state, next).boxed()
}

async fn pin(rpc: &Rpc, object: &[u8], what: Put) -> Result<(), String> {
    let pin = Pin::new(what.made(object)?, PinOptions::default());
    rpc.call::<Cluster::Pin>(Target::Local, pin).await.map(drop).map_err(|error| error.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    fn split(pieces: &[&'static [u8]]) -> Result<Vec<Bytes>, String> {
        let pieces: Vec<Result<Bytes, String>> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect();
        block_on(objects(futures::stream::iter(pieces).boxed()).try_collect())
    }

    #[test]
    fn objects_are_told_apart_however_they_come() {
        assert_eq!(split(&[b"{\"a\":", b"1}\n{", b"}"]), Ok(vec!["{\"a\":1}\n".into(), "{}\n".into()]));
        assert_eq!(split(&[b"\n", b""]), Ok(vec![]));
        static LONG: [u8; OBJECT_MAX + 1] = [b'x'; OBJECT_MAX + 1];
        assert!(split(&[&LONG]).expect_err("too long").contains("more than 65536 bytes"));
    }

    #[test]
    fn what_was_made_is_read_from_either_answer() {
        let cid = "bafkreid7gpqhtjk7g47gdy4mnj3z6zquug5xnoefz33qndkfaqcppe55nm";
        let block = format!("{{\"Key\":\"{cid}\",\"Size\":3}}");
        let dag = format!("{{\"Cid\":{{\"/\":\"{cid}\"}}}}");
        assert_eq!(Put::Block.made(block.as_bytes()).map(|cid| cid.to_string()), Ok(cid.to_owned()));
        assert_eq!(Put::Dag.made(dag.as_bytes()).map(|cid| cid.to_string()), Ok(cid.to_owned()));
        assert!(Put::Dag.made(b"{}").is_err());
    }
}
