//! What stands for a whole pinset: two pinsets are the same if their digests are.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// The sum of what stands for each pin, in four lanes that wrap: the order in which pins came does not matter, and each
/// can be taken away again. Made to notice faults, not to withstand somebody who looks for pinsets of the same digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PinsetDigest([u64; 4]);

impl PinsetDigest {
    /// Bytes of a digest.
    pub const LEN: usize = 32;

    /// Counts a pin, by what stands for it.
    pub fn add(&mut self, pin: &[u8; 32]) {
        self.each(pin, u64::wrapping_add);
    }

    /// No longer counts a pin.
    pub fn remove(&mut self, pin: &[u8; 32]) {
        self.each(pin, u64::wrapping_sub);
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.add(&other.to_bytes());
        self
    }

    fn each(&mut self, pin: &[u8; 32], change: fn(u64, u64) -> u64) {
        let (lanes, _) = pin.as_chunks::<8>();
        for (lane, bytes) in self.0.iter_mut().zip(lanes) {
            *lane = change(*lane, u64::from_be_bytes(*bytes));
        }
    }

    /// Its bytes, as they are stored.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        for (chunk, lane) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *chunk = lane.to_be_bytes();
        }
        bytes
    }

    /// From its bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let mut digest = Self::default();
        digest.add(bytes);
        digest
    }

    /// Its first 48 bits, which a figure can hold exactly.
    #[must_use]
    pub fn short(self) -> u64 {
        self.0[0] >> 16
    }
}

impl fmt::Display for PinsetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.to_bytes()))
    }
}

/// A text that is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest of a pinset has 64 hexadecimal digits")]
pub struct BadDigest;

impl FromStr for PinsetDigest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| BadDigest)?;
        Ok(Self::from_bytes(bytes.as_slice().try_into().map_err(|_| BadDigest)?))
    }
}

impl Serialize for PinsetDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PinsetDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What a peer says of its pinset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StateDigest {
    /// How many pins there are.
    pub pins: u64,
    /// What stands for them all.
    pub digest: PinsetDigest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_what_is_taken_away_leaves_nothing() {
        let pins = [[255; 32], [1; 32], [7; 32]];
        let (mut one, mut other) = (PinsetDigest::default(), PinsetDigest::default());
        pins.iter().for_each(|pin| one.add(pin));
        pins.iter().rev().for_each(|pin| other.add(pin));
        assert_eq!(one, other);

        other.remove(&pins[1]);
        assert_ne!(one, other);
        pins.iter().for_each(|pin| one.remove(pin));
        assert_eq!(one, PinsetDigest::default());
    }

    #[test]
    fn texts_and_bytes_are_read_as_they_were_written() {
        let digest = PinsetDigest::from_bytes(&std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(PinsetDigest::from_bytes(&digest.to_bytes()), digest);
        assert_eq!(PinsetDigest::default().and(digest), digest);
        assert_eq!("12".parse::<PinsetDigest>(), Err(BadDigest));
        assert_eq!(digest.short(), u64::from_be_bytes([0, 0, 0, 7, 14, 21, 28, 35]));
    }
}
