//! Contract suites: what every implementation of an interface must do, as tests that any of them can be put through.
//! Passing them is what "can be exchanged" means here.

pub mod allocator;
pub mod connector;
pub mod consensus;
pub mod informer;
pub mod state;
pub mod tracker;

use cluster_types::{Cid, Pin, PinOptions, Timestamp};

/// A CID of its own for each number.
#[must_use]
pub fn cid(number: u64) -> Cid {
    let mut bytes = vec![1, 0x55, 0x12, 32];
    // A multiplication by an odd number: no two are the same, and they are in no order.
    let digest = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    (0..4).for_each(|_| bytes.extend_from_slice(&digest));
    Cid::from_bytes(&bytes).expect("a CID of 36 bytes")
}

/// A pin with a name, for every peer, as it comes out of a store: times in whole seconds.
#[must_use]
pub fn pin(number: u64, name: &str) -> Pin {
    let mut pin = Pin::new(cid(number), PinOptions { name: name.to_owned(), ..PinOptions::default() });
    pin.options.replication_factor_min = -1;
    pin.options.replication_factor_max = -1;
    pin.timestamp = Timestamp::from_unix(1_767_225_600, 0);
    pin
}

/// What two pins are compared by.
fn told(pin: &Pin) -> (Cid, String) {
    (pin.cid, pin.options.name.clone())
}
