//! Informers: find out figures of this peer.

pub mod disk;
pub mod numpin;
pub mod pinqueue;
pub mod tags;

use cluster_component::ports::Clock;
use cluster_types::{GoDuration, Metric, PeerId, Timestamp};

/// A metric of this peer that is valid for so long from now.
fn metric(name: &str, peer: PeerId, clock: &dyn Clock, ttl: GoDuration) -> Metric {
    Metric {
        name: name.to_owned(),
        peer,
        value: String::new(),
        expire: clock.now().wall.saturating_add(ttl.get()),
        valid: true,
        weight: 0,
        partitionable: false,
        received_at: Timestamp::ZERO,
    }
}

/// The default of every informer: half a minute.
const TTL: GoDuration = GoDuration::from_secs(30);
