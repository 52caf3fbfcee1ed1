//! How a command fails: what it was doing, why, and the exit code.

use std::borrow::Cow;
use std::fmt;
use std::process::ExitCode;

/// A failed command. Shown as the reference shows it: `error <doing>: <reason>`.
#[derive(Debug)]
pub(crate) struct Failure {
    doing: Cow<'static, str>,
    reason: String,
}

impl Failure {
    /// Says what was being done, and why it failed.
    pub(crate) fn new(doing: &'static str, reason: impl fmt::Display) -> Self {
        Self { doing: Cow::Borrowed(doing), reason: reason.to_string() }
    }

    /// As [`new`](Self::new), where what was being done has a name in it.
    pub(crate) fn of(doing: String, reason: impl fmt::Display) -> Self {
        Self { doing: Cow::Owned(doing), reason: reason.to_string() }
    }

    /// Tells the user, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("error {}: {}", self.doing, self.reason);
        ExitCode::FAILURE
    }
}

/// Adds to an error what was being done.
pub(crate) trait Doing<T> {
    /// The value, or the failure of doing this.
    fn doing(self, doing: &'static str) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, Failure> {
        self.map_err(|reason| Failure::new(doing, reason))
    }
}
