//! Answers that look the same in every API.

use crate::server::{ResponseBody, buffered, empty};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

/// An answer on its way.
pub(in crate::api) type Answer = Response<ResponseBody>;

pub(in crate::api) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer of this status without a body.
pub(in crate::api) fn bare(status: StatusCode) -> Answer {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

/// An answer of this status with JSON.
pub(in crate::api) fn json(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut response = Response::new(buffered(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The value as JSON and a line end.
pub(in crate::api) fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut body = cluster_types::json::to_go_json(value);
    body.push(b'\n');
    body
}

/// An empty success. It says that it is JSON, as the reference.
pub(in crate::api) fn no_content() -> Answer {
    let mut response = bare(StatusCode::NO_CONTENT);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
