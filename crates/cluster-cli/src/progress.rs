//! A bar on the terminal while something takes long. Nothing at all when standard error is none.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// How far something is.
#[derive(Debug, Clone)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar of so many bytes; `wanted` is false where the output is for programs.
    #[must_use]
    pub fn new(bytes: u64, wanted: bool) -> Self {
        let template = "{bar:30} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
        Self::with_template(Some(bytes), template, wanted)
    }

    /// A bar of so many items, each of any size.
    #[must_use]
    pub fn of_items(count: u64) -> Self {
        Self::with_template(Some(count), "{bar:30} {pos} of {len} {msg}, {eta} left", true)
    }

    /// A count of bytes whose end is not known.
    #[must_use]
    pub fn without_end() -> Self {
        Self::with_template(None, "{spinner} {decimal_bytes}, {decimal_bytes_per_sec}", true)
    }

    fn with_template(length: Option<u64>, template: &str, wanted: bool) -> Self {
        if !wanted || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// So many more are done.
    pub fn advance(&self, by: u64) {
        self.0.inc(by);
    }

    /// What stands beside the count.
    pub fn say(&self, text: String) {
        self.0.set_message(text);
    }

    /// Does something that prints, with the bar out of the way.
    pub fn aside(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }

    /// Takes the bar away.
    pub fn done(&self) {
        self.0.finish_and_clear();
    }
}
