//! Answers: objects, errors and streams in the reference's form.

use crate::server::{ResponseBody, buffered, empty, lines};
use cluster_component::PageStream;
use cluster_component::rpc::{RpcError, RpcErrorKind};
use cluster_types::ErrorBody;
use futures::StreamExt;
use http::header::{CONTENT_TYPE, TRAILER};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

/// An answer on its way.
pub(super) type Answer = Response<ResponseBody>;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer of this status without a body.
pub(super) fn bare(status: StatusCode) -> Answer {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut response = Response::new(buffered(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// A value, or why there is none.
pub(super) fn object<T: Serialize>(result: Result<T, RpcError>) -> Answer {
    match result {
        Ok(value) => json(StatusCode::OK, line(&value)),
        Err(error) => failure(&error),
    }
}

/// A picture.
pub(super) fn svg(picture: String) -> Answer {
    let mut response = Response::new(buffered(picture));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"));
    response
}

/// The value as JSON and a line end.
pub(super) fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut body = cluster_types::json::to_go_json(value);
    body.push(b'\n');
    body
}

/// An empty success. It says that it is JSON, as the reference.
pub(super) fn no_content() -> Answer {
    let mut response = bare(StatusCode::NO_CONTENT);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// An error with its text.
pub(super) fn error(status: StatusCode, message: impl Into<String>) -> Answer {
    let body = ErrorBody { code: status.as_u16(), message: message.into() };
    tracing::error!(target: "restapi", "sending error response: {}: {}", body.code, body.message);
    json(status, line(&body))
}

/// A failed call: 404 where the pin is not there, else 500, as the reference.
pub(super) fn failure(failed: &RpcError) -> Answer {
    let not_there = failed.kind == RpcErrorKind::NotFound || failed.is_not_pinned();
    let status = if not_there { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
    error(status, failed.message.clone())
}

/// A list: 204 when it is empty, 500 when it fails before its first item, else 200 and one line an item.
pub(super) async fn stream<T: Send + 'static>(
    mut pages: PageStream<T, RpcError>,
    takes_trailers: bool,
    write: fn(&T, &mut Vec<u8>),
) -> Answer {
    let mut response = match pages.next().await {
        None => no_content(),
        Some(Err(failed)) => error(StatusCode::INTERNAL_SERVER_ERROR, failed.message),
        Some(Ok(first)) => Response::new(lines(first, pages, takes_trailers, write)),
    };
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(TRAILER, HeaderValue::from_static("X-Stream-Error"));
    response
}
