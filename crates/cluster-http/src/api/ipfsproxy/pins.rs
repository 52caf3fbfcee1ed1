//! Pins: what Kubo's commands about them mean in a cluster.

use super::service::{Answer, Asked, Front};
use crate::server::{Ending, buffered, chunked};
use bytes::Bytes;
use cluster_component::rpc::{Cluster, IPFSConnector, RpcError, Target};
use cluster_types::{Cid, IpfsPath, Pin, PinMode, PinOptions};
use futures::StreamExt;
use http::header::TRAILER;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// Most bytes of a list that is sent as one object.
pub(super) const OBJECT_BYTES_MAX: usize = 256 << 20;

#[derive(Serialize)]
struct Pins {
    #[serde(rename = "Pins")]
    pins: Vec<Cid>,
}

#[derive(Serialize)]
struct Line {
    #[serde(rename = "Cid")]
    cid: Cid,
    #[serde(rename = "Type")]
    kind: &'static str,
}

/// The path of an argument, with or without `/ipfs/`; the error speaks of it as it was given.
pub(super) fn path(text: &str) -> Result<IpfsPath, String> {
    text.parse::<IpfsPath>().or_else(|error| format!("/ipfs/{text}").parse().map_err(|_| error.to_string()))
}

fn first_path(asked: &Asked) -> Result<IpfsPath, Answer> {
    let argument = asked.arguments().into_iter().next().unwrap_or_default();
    path(&argument)
        .map_err(|error| asked.error(StatusCode::INTERNAL_SERVER_ERROR, format!("Error parsing IPFS Path: {error}")))
}

pub(super) async fn add(front: &Front, asked: &Asked) -> Answer {
    let path = match first_path(asked) {
        Ok(path) => path,
        Err(refusal) => return refusal,
    };
    let mode = if asked.value("type") == "direct" { PinMode::Direct } else { PinMode::Recursive };
    let options = PinOptions { mode, ..PinOptions::default() };
    told(asked, front.rpc.call::<Cluster::PinPath>(Target::Local, (path.as_str().to_owned(), options)).await)
}

pub(super) async fn remove(front: &Front, asked: &Asked) -> Answer {
    match first_path(asked) {
        Ok(path) => told(asked, front.rpc.call::<Cluster::UnpinPath>(Target::Local, path.as_str().to_owned()).await),
        Err(refusal) => refusal,
    }
}

fn told(asked: &Asked, done: Result<Pin, RpcError>) -> Answer {
    match done {
        Ok(pin) => asked.object(&Pins { pins: vec![pin.cid] }),
        Err(error) => asked.failure(&error),
    }
}

pub(super) async fn update(front: &Front, asked: &Asked) -> Answer {
    let mut arguments = asked.arguments().into_iter();
    let mut next = |name: &str| match arguments.next() {
        None => Err(asked.error(StatusCode::BAD_REQUEST, format!("argument {name:?} is required"))),
        Some(text) => path(&text).map_err(|error| {
            let text = format!("error parsing {name:?} argument: {error}");
            asked.error(StatusCode::INTERNAL_SERVER_ERROR, text)
        }),
    };
    let (from, to) = match next("from-path").and_then(|from| Ok((from, next("to-path")?))) {
        Ok(both) => both,
        Err(refusal) => return refusal,
    };
    match exchange(front, asked, &from, &to).await {
        Ok(pins) => asked.object(&Pins { pins }),
        Err(error) => asked.failure(&error),
    }
}

async fn exchange(front: &Front, asked: &Asked, from: &IpfsPath, to: &IpfsPath) -> Result<Vec<Cid>, RpcError> {
    let from = front.rpc.call::<IPFSConnector::Resolve>(Target::Local, from.as_str().to_owned()).await?;
    let options = PinOptions { pin_update: Some(from), ..PinOptions::default() };
    let pinned = front.rpc.call::<Cluster::PinPath>(Target::Local, (to.as_str().to_owned(), options)).await?;
    // What is updated to itself stays.
    if asked.value("unpin") != "false" && pinned.cid != from {
        front.rpc.call::<Cluster::Unpin>(Target::Local, from).await?;
    }
    Ok(vec![from, pinned.cid])
}

fn streams(asked: &Asked) -> bool {
    asked.value("stream") == "true" || asked.value("s") == "true"
}

fn kind(pin: &Pin) -> &'static str {
    match pin.options.mode {
        PinMode::Direct => "direct",
        PinMode::Recursive => "recursive",
    }
}

pub(super) async fn list(front: &Front, asked: &Asked) -> Answer {
    match asked.arguments().into_iter().next() {
        Some(argument) => one(front, asked, &argument).await,
        None if streams(asked) => as_lines(front, asked),
        None => as_object(front, asked).await,
    }
}

async fn one(front: &Front, asked: &Asked, argument: &str) -> Answer {
    let cid: Cid = match argument.parse() {
        Ok(cid) => cid,
        Err(error) => return asked.error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let Ok(pin) = front.rpc.call::<Cluster::PinGet>(Target::Local, cid).await else {
        let text = format!("Error: path '{argument}' is not pinned");
        return asked.error(StatusCode::INTERNAL_SERVER_ERROR, text);
    };
    if streams(asked) {
        return asked.object(&Line { cid: pin.cid, kind: kind(&pin) });
    }
    let mut body = b"{\"Keys\":{".to_vec();
    entry(&pin, &mut body);
    body.extend_from_slice(b"}}");
    asked.answer(StatusCode::OK, buffered(body))
}

fn entry(pin: &Pin, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\"{}\":{{\"Type\":\"{}\"}}", pin.cid, kind(pin)).as_bytes());
}

async fn as_object(front: &Front, asked: &Asked) -> Answer {
    let mut pages = front.rpc.stream::<Cluster::Pins>(Target::Local, ());
    let mut body = b"{\"Keys\":{".to_vec();
    let mut first = true;
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            Err(error) => return asked.failure(&error),
        };
        for pin in page {
            if !std::mem::take(&mut first) {
                body.push(b',');
            }
            entry(&pin, &mut body);
        }
        if body.len() > OBJECT_BYTES_MAX {
            let text = "the list is too long to be sent at once: ask with stream=true";
            return asked.error(StatusCode::INTERNAL_SERVER_ERROR, text);
        }
    }
    body.extend_from_slice(b"}}");
    asked.answer(StatusCode::OK, buffered(body))
}

fn as_lines(front: &Front, asked: &Asked) -> Answer {
    let pages = front.rpc.stream::<Cluster::Pins>(Target::Local, ());
    let chunks = pages.map(|page| {
        let page = page.map_err(|error| error.message)?;
        let mut chunk = Vec::with_capacity(page.len() * 96);
        for pin in &page {
            chunk.extend_from_slice(&cluster_types::json::to_go_json(&Line { cid: pin.cid, kind: kind(pin) }));
            chunk.push(b'\n');
        }
        Ok(Bytes::from(chunk))
    });
    let ending = Ending { takes_trailers: asked.takes_trailers(), empty_trailer: false };
    let mut response = asked.answer(StatusCode::OK, chunked(chunks, ending));
    response.headers_mut().insert(TRAILER, HeaderValue::from_static("X-Stream-Error"));
    response
}
