//! Answers: objects, and errors in the specification's form.

pub(super) use crate::api::door::answer::{Answer, bare, json, line, no_content};
use cluster_component::rpc::{RpcError, RpcErrorKind};
use http::StatusCode;
use serde::Serialize;

/// A value.
pub(super) fn object<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    json(status, line(value))
}

/// An error: what kind it is, for machines, and what happened, for people.
pub(super) fn error(status: StatusCode, details: impl Into<String>) -> Answer {
    #[derive(Serialize)]
    struct Failure {
        reason: &'static str,
        details: String,
    }
    #[derive(Serialize)]
    struct Body {
        error: Failure,
    }
    let reason = match status {
        StatusCode::BAD_REQUEST => "BAD_REQUEST",
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::NOT_FOUND => "NOT_FOUND",
        _ => "INTERNAL_SERVER_ERROR",
    };
    let details = details.into();
    tracing::debug!(target: "pinsvcapi", "sending error response: {}: {details}", status.as_u16());
    object(status, &Body { error: Failure { reason, details } })
}

pub(super) fn bad_request(details: impl Into<String>) -> Answer {
    error(StatusCode::BAD_REQUEST, details)
}

/// A failed call.
pub(super) fn failure(failed: &RpcError) -> Answer {
    let status = match failed.kind {
        _ if is_not_there(failed) => StatusCode::NOT_FOUND,
        RpcErrorKind::Invalid => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    error(status, failed.message.clone())
}

/// Whether a pin is not there.
pub(super) fn is_not_there(failed: &RpcError) -> bool {
    failed.kind == RpcErrorKind::NotFound || failed.is_not_pinned()
}
