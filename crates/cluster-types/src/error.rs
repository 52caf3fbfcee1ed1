//! The body of an error of the REST API.

use serde::{Deserialize, Serialize};

/// `{"code":<HTTP status>,"message":"<text>"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The HTTP status.
    pub code: u16,
    /// What went wrong.
    pub message: String,
}
