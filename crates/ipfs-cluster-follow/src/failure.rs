//! How a command fails: the reason, what was being done, and the exit code.

use std::fmt;
use std::process::ExitCode;

/// A failed command. Shown as the reference shows it, without its stack traces: the reason, then what was being done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// On standard error: the reason, and in a line of its own what was being done, if that says more.
    Failed(String, Option<String>),
    /// On standard output, for what is rather advice.
    Advice(String),
}

impl Failure {
    /// A reason that says it all.
    pub(crate) fn new(reason: impl fmt::Display) -> Self {
        Self::Failed(reason.to_string(), None)
    }

    /// Tells the user, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Failed(reason, None) => eprintln!("{reason}"),
            Self::Failed(reason, Some(doing)) => eprintln!("{reason}\n{doing}"),
            Self::Advice(text) => println!("{text}"),
        }
        ExitCode::FAILURE
    }
}

/// Adds to an error what was being done.
pub(crate) trait Doing<T> {
    /// The value, or the failure of doing this.
    fn doing(self, doing: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|reason| Failure::Failed(reason.to_string(), Some(doing.into())))
    }
}
