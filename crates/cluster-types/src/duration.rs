//! Durations as Go writes and reads them: `1m30s`, `2h0m0s`, `200ms`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
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

const NANOS_PER: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The canonical form of Go: `1h0m0s`, `1m30s`, `1.5s`, `200ms`, `0s`.
impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{sign}{nanos}ns"),
            1_000..1_000_000 => write!(f, "{sign}{}\u{b5}s", Decimal(nanos, 3)),
            1_000_000..1_000_000_000 => write!(f, "{sign}{}ms", Decimal(nanos, 6)),
            _ => {
                let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
                let secs = Decimal(rest, 9);
                match (minutes / 60, minutes % 60) {
                    (0, 0) => write!(f, "{sign}{secs}s"),
                    (0, minutes) => write!(f, "{sign}{minutes}m{secs}s"),
                    (hours, minutes) => write!(f, "{sign}{hours}h{minutes}m{secs}s"),
                }
            }
        }
    }
}

/// A number with so many digits behind the point, zeros at its end left out.
struct Decimal(u64, u32);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = 10_u64.pow(self.1);
        let (whole, fraction) = (self.0 / scale, self.0 % scale);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{fraction:0width$}", width = self.1 as usize);
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for GoDuration {
    type Err = GoDurationError;

    fn from_str(text: &str) -> Result<Self, GoDurationError> {
        let invalid = || GoDurationError(format!("time: invalid duration {text:?}"));
        let (sign, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, after) = rest.split_at(end);
            let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, next) = after.split_at(unit_end);
            if number.is_empty() || number == "." {
                return Err(invalid());
            }
            if unit.is_empty() {
                return Err(GoDurationError(format!("time: missing unit in duration {text:?}")));
            }
            let scale = NANOS_PER.iter().find(|(name, _)| *name == unit);
            let unknown = || GoDurationError(format!("time: unknown unit {unit:?} in duration {text:?}"));
            let scale = scale.ok_or_else(unknown)?.1;
            let part = scaled(number, scale).ok_or_else(invalid)?;
            total = total.checked_add(part).ok_or_else(invalid)?;
            rest = next;
        }
        Ok(Self(sign * total))
    }
}

/// A decimal number times a scale, digits below a nanosecond cut off.
fn scaled(number: &str, scale: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(scale)?;
    let mut unit = scale;
    for digit in fraction.chars() {
        unit /= 10;
        total = total.checked_add(i64::from(digit.to_digit(10)?) * unit)?;
    }
    Some(total)
}

/// A text that is no duration; worded as Go words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GoDurationError(String);

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)
            .map_err(|_| serde::de::Error::custom("a duration must be a string such as \"30s\" or \"1h30m\""))?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (given, written) in [
            ("90s", "1m30s"),
            ("2m", "2m0s"),
            ("3h", "3h0m0s"),
            ("0", "0s"),
            ("200ms", "200ms"),
            ("1.5h", "1h30m0s"),
            ("-1s", "-1s"),
            ("1500us", "1.5ms"),
            ("1h1ns", "1h0m0.000000001s"),
            ("+.5s", "500ms"),
        ] {
            assert_eq!(given.parse::<GoDuration>().expect(given).to_string(), written, "{given}");
        }
    }

    #[test]
    fn what_is_none_is_refused_in_the_words_of_go() {
        let text = |given: &str| given.parse::<GoDuration>().expect_err(given).to_string();
        assert_eq!(text("zz"), "time: invalid duration \"zz\"");
        assert_eq!(text("5"), "time: missing unit in duration \"5\"");
        assert_eq!(text("1d"), "time: unknown unit \"d\" in duration \"1d\"");
        assert_eq!(text(""), "time: invalid duration \"\"");
        assert_eq!(text("9999999h"), "time: invalid duration \"9999999h\"");
    }
}
