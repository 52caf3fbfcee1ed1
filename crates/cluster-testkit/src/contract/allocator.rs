//! What every [`PinAllocator`] must do.

use super::cid;
use cluster_component::component::{AllocationRequest, PinAllocator};
use cluster_types::{Metric, MetricName, PeerId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

type Metrics = BTreeMap<MetricName, BTreeMap<PeerId, Metric>>;

/// A peer of its own for each number; they sort as their numbers.
///
/// # Panics
/// Never: 32 bytes make a peer.
#[must_use]
pub fn peer(number: u8) -> PeerId {
    let mut bytes = vec![0x12, 32];
    bytes.extend_from_slice(&[number; 32]);
    PeerId::from_bytes(&bytes).expect("a multihash")
}

/// Metrics of these peers for every name that the allocator needs; the value and the weight are the peer's own number.
#[must_use]
pub fn metrics(needs: &[MetricName], values: &[(u8, u64)]) -> Metrics {
    let of = |name: &MetricName| {
        let metric = |(number, value): &(u8, u64)| {
            let metric = Metric {
                name: name.clone(),
                peer: peer(*number),
                value: value.to_string(),
                expire: Timestamp::ZERO,
                valid: true,
                weight: i64::try_from(*value).unwrap_or(i64::MAX),
                partitionable: false,
                received_at: Timestamp::ZERO,
            };
            (metric.peer, metric)
        };
        (name.clone(), values.iter().map(metric).collect())
    };
    needs.iter().map(of).collect()
}

/// The order of an allocator for peers of these priorities.
///
/// # Panics
/// When it refuses.
#[must_use]
pub fn order(allocator: &dyn PinAllocator, priority: &[(u8, u64)], candidates: &[(u8, u64)]) -> Vec<PeerId> {
    let needs = allocator.needs();
    let (priority, candidates) = (metrics(needs, priority), metrics(needs, candidates));
    let request =
        AllocationRequest { cid: &cid(1), current: &Metrics::new(), priority: &priority, candidates: &candidates };
    allocator.allocate(&request).expect("an order")
}

/// Runs the suite.
///
/// # Panics
/// When the allocator does not keep the contract.
pub fn run(allocator: &dyn PinAllocator) {
    assert!(!allocator.key().is_empty());
    assert!(!allocator.needs().is_empty(), "it must go by something");
    assert_eq!(order(allocator, &[], &[]), []);

    // Everyone is in the order, once, and those that the user asked for come first, whatever their figures.
    let (priority, candidates) = ([(1, 5), (2, 900)], [(3, 1), (4, 70), (5, 70), (6, 1_000)]);
    let all = order(allocator, &priority, &candidates);
    assert_eq!(all.len(), 6);
    assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), (1..=6).map(peer).collect());
    assert_eq!(all[..2].iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([peer(1), peer(2)]));

    // The same question has the same answer.
    assert_eq!(order(allocator, &priority, &candidates), all);
}
