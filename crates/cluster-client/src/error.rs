//! What can go wrong with a request, told apart by who says so.

/// Why a request has no answer, or this one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No peer could be reached, or the exchange broke. As the reference words it: `Get "<url>": <reason>`.
    #[error("{0}")]
    Transport(String),
    /// The peer answered with an error, or told one behind the last item of a list (then the code is 500).
    #[error("{message}")]
    Api {
        /// The HTTP status.
        code: u16,
        /// The peer's text.
        message: String,
    },
    /// The answer is not what the API answers.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    /// The request makes no sense, or what shall be sent cannot be read.
    #[error("{0}")]
    Local(String),
}

impl ClientError {
    /// The code that the command line shows: that of the API, or 0.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Api { code, .. } => *code,
            _ => 0,
        }
    }
}
