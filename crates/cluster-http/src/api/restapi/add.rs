//! `POST /add`: content in, lines out while it is read.

use super::answer::{self, Answer, JSON};
use super::query::bad_request;
use super::service::{Asked, Front};
use crate::api::door::multipart;
use crate::server::{Ending, RequestBody, buffered, chunked};
use bytes::Bytes;
use cluster_component::errors::ClusterError;
use cluster_types::{Added, pin_query};
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, TRAILER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use std::sync::Arc;

/// Most bytes of an answer that is sent as one array.
const ARRAY_BYTES_MAX: usize = 256 << 20;

/// Lines that wait to be told at a time; they go out together.
const LINES_AT_ONCE: usize = 128;

pub(super) async fn add(front: &Front, asked: Asked, body: RequestBody) -> Answer {
    let boundary = match multipart::boundary(&asked.headers) {
        Ok(boundary) => boundary,
        Err(wrong) => return bad_request(wrong.0),
    };
    let params = match pin_query::add_params_from_query(&asked.query, front.clock.now().wall) {
        Ok(params) => params,
        Err(wrong) => return bad_request(wrong.to_string()),
    };
    let streamed = params.stream_channels;
    let body = multipart::begun(body, &asked.headers).await;
    let added = Arc::clone(&front.adder).add(params, multipart::parts(body, boundary));
    let failure = |failed: ClusterError| answer::failure(&failed.into());
    let mut response = if streamed {
        as_lines(added, asked.takes_trailers, |added| answer::line(&added), failure).await
    } else {
        as_array(added, |added| cluster_types::json::to_go_json(&added), failure).await
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // As the reference: the body may not have been read to its end, so the connection is of no more use.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// One line at once for each item that is done; `write` makes it. Who takes no trailer is told by the status of what
/// goes wrong before the first line, which `failure` makes: behind the status the body can only be cut.
pub(crate) async fn as_lines(
    mut added: BoxStream<'static, Result<Added, ClusterError>>,
    takes_trailers: bool,
    write: fn(Added) -> Vec<u8>,
    failure: impl FnOnce(ClusterError) -> Answer,
) -> Answer {
    if !takes_trailers {
        added = match added.next().await {
            Some(Err(error)) => return failure(error),
            first => futures::stream::iter(first).chain(added).boxed(),
        };
    }
    let chunks = added.ready_chunks(LINES_AT_ONCE).flat_map(move |ready| futures::stream::iter(joined(ready, write)));
    let mut response = Response::new(chunked(chunks, Ending { takes_trailers, empty_trailer: false }));
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-chunked-output"), HeaderValue::from_static("1"));
    headers.insert(TRAILER, HeaderValue::from_static("X-Stream-Error"));
    response
}

/// The lines that are ready as one chunk, and the error that follows them, if one does.
fn joined(ready: Vec<Result<Added, ClusterError>>, write: fn(Added) -> Vec<u8>) -> Vec<Result<Bytes, String>> {
    let (mut lines, mut out) = (Vec::new(), Vec::new());
    for item in ready {
        match item {
            Ok(added) => lines.extend_from_slice(&write(added)),
            Err(error) => {
                out.push(Err(error.to_string()));
                break;
            }
        }
    }
    if !lines.is_empty() {
        out.insert(0, Ok(Bytes::from(lines)));
    }
    out
}

/// Everything at the end: an array, or an error with its status. `null` when there is nothing, as the reference.
pub(crate) async fn as_array(
    mut added: BoxStream<'static, Result<Added, ClusterError>>,
    write: fn(Added) -> Vec<u8>,
    failure: impl FnOnce(ClusterError) -> Answer,
) -> Answer {
    let mut body = Vec::new();
    while let Some(item) = added.next().await {
        let text = match item {
            Ok(added) => write(added),
            Err(error) => return failure(error),
        };
        body.push(if body.is_empty() { b'[' } else { b',' });
        body.extend_from_slice(&text);
        if body.len() > ARRAY_BYTES_MAX {
            let text = "the answer is too long to be sent at once: ask with stream-channels=true";
            return answer::error(StatusCode::INTERNAL_SERVER_ERROR, text);
        }
    }
    if body.is_empty() {
        body.extend_from_slice(b"null\n");
    } else {
        body.extend_from_slice(b"]\n");
    }
    Response::new(buffered(body))
}
