//! What stands for one pin in the digest of a pinset: its key and its stored form.

use cluster_types::digest::PinsetDigest;
use sha2::{Digest, Sha256};

/// What stands for a pin, by its sort key and its stored form.
#[must_use]
pub fn of_pin(sort_key: &[u8], stored: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    // The length keeps a key and a value from becoming another key and another value.
    hash.update((sort_key.len() as u64).to_be_bytes());
    hash.update(sort_key);
    hash.update(stored);
    hash.finalize().into()
}

/// The change of a digest by one pin that was `before` and is `after`.
#[must_use]
pub fn change(sort_key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) -> PinsetDigest {
    let mut digest = PinsetDigest::default();
    if before != after {
        before.into_iter().for_each(|stored| digest.remove(&of_pin(sort_key, stored)));
        after.into_iter().for_each(|stored| digest.add(&of_pin(sort_key, stored)));
    }
    digest
}
