//! Answers: objects, errors and streams in the reference's form.

pub(super) use crate::api::door::answer::{Answer, JSON, bare, json, line, no_content};
use crate::server::{buffered, lines};
use cluster_component::PageStream;
use cluster_component::rpc::{RpcError, RpcErrorKind};
use cluster_types::ErrorBody;
use futures::StreamExt;
use http::header::{CONTENT_TYPE, TRAILER};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

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

/// An error with its text.
pub(super) fn error(status: StatusCode, message: impl Into<String>) -> Answer {
    let body = ErrorBody { code: status.as_u16(), message: message.into() };
    tracing::error!(target: "restapi", "sending error response: {}: {}", body.code, body.message);
    json(status, line(&body))
}

/// A failed call: 404 where the pin is not there, 400 where what was asked makes no sense, else 500.
pub(super) fn failure(failed: &RpcError) -> Answer {
    let status = match failed.kind {
        _ if failed.is_not_pinned() => StatusCode::NOT_FOUND,
        RpcErrorKind::NotFound => StatusCode::NOT_FOUND,
        RpcErrorKind::Invalid => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
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
