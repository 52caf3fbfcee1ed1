//! How a command fails: where that is told, and the exit code.

use crate::cli::Encoding;
use cluster_client::{ClientError, WaitError};
use std::fmt;

/// A failed command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The peer, or the way to it: told on standard output in the encoding asked for, as the reference.
    Request(ClientError),
    /// Something here: told on standard error as `error <doing>: <reason>`.
    Local { doing: &'static str, reason: String },
    /// The time to wait is over.
    Timeout,
}

/// Exit code when the time to wait is over: that of Go's deadline errors in the reference.
const TIMEOUT: u8 = 62;

impl Failure {
    pub(crate) fn local(doing: &'static str, reason: impl fmt::Display) -> Self {
        Self::Local { doing, reason: reason.to_string() }
    }

    /// Tells the user; returns the exit code.
    pub(crate) fn report(&self, encoding: Encoding) -> u8 {
        match self {
            Self::Request(ClientError::Local(reason)) => {
                eprintln!("error : {reason}");
                1
            }
            Self::Request(error @ ClientError::Answer(_)) => {
                eprintln!("error : {error}");
                1
            }
            Self::Request(error) => {
                print_api_error(error, encoding);
                if matches!(error, ClientError::Api { .. }) { 2 } else { 1 }
            }
            Self::Local { doing, reason } => {
                eprintln!("error {doing}: {reason}");
                1
            }
            Self::Timeout => {
                eprintln!("error waiting for pin status: context deadline exceeded");
                TIMEOUT
            }
        }
    }
}

fn print_api_error(error: &ClientError, encoding: Encoding) {
    match encoding {
        Encoding::Text => println!("An error occurred:\n  Code: {}\n  Message: {error}", error.code()),
        Encoding::Json => {
            let value = serde_json::json!({ "code": error.code(), "message": error.to_string() });
            print!("{}", crate::format::json(&value));
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Request(error)
    }
}

impl From<WaitError> for Failure {
    fn from(error: WaitError) -> Self {
        Self::local("waiting for pin status", error)
    }
}

/// Adds to an error what was being done.
pub(crate) trait Doing<T> {
    /// The value, or the failure of doing this.
    fn doing(self, doing: &'static str) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, Failure> {
        self.map_err(|reason| Failure::local(doing, reason))
    }
}
