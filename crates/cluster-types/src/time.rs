//! Moments: the wall clock's, as it is shown and stored, and the monotonic one that waits are measured by.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What a clock shows: the wall time for people and stores, the monotonic time for intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Time since the clock was made; never goes back.
    pub mono: Duration,
    /// Time of day; may jump.
    pub wall: Timestamp,
}

/// A moment of the wall clock: seconds and nanoseconds since 1970-01-01T00:00:00Z.
///
/// [`Timestamp::ZERO`] is the reference's zero time, the year 1: shown as `0001-01-01T00:00:00Z`, meaning "never" or
/// "unknown".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    secs: i64,
    nanos: u32,
}

/// Seconds from the year 1 to 1970.
const YEAR_ONE: i64 = -62_135_596_800;

impl Default for Timestamp {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Timestamp {
    /// The year 1: no time at all.
    pub const ZERO: Self = Self { secs: YEAR_ONE, nanos: 0 };

    /// A moment by seconds and nanoseconds since 1970; surplus nanoseconds are carried into the seconds.
    #[must_use]
    pub fn from_unix(secs: i64, nanos: u32) -> Self {
        Self { secs: secs.saturating_add(i64::from(nanos / 1_000_000_000)), nanos: nanos % 1_000_000_000 }
    }

    /// A moment by nanoseconds since 1970.
    #[must_use]
    pub fn from_unix_nanos(nanos: i64) -> Self {
        Self { secs: nanos.div_euclid(1_000_000_000), nanos: nanos.rem_euclid(1_000_000_000) as u32 }
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn unix_secs(self) -> i64 {
        self.secs
    }

    /// The nanoseconds within the second, 0 to 999,999,999.
    #[must_use]
    pub fn subsec_nanos(self) -> u32 {
        self.nanos
    }

    /// Nanoseconds since 1970, saturating.
    #[must_use]
    pub fn unix_nanos(self) -> i64 {
        self.secs.saturating_mul(1_000_000_000).saturating_add(i64::from(self.nanos))
    }

    /// Whether this is the year 1: no time at all.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// The same moment without its fraction of a second, as stores keep it.
    #[must_use]
    pub fn trunc_secs(self) -> Self {
        Self { nanos: 0, ..self }
    }

    /// This moment and `wait` later, saturating.
    #[must_use]
    pub fn saturating_add(self, wait: Duration) -> Self {
        let nanos = self.nanos + wait.subsec_nanos();
        let secs = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
        Self::from_unix(self.secs.saturating_add(secs), nanos)
    }

    /// The time from `earlier` to this moment; zero if it lies after.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        let nanos = i128::from(self.secs) * 1_000_000_000 + i128::from(self.nanos)
            - i128::from(earlier.secs) * 1_000_000_000
            - i128::from(earlier.nanos);
        Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

/// RFC 3339 in UTC, with as many digits of the fraction as are not trailing zeros, as Go writes it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(36);
        self.write_text(&mut text);
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl Timestamp {
    /// Appends the text form: RFC 3339 in UTC, with as many digits of a fraction as it takes.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        let second = self.secs.rem_euclid(86_400);
        let (year, month, day) = civil_from_days(self.secs.div_euclid(86_400));
        match u32::try_from(year) {
            Ok(year @ 0..=9_999) => digits(out, year, 4),
            // Nothing that Go writes: its JSON has years of four digits.
            _ => out.extend_from_slice(year.to_string().as_bytes()),
        }
        let parts = [(b'-', month), (b'-', day), (b'T', (second / 3600) as u32)];
        let parts = parts.into_iter().chain([(b':', (second / 60 % 60) as u32), (b':', (second % 60) as u32)]);
        for (before, number) in parts {
            out.push(before);
            digits(out, number, 2);
        }
        if self.nanos > 0 {
            out.push(b'.');
            digits(out, self.nanos, 9);
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
        out.push(b'Z');
    }
}

/// Appends a number with so many digits.
fn digits(out: &mut Vec<u8>, mut number: u32, count: usize) {
    let start = out.len();
    out.resize(start + count, b'0');
    for place in out[start..].iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Days since 1970 to year, month and day of the Gregorian calendar (Howard Hinnant's `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Reads RFC 3339 strictly, as Go's `time.RFC3339`: an optional fraction, `Z` or an offset.
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let parsed = ::time::OffsetDateTime::parse(text, &::time::format_description::well_known::Rfc3339)
            .map_err(|_| TimestampError { text: text.to_owned() })?;
        Ok(Self { secs: parsed.unix_timestamp(), nanos: parsed.nanosecond() })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is no RFC 3339 time; worded as Go words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{text}\" as \"2006\"")]
pub struct TimestampError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_go_writes() {
        assert_eq!(Timestamp::ZERO.to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(Timestamp::from_unix(1_795_337_668, 416_606_500).to_string(), "2026-11-22T08:54:28.4166065Z");
        assert_eq!(Timestamp::from_unix(1_709_164_800, 0).to_string(), "2024-02-29T00:00:00Z");
    }

    #[test]
    fn reads_what_it_writes_and_offsets() {
        for moment in [Timestamp::ZERO, Timestamp::from_unix(1_709_164_799, 1), Timestamp::from_unix(-1, 999_999_999)] {
            assert_eq!(moment.to_string().parse(), Ok(moment));
        }
        assert_eq!(
            "2026-11-22T04:01:45-05:00".parse(),
            Ok::<_, TimestampError>(Timestamp::from_unix(1_795_338_105, 0))
        );
        assert!("bad".parse::<Timestamp>().is_err());
    }

    #[test]
    fn differences_saturate() {
        let later = Timestamp::from_unix(10, 5);
        assert_eq!(later.saturating_since(Timestamp::from_unix(9, 6)), Duration::from_nanos(999_999_999));
        assert_eq!(Timestamp::ZERO.saturating_since(later), Duration::ZERO);
    }
}
