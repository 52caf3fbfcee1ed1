//! Numbers and times for people, as the reference writes them (`go-humanize`).

use cluster_types::Timestamp;

/// Bytes in steps of a thousand: `364 B`, `8.1 kB`, `10 GB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 10 {
        return format!("{count} B");
    }
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let rounded = (value * 10.0 + 0.5).floor() / 10.0;
    if rounded < 10.0 { format!("{rounded:.1} {}", UNITS[unit]) } else { format!("{rounded:.0} {}", UNITS[unit]) }
}

/// A moment as seen from another: `3 seconds ago`, `2 minutes from now`.
pub(crate) fn relative(moment: Timestamp, now: Timestamp) -> String {
    let (label, span) =
        if moment > now { ("from now", moment.saturating_since(now)) } else { ("ago", now.saturating_since(moment)) };
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const WEEK: u64 = 7 * DAY;
    const MONTH: u64 = 30 * DAY;
    const YEAR: u64 = 12 * MONTH;
    let secs = span.as_secs();
    let (number, unit) = match secs {
        0 => return "now".to_owned(),
        1 => (1, "second"),
        _ if secs < MINUTE => (secs, "seconds"),
        _ if secs < 2 * MINUTE => (1, "minute"),
        _ if secs < HOUR => (secs / MINUTE, "minutes"),
        _ if secs < 2 * HOUR => (1, "hour"),
        _ if secs < DAY => (secs / HOUR, "hours"),
        _ if secs < 2 * DAY => (1, "day"),
        _ if secs < WEEK => (secs / DAY, "days"),
        _ if secs < 2 * WEEK => (1, "week"),
        _ if secs < MONTH => (secs / WEEK, "weeks"),
        _ if secs < 2 * MONTH => (1, "month"),
        _ if secs < YEAR => (secs / MONTH, "months"),
        _ if secs < 18 * MONTH => (1, "year"),
        _ if secs < 2 * YEAR => (2, "years"),
        _ if secs < 37 * YEAR => (secs / YEAR, "years"),
        _ => return format!("a long while {label}"),
    };
    format!("{number} {unit} {label}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded_as_the_reference_rounds_them() {
        let shown: Vec<String> = [0, 9, 10, 364, 8_100, 15_960, 9_996_441_285].map(bytes).to_vec();
        assert_eq!(shown, ["0 B", "9 B", "10 B", "364 B", "8.1 kB", "16 kB", "10 GB"]);
    }

    #[test]
    fn times_are_relative() {
        let at = |secs: i64| Timestamp::from_unix(1_000_000 + secs, 0);
        assert_eq!(relative(at(0), at(0)), "now");
        assert_eq!(relative(at(2), at(0)), "2 seconds from now");
        assert_eq!(relative(at(0), at(90)), "1 minute ago");
        assert_eq!(relative(at(0), at(86_400 * 3)), "3 days ago");
    }
}
