//! PinTracker `stateless`: its index is in the datastore. Nothing grows with the pinset, and what waited when the process
//! ended waits again at the next start.

use super::config::StatelessConfig;
use super::shell::{Memory, Parts, Tracked};

/// A tracker that is not started. Its index is in `parts.store`.
#[must_use]
pub fn stateless(config: &StatelessConfig, parts: Parts) -> Tracked {
    Tracked::new("stateless", config.rules(), Memory::Kept, parts)
}
