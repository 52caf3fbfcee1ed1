//! The order of the allocators `descendalloc` and `ascendalloc`: peers by the number that one metric says.
//!
//! As the reference's older versions: `allocator/util/metricsorter.go`.

use super::request::Metrics;
use cluster_types::PeerId;

/// Which peers are taken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Those with the smallest number.
    Ascending,
    /// Those with the largest number.
    Descending,
}

/// The peers whose metric of this name is a number, in the order in which they should be taken; of equal ones, the
/// lower name first. What is no number is left out.
#[must_use]
pub fn order(by: &str, metrics: &Metrics, direction: Direction) -> Vec<PeerId> {
    let of_name = metrics.get(by).into_iter().flatten();
    let numbers = of_name.filter_map(|(peer, metric)| metric.value.parse::<u64>().ok().map(|number| (number, *peer)));
    let mut numbers: Vec<(u64, PeerId)> = numbers.collect();
    numbers.sort_by(|(a, one), (b, other)| match direction {
        Direction::Ascending => a.cmp(b).then(one.cmp(other)),
        Direction::Descending => b.cmp(a).then(one.cmp(other)),
    });
    numbers.into_iter().map(|(_, peer)| peer).collect()
}
