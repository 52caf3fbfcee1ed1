//! A metric as peers send it: a msgpack map with the reference's keys and its old form of texts.

use cluster_types::{Metric, PeerId, Timestamp};
use rmp::Marker;
use rmp::encode::{write_bool, write_map_len, write_sint};

/// Most bytes of a metric. Those of the reference have some hundred.
pub(super) const BYTES_MAX: usize = 64 * 1024;

/// How deep what is not known may be nested.
const DEPTH_MAX: usize = 16;

/// Before its version 0.13.4 the reference put this before a metric.
const OLD_PREFIX: &[u8] = b"\x09/msgpack\n";

/// Writes a metric. Fields without a value are left out, as the reference does; when it was received is never sent.
pub(super) fn encode(metric: &Metric) -> Vec<u8> {
    let peer = metric.peer.to_bytes();
    let mut fields: Vec<(&str, Field<'_>)> = vec![
        ("n", Field::Raw(metric.name.as_bytes())),
        ("p", Field::Raw(&peer)),
        ("v", Field::Raw(metric.value.as_bytes())),
        ("e", Field::Int(metric.expire.unix_nanos())),
        ("d", Field::Bool(metric.valid)),
        ("w", Field::Int(metric.weight)),
        ("o", Field::Bool(metric.partitionable)),
    ];
    fields.retain(|(_, field)| !field.is_empty());
    let mut out = Vec::with_capacity(128 + metric.value.len());
    // Writing to memory cannot fail.
    let _cannot_fail = write_map_len(&mut out, u32::try_from(fields.len()).unwrap_or(0));
    for (key, field) in fields {
        write_raw(&mut out, key.as_bytes());
        field.write(&mut out);
    }
    out
}

enum Field<'a> {
    Raw(&'a [u8]),
    Int(i64),
    Bool(bool),
}

impl Field<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Field::Raw(bytes) => bytes.is_empty(),
            Field::Int(number) => *number == 0,
            Field::Bool(value) => !value,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Field::Raw(bytes) => write_raw(out, bytes),
            Field::Int(number) => drop(write_int(out, *number)),
            Field::Bool(value) => drop(write_bool(out, *value)),
        }
    }
}

fn write_int(out: &mut Vec<u8>, number: i64) -> Result<(), rmp::encode::ValueWriteError> {
    // The reference writes positive numbers as signed ones.
    match number {
        128..=32_767 => rmp::encode::write_i16(out, number as i16),
        32_768..=2_147_483_647 => rmp::encode::write_i32(out, number as i32),
        2_147_483_648.. => rmp::encode::write_i64(out, number),
        _ => write_sint(out, number).map(drop),
    }
}

/// Text or bytes in msgpack's old form, which knows one kind.
fn write_raw(out: &mut Vec<u8>, bytes: &[u8]) {
    match (bytes.len(), u16::try_from(bytes.len())) {
        (0..=31, _) => out.push(0xa0 | bytes.len() as u8),
        (_, Ok(length)) => {
            out.push(0xda);
            out.extend_from_slice(&length.to_be_bytes());
        }
        (length, Err(_)) => {
            out.push(0xdb);
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

/// A message that is no metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no metric")]
pub(super) struct Malformed;

/// Reads a metric. What is not known is passed over.
pub(super) fn decode(message: &[u8]) -> Result<Metric, Malformed> {
    if message.len() > BYTES_MAX {
        return Err(Malformed);
    }
    let mut reader = Reader(message.strip_prefix(OLD_PREFIX).unwrap_or(message));
    let (mut peer, mut name, mut value) = (None, String::new(), String::new());
    let (mut expire, mut weight, mut valid, mut partitionable) = (0, 0, false, false);
    for _ in 0..reader.map_len()? {
        match reader.raw()?.unwrap_or_default() {
            b"n" => name = reader.text()?,
            b"v" => value = reader.text()?,
            b"p" => peer = reader.raw()?.and_then(|bytes| PeerId::from_bytes(bytes).ok()),
            b"e" => expire = reader.int()?,
            b"w" => weight = reader.int()?,
            b"d" => valid = reader.bool()?,
            b"o" => partitionable = reader.bool()?,
            _ => reader.skip(0)?,
        }
    }
    Ok(Metric {
        name,
        peer: peer.ok_or(Malformed)?,
        value,
        expire: Timestamp::from_unix_nanos(expire),
        valid,
        weight,
        partitionable,
        received_at: Timestamp::ZERO,
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn marker(&mut self) -> Result<Marker, Malformed> {
        Ok(Marker::from_u8(self.take(1)?[0]))
    }

    /// A number of so many bytes, the first the highest.
    fn number(&mut self, bytes: usize) -> Result<u64, Malformed> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, bytes: usize) -> Result<usize, Malformed> {
        usize::try_from(self.number(bytes)?).map_err(|_| Malformed)
    }

    fn map_len(&mut self) -> Result<usize, Malformed> {
        match self.marker()? {
            Marker::FixMap(length) => Ok(usize::from(length)),
            Marker::Map16 => self.length(2),
            Marker::Map32 => self.length(4),
            _ => Err(Malformed),
        }
    }

    /// Text or bytes, in any of their forms; nothing: `None`.
    fn raw(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let length = match self.marker()? {
            Marker::Null => return Ok(None),
            Marker::FixStr(length) => usize::from(length),
            Marker::Str8 | Marker::Bin8 => self.length(1)?,
            Marker::Str16 | Marker::Bin16 => self.length(2)?,
            Marker::Str32 | Marker::Bin32 => self.length(4)?,
            _ => return Err(Malformed),
        };
        self.take(length).map(Some)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        Ok(String::from_utf8_lossy(self.raw()?.unwrap_or_default()).into_owned())
    }

    fn int(&mut self) -> Result<i64, Malformed> {
        let signed = |number: u64| i64::try_from(number).map_err(|_| Malformed);
        match self.marker()? {
            Marker::Null => Ok(0),
            Marker::FixPos(number) => Ok(i64::from(number)),
            Marker::FixNeg(number) => Ok(i64::from(number)),
            Marker::I8 => Ok(i64::from(self.number(1)? as i8)),
            Marker::I16 => Ok(i64::from(self.number(2)? as i16)),
            Marker::I32 => Ok(i64::from(self.number(4)? as i32)),
            Marker::I64 => Ok(self.number(8)? as i64),
            Marker::U8 => signed(self.number(1)?),
            Marker::U16 => signed(self.number(2)?),
            Marker::U32 => signed(self.number(4)?),
            Marker::U64 => signed(self.number(8)?),
            _ => Err(Malformed),
        }
    }

    fn bool(&mut self) -> Result<bool, Malformed> {
        match self.marker()? {
            Marker::True => Ok(true),
            Marker::False | Marker::Null => Ok(false),
            _ => Err(Malformed),
        }
    }

    /// Passes over a value of any kind.
    fn skip(&mut self, depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed);
        }
        let marker = self.marker()?;
        let bytes = match marker {
            Marker::Null | Marker::True | Marker::False | Marker::FixPos(_) | Marker::FixNeg(_) => 0,
            Marker::U8 | Marker::I8 => 1,
            Marker::U16 | Marker::I16 => 2,
            Marker::U32 | Marker::I32 | Marker::F32 => 4,
            Marker::U64 | Marker::I64 | Marker::F64 => 8,
            Marker::FixStr(length) => usize::from(length),
            Marker::Str8 | Marker::Bin8 => self.length(1)?,
            Marker::Str16 | Marker::Bin16 => self.length(2)?,
            Marker::Str32 | Marker::Bin32 => self.length(4)?,
            Marker::FixArray(length) => return self.skip_many(usize::from(length), depth),
            Marker::Array16 | Marker::Array32 => {
                let length = self.length(if marker == Marker::Array16 { 2 } else { 4 })?;
                return self.skip_many(length, depth);
            }
            Marker::FixMap(length) => return self.skip_many(2 * usize::from(length), depth),
            Marker::Map16 | Marker::Map32 => {
                let length = self.length(if marker == Marker::Map16 { 2 } else { 4 })?;
                return self.skip_many(length.saturating_mul(2), depth);
            }
            _ => return Err(Malformed),
        };
        self.take(bytes).map(drop)
    }

    /// Each value takes a byte at least, so that a length that lies ends with the bytes.
    fn skip_many(&mut self, count: usize, depth: usize) -> Result<(), Malformed> {
        for _ in 0..count {
            self.skip(depth + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

    fn metric() -> Metric {
        Metric {
            name: "ping".into(),
            peer: PEER.parse().expect("a peer"),
            value: "{\"peer_name\":\"peer1\"}".into(),
            expire: Timestamp::from_unix_nanos(0x1797_9d05_39a9_7915),
            valid: true,
            weight: 0,
            partitionable: false,
            received_at: Timestamp::ZERO,
        }
    }

    /// Bytes that the reference wrote.
    fn golden() -> Vec<u8> {
        let hex = "85a16ea470696e67a170da00260024080112208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c\
                   a176b57b22706565725f6e616d65223a227065657231227da165d317979d0539a97915a164c3";
        hex::decode(hex).expect("digits")
    }

    #[test]
    fn a_metric_is_written_and_read_as_the_reference_does() {
        assert_eq!(encode(&metric()), golden());
        assert_eq!(decode(&golden()), Ok(metric()));
        assert_eq!(decode(&[OLD_PREFIX, &golden()].concat()), Ok(metric()));
    }

    #[test]
    fn every_kind_of_number_comes_back() {
        for weight in [0, 1, 127, 128, 255, 40_000, 3_000_000_000, i64::MAX, -1, -33, -200, -40_000, i64::MIN] {
            let metric = Metric { weight, partitionable: true, value: "x".repeat(300), ..metric() };
            assert_eq!(decode(&encode(&metric)), Ok(metric));
        }
        assert_eq!(encode(&Metric { weight: 128, ..metric() })[golden().len()..], [0xa1, b'w', 0xd1, 0, 0x80]);
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_nonsense_refused() {
        let mut more = golden();
        more[0] = 0x86;
        more.extend_from_slice(&[0xa1, b'z', 0x82, 0xa1, b'a', 0x93, 1, 2, 3, 0xa1, b'b', 0xc0]);
        assert_eq!(decode(&more), Ok(metric()));

        for length in 0..golden().len() {
            assert_eq!(decode(&golden()[..length]), Err(Malformed), "{length} bytes");
        }
        assert_eq!(decode(&[0x81, 0xa1, b'z', 0xdd, 0xff, 0xff, 0xff, 0xff]), Err(Malformed));
        assert_eq!(decode(&[[0x81, 0xa1, b'z'].as_slice(), &[0x91; 100]].concat()), Err(Malformed));
        assert_eq!(decode(&[0x80]), Err(Malformed), "a metric is of a peer");
    }
}
