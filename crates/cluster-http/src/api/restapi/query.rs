//! Parameters of the query.

use super::answer::{self, Answer};
pub(super) use crate::api::door::query::{Pairs, first};
use cluster_types::Cid;
use http::StatusCode;

/// Whether `local` is given, which takes the one word `true`.
pub(super) fn is_local(pairs: &Pairs) -> bool {
    first(pairs, "local") == "true"
}

/// Reads a CID, or says what is wrong with it.
pub(super) fn cid(text: &str) -> Result<Cid, Answer> {
    text.parse().map_err(|e| bad_request(format!("error decoding Cid: {e}")))
}

pub(super) fn bad_request(message: impl Into<String>) -> Answer {
    answer::error(StatusCode::BAD_REQUEST, message)
}
