//! Durations as Go writes and reads them: `1m30s`, `2h0m0s`, `200ms`.

use std::time::Duration;

/// A duration in the text form of Go's `time.Duration`: nanoseconds, may be negative (configurations are checked for it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GoDuration(pub i64);

impl GoDuration {
    /// Whole seconds.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs * 1_000_000_000)
    }

    /// Milliseconds.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis * 1_000_000)
    }

    /// As the standard duration; a negative one is zero.
    #[must_use]
    pub fn get(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}
