//! Every allocator keeps the contract, and orders as its name says.

use cluster_component::component::PinAllocator;
use cluster_peer::allocator::ascendalloc::{AscendAllocator, AscendConfig};
use cluster_peer::allocator::balanced::{BalancedAllocator, BalancedConfig};
use cluster_peer::allocator::descendalloc::{DescendAllocator, DescendConfig};
use cluster_testkit::contract::allocator::{metrics, order, peer, run};

#[test]
fn every_allocator_keeps_the_contract() {
    run(&BalancedAllocator::new(BalancedConfig::default()));
    run(&AscendAllocator::new(AscendConfig::default()));
    run(&DescendAllocator::new(DescendConfig::default()));
}

#[test]
fn they_order_by_the_number_and_not_by_its_text() {
    let peers = [(1, 9), (2, 10), (3, 100), (4, 9)];
    let descending = order(&DescendAllocator::new(DescendConfig::default()), &[], &peers);
    assert_eq!(descending, [3, 2, 1, 4].map(peer));
    let ascending = order(&AscendAllocator::new(AscendConfig::default()), &[], &peers);
    assert_eq!(ascending, [1, 4, 2, 3].map(peer));
}

#[test]
fn a_value_that_is_no_number_is_left_out() {
    use cluster_component::component::AllocationRequest;
    let allocator = DescendAllocator::new(DescendConfig::default());
    let mut candidates = metrics(allocator.needs(), &[(1, 1), (2, 2)]);
    candidates.values_mut().for_each(|by_peer| by_peer.values_mut().take(1).for_each(|m| m.value = "much".into()));
    let none = metrics(&[], &[]);
    let request = AllocationRequest {
        cid: &cluster_testkit::contract::cid(1),
        current: &none,
        priority: &none,
        candidates: &candidates,
    };
    assert_eq!(allocator.allocate(&request), Ok(vec![peer(2)]));
}
