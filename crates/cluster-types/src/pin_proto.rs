//! The stored form of a pin: protocol buffers, as the reference. Stores, CRDT deltas and raft snapshots hold it.
//!
//! What is written is canonical; what is read may be anything that a reader of the reference takes: fields in any
//! order, unknown ones, the older map of metadata. Reads are bounded by the bytes that are given.

use crate::{Cid, Multiaddr, PeerId, Pin, PinMode, PinOptions, PinType, Timestamp};
use std::collections::BTreeMap;
use unsigned_varint::{decode, encode};

/// Why bytes are no pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinProtoError {
    /// They are not protocol buffers.
    #[error("the bytes end within a field, or hold a field of an unknown kind")]
    Malformed,
    /// A field does not hold what it should.
    #[error("field {field}: {reason}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no CID, neither in the bytes nor beside them.
    #[error("the pin has no CID")]
    NoCid,
}

mod tag {
    pub(super) const CID: u64 = 1;
    pub(super) const TYPE: u64 = 2;
    pub(super) const ALLOCATIONS: u64 = 3;
    pub(super) const MAX_DEPTH: u64 = 4;
    pub(super) const REFERENCE: u64 = 5;
    pub(super) const OPTIONS: u64 = 6;
    pub(super) const TIMESTAMP: u64 = 7;
}

mod option_tag {
    pub(super) const MIN: u64 = 1;
    pub(super) const MAX: u64 = 2;
    pub(super) const NAME: u64 = 3;
    pub(super) const SHARD_SIZE: u64 = 4;
    pub(super) const OLD_METADATA: u64 = 6;
    pub(super) const PIN_UPDATE: u64 = 7;
    pub(super) const EXPIRE_AT: u64 = 8;
    pub(super) const ORIGINS: u64 = 9;
    pub(super) const METADATA: u64 = 10;
}

impl Pin {
    /// The stored form. User allocations and the mode are not part of it, times lose their fraction of a second.
    #[must_use]
    pub fn to_proto(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(128));
        out.bytes(tag::CID, &self.cid.to_bytes());
        out.number(tag::TYPE, u64::from((self.kind as u64).trailing_zeros()));
        for peer in &self.allocations {
            out.bytes(tag::ALLOCATIONS, &peer.to_bytes());
        }
        out.number(tag::MAX_DEPTH, zigzag(self.max_depth));
        if let Some(reference) = &self.reference {
            out.bytes(tag::REFERENCE, &reference.to_bytes());
        }
        out.bytes(tag::OPTIONS, &options_to_proto(&self.options));
        out.number(tag::TIMESTAMP, stored_secs(self.timestamp));
        out.0
    }

    /// Reads the stored form. `key` is the CID that it is stored under; it wins over the one inside.
    ///
    /// # Errors
    /// When the bytes are no pin.
    pub fn from_proto(bytes: &[u8], key: Option<Cid>) -> Result<Self, PinProtoError> {
        let mut cid = key;
        let mut pin = Pin {
            kind: PinType::Bad,
            timestamp: Timestamp::ZERO,
            ..Pin::new(Cid(::cid::Cid::default()), PinOptions::default())
        };
        pin.max_depth = 0;
        pin.options.origins = Some(Vec::new());
        let mut fields = Reader(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                // As the reference: a CID that cannot be read is none, and the key's counts anyway.
                (tag::CID, Value::Bytes(bytes)) => cid = cid.or_else(|| Cid::from_bytes(bytes).ok()),
                (tag::TYPE, Value::Number(number)) => pin.kind = pin_type(number),
                (tag::ALLOCATIONS, Value::Bytes(bytes)) => pin.allocations.push(peer(bytes)?),
                (tag::MAX_DEPTH, Value::Number(number)) => pin.max_depth = unzigzag(number),
                (tag::REFERENCE, Value::Bytes(bytes)) => pin.reference = Cid::from_bytes(bytes).ok(),
                (tag::OPTIONS, Value::Bytes(bytes)) => read_options(bytes, &mut pin.options)?,
                (tag::TIMESTAMP, Value::Number(secs)) => pin.timestamp = stored_time(secs),
                _ => {}
            }
        }
        pin.cid = cid.ok_or(PinProtoError::NoCid)?;
        pin.options.mode = PinMode::from_max_depth(pin.max_depth);
        Ok(pin)
    }
}

fn options_to_proto(options: &PinOptions) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(64));
    out.number(option_tag::MIN, zigzag(options.replication_factor_min));
    out.number(option_tag::MAX, zigzag(options.replication_factor_max));
    if !options.name.is_empty() {
        out.bytes(option_tag::NAME, options.name.as_bytes());
    }
    out.number(option_tag::SHARD_SIZE, options.shard_size);
    if let Some(update) = &options.pin_update {
        out.bytes(option_tag::PIN_UPDATE, &update.to_bytes());
    }
    out.number(option_tag::EXPIRE_AT, stored_secs(options.expire_at));
    for origin in options.origins.iter().flatten() {
        out.bytes(option_tag::ORIGINS, origin.as_ref());
    }
    for (key, value) in options.metadata.iter().flatten() {
        let mut pair = Writer(Vec::new());
        for (number, text) in [(1, key), (2, value)] {
            if !text.is_empty() {
                pair.bytes(number, text.as_bytes());
            }
        }
        out.bytes(option_tag::METADATA, &pair.0);
    }
    out.0
}

fn read_options(bytes: &[u8], options: &mut PinOptions) -> Result<(), PinProtoError> {
    let (mut old, mut sorted) = (BTreeMap::new(), BTreeMap::new());
    let mut fields = Reader(bytes);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (option_tag::MIN, Value::Number(number)) => options.replication_factor_min = unzigzag(number),
            (option_tag::MAX, Value::Number(number)) => options.replication_factor_max = unzigzag(number),
            (option_tag::NAME, Value::Bytes(bytes)) => options.name = text("name", bytes)?,
            (option_tag::SHARD_SIZE, Value::Number(number)) => options.shard_size = number,
            (option_tag::OLD_METADATA, Value::Bytes(bytes)) => old.extend([pair(bytes)?]),
            (option_tag::METADATA, Value::Bytes(bytes)) => sorted.extend([pair(bytes)?]),
            (option_tag::PIN_UPDATE, Value::Bytes(bytes)) => options.pin_update = Cid::from_bytes(bytes).ok(),
            (option_tag::EXPIRE_AT, Value::Number(secs)) => options.expire_at = stored_time(secs),
            (option_tag::ORIGINS, Value::Bytes(bytes)) => {
                options.origins.get_or_insert_default().push(address(bytes)?);
            }
            _ => {}
        }
    }
    old.extend(sorted);
    if !old.is_empty() {
        options.metadata = Some(old);
    }
    Ok(())
}

fn pair(bytes: &[u8]) -> Result<(String, String), PinProtoError> {
    let (mut key, mut value) = (String::new(), String::new());
    let mut fields = Reader(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Value::Bytes(bytes)) => key = text("metadata", bytes)?,
            (2, Value::Bytes(bytes)) => value = text("metadata", bytes)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn text(field: &'static str, bytes: &[u8]) -> Result<String, PinProtoError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(PinProtoError::Field { field, reason: "it is not UTF-8".into() }),
    }
}

fn peer(bytes: &[u8]) -> Result<PeerId, PinProtoError> {
    PeerId::from_bytes(bytes).map_err(|e| PinProtoError::Field { field: "allocations", reason: e.to_string() })
}

fn address(bytes: &[u8]) -> Result<Multiaddr, PinProtoError> {
    let read = Multiaddr::try_from(bytes.to_vec());
    read.map_err(|e| PinProtoError::Field { field: "origins", reason: e.to_string() })
}

fn pin_type(number: u64) -> PinType {
    let found = PinType::ALL.into_iter().find(|kind| u64::from(kind.bit().trailing_zeros()) == number);
    found.unwrap_or(PinType::Bad)
}

/// Whole seconds; no time at all, and times before 1970, are not stored.
fn stored_secs(time: Timestamp) -> u64 {
    u64::try_from(time.unix_secs()).unwrap_or(0)
}

fn stored_time(secs: u64) -> Timestamp {
    match i64::try_from(secs) {
        Ok(0) | Err(_) => Timestamp::ZERO,
        Ok(secs) => Timestamp::from_unix(secs, 0),
    }
}

fn zigzag(number: i32) -> u64 {
    u64::from(((number << 1) ^ (number >> 31)) as u32)
}

fn unzigzag(number: u64) -> i32 {
    let number = number as u32;
    ((number >> 1) as i32) ^ -((number & 1) as i32)
}

struct Writer(Vec<u8>);

impl Writer {
    fn varint(&mut self, number: u64) {
        self.0.extend_from_slice(encode::u64(number, &mut encode::u64_buffer()));
    }

    /// A number that is zero is not written.
    fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value);
        }
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint((field << 3) | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, PinProtoError> {
        let (number, rest) = decode::u64(self.0).map_err(|_| PinProtoError::Malformed)?;
        self.0 = rest;
        Ok(number)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], PinProtoError> {
        let count = usize::try_from(count).map_err(|_| PinProtoError::Malformed)?;
        let (head, rest) = self.0.split_at_checked(count).ok_or(PinProtoError::Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, PinProtoError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let count = self.varint()?;
                Value::Bytes(self.take(count)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(PinProtoError::Malformed),
        };
        Ok(Some((key >> 3, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Produced by the reference: what it stored, and what it read back from that.
    #[test]
    fn stored_forms_of_the_reference_are_read_and_written_back() {
        let vectors: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../tests/data/pin_protobuf.json")).expect("vectors");
        assert!(!vectors.is_empty());
        for vector in vectors {
            let name = &vector["name"];
            let text = vector["protobuf_hex"].as_str().expect("stored form");
            let read = Pin::from_proto(&hex::decode(text).expect("hex"), None);
            if vector["decoded_back_json"]["cid"].is_null() {
                // A pin without a CID cannot be held here; the reference lists none either.
                assert_eq!(read, Err(PinProtoError::NoCid), "{name}");
                continue;
            }
            let pin = read.expect("read");
            assert_eq!(serde_json::to_value(&pin).expect("JSON"), vector["decoded_back_json"], "{name}");
            assert_eq!(hex::encode(pin.to_proto()), text, "{name}");
        }
    }

    #[test]
    fn the_key_wins_over_the_cid_inside() {
        let inside: Cid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN".parse().expect("cid");
        let key: Cid = "QmW3J3czdUzxRaaN31Gtu5T1U5br3t631b8AHdvxHdsHWg".parse().expect("cid");
        let bytes = Pin::new(inside, PinOptions::default()).to_proto();
        assert_eq!(Pin::from_proto(&bytes, Some(key)).expect("read").cid, key);
        assert_eq!(Pin::from_proto(&[], None), Err(PinProtoError::NoCid));
    }

    #[test]
    fn numbers_below_zero_survive() {
        for number in [-1, 0, 1, i32::MIN, i32::MAX] {
            assert_eq!(unzigzag(zigzag(number)), number);
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _either = Pin::from_proto(&bytes, None);
        }
    }
}
