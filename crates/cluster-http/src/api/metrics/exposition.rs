//! The text form that Prometheus reads (version 0.0.4).

use cluster_component::metrics::Distribution;
use std::fmt::Write;

/// A page of figures that is being written.
#[derive(Debug, Default)]
pub(super) struct Page(pub(super) String);

impl Page {
    /// Begins a family: what it is, and of which kind.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _written = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n"); // A text takes all.
    }

    /// One figure. `labels` as `a="b",c="d"`, or empty.
    pub(super) fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _written = writeln!(self.0, "{name}{braced} {value}"); // A text takes all.
    }

    /// A family of one figure.
    pub(super) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, kind, help);
        self.sample(name, "", value);
    }

    /// The samples of a histogram. `unit` is how many of what was counted (microseconds, bytes) its unit has: 1,000,000
    /// for seconds.
    pub(super) fn histogram(&mut self, name: &str, labels: &str, seen: &Distribution, unit: f64) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut below = 0;
        for (end, count) in seen.ends.iter().zip(&seen.buckets) {
            below += count;
            let end = in_unit(*end, unit);
            self.sample(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"{end}\""), below);
        }
        self.sample(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"+Inf\""), seen.count);
        self.sample(&format!("{name}_sum"), labels, in_unit(seen.sum, unit));
        self.sample(&format!("{name}_count"), labels, seen.count);
    }
}

fn in_unit(count: u64, unit: f64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // Bucket ends are small, and sums of microseconds exact up to 285 years.
    let count = count as f64;
    count / unit
}

/// A text as the value of a label.
pub(super) fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::SECONDS;
    use super::*;
    use cluster_component::metrics::{Metrics, RequestKind, TIMES};
    use std::time::Duration;

    #[test]
    fn a_histogram_counts_upwards_and_ends_in_its_sum() {
        let metrics = Metrics::default();
        let kind = RequestKind { route: "Id", method: "GET".into(), status: 200 };
        metrics.request(kind.clone(), Duration::from_millis(2));
        metrics.request(kind, Duration::from_millis(4));
        let mut page = Page::default();

        page.histogram("x_seconds", "route=\"Id\"", &metrics.requests().into_values().next().expect("one"), SECONDS);

        let lines: Vec<&str> = page.0.lines().collect();
        assert_eq!(lines[0], "x_seconds_bucket{route=\"Id\",le=\"0.001\"} 0");
        assert_eq!(lines[1], "x_seconds_bucket{route=\"Id\",le=\"0.002\"} 1");
        assert_eq!(lines[3], "x_seconds_bucket{route=\"Id\",le=\"0.004\"} 2");
        assert_eq!(lines[TIMES.len()], "x_seconds_bucket{route=\"Id\",le=\"+Inf\"} 2");
        assert_eq!(lines[TIMES.len() + 1], "x_seconds_sum{route=\"Id\"} 0.006");
    }
}
