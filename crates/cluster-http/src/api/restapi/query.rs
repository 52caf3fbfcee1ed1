//! Parameters of the query.

use super::answer::{self, Answer};
use cluster_types::Cid;
use http::StatusCode;

/// Decoded names and values, in order.
pub(super) type Pairs = Vec<(String, String)>;

/// Decodes a query; malformed pairs are dropped, as the reference does.
pub(super) fn parse(query: &str) -> Pairs {
    cluster_types::pin_query::parse_query(query)
}

/// The first value of a name, or the empty text.
pub(super) fn first<'a>(pairs: &'a Pairs, name: &str) -> &'a str {
    pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}

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
