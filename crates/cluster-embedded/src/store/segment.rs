//! A segment: a file of records, each a block with its multihash and a checksum, only ever appended to.
//!
//! ```text
//! segment = magic record*
//! record  = crc:u32 length:u32 hash_length:u8 flags:u8 multihash data      (numbers little-endian)
//! ```
//! The checksum is the CRC-32 of everything behind it.

use super::log::Entry;
use cid::multihash::Multihash;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// What a segment begins with; the last byte is the version of the format.
pub(super) const MAGIC: [u8; 8] = *b"ICSEG\0\0\x01";

/// Bytes of a record before its multihash.
const HEAD: usize = 10;

/// Largest block: twice what peers exchange.
pub(crate) const BLOCK_MAX: usize = 4 << 20;

/// The block is a dag-pb node without links.
pub(super) const LEAF: u8 = 1;

/// The hash that blocks are kept by: all names of the same bytes are one block.
pub(super) type Key = Multihash<64>;

/// Where a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) segment: u32,
    /// Where its record begins.
    pub(super) offset: u32,
    /// Bytes of the block.
    pub(super) length: u32,
    pub(super) flags: u8,
}

impl Location {
    pub(super) fn to_row(self) -> Vec<u8> {
        let numbers = [self.segment, self.offset, self.length];
        let mut row: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        row.push(self.flags);
        row
    }

    pub(super) fn from_row(row: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_be_bytes(row.get(at..at + 4)?.try_into().ok()?));
        let flags = *row.get(12).filter(|_| row.len() == 13)?;
        Some(Self { segment: number(0)?, offset: number(4)?, length: number(8)?, flags })
    }
}

/// Bytes of a record.
pub(super) fn record_len(hash_len: usize, data_len: usize) -> u64 {
    (HEAD + hash_len + data_len) as u64
}

/// Appends a record but for its data, which is to follow.
pub(super) fn write_record_head(out: &mut Vec<u8>, key: &[u8], flags: u8, data: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    // A multihash of 64 bytes takes at most 74.
    out.extend_from_slice(&[key.len() as u8, flags]);
    out.extend_from_slice(key);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&out[start + 4..]);
    crc.update(data);
    out[start..start + 4].copy_from_slice(&crc.finalize().to_le_bytes());
}

/// A record that was read.
pub(super) struct Record {
    pub(super) key: Key,
    pub(super) flags: u8,
    /// Where the data begins in the record's bytes.
    pub(super) data_at: usize,
    pub(super) bytes: Vec<u8>,
}

impl Record {
    /// Reads the bytes of one whole record; `None` when they are damaged.
    pub(super) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let (length, hash_len) = lengths(bytes.first_chunk()?)?;
        let crc = u32::from_le_bytes(*bytes.first_chunk()?);
        if record_len(hash_len, length) != bytes.len() as u64 || crc32fast::hash(&bytes[4..]) != crc {
            return None;
        }
        let key = Key::from_bytes(&bytes[HEAD..HEAD + hash_len]).ok()?;
        Some(Self { key, flags: bytes[9], data_at: HEAD + hash_len, bytes })
    }

    /// The block, to be written elsewhere.
    pub(super) fn entry(&self) -> Entry<'_> {
        Entry { key: self.key, flags: self.flags, data: &self.bytes[self.data_at..] }
    }

    pub(super) fn data_len(&self) -> usize {
        self.bytes.len() - self.data_at
    }
}

/// Length of the data and of the multihash, if they can be true.
fn lengths(head: &[u8; HEAD]) -> Option<(usize, usize)> {
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    (length <= BLOCK_MAX && head[8] > 0).then_some((length, usize::from(head[8])))
}

/// The file of a segment.
pub(super) fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:08x}.seg"))
}

/// The number of a segment's file.
pub(super) fn number_of(name: &str) -> Option<u32> {
    u32::from_str_radix(name.strip_suffix(".seg").filter(|digits| digits.len() == 8)?, 16).ok()
}

/// Reads the records of a segment in order.
pub(super) struct Scan {
    file: BufReader<File>,
    offset: u64,
}

impl Scan {
    /// From the first record on. A file that is no segment of this version is an error.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut magic = [0; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Ok(()) if magic == MAGIC => Ok(Self { file, offset: MAGIC.len() as u64 }),
            Ok(()) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no segment that this version reads")),
            Err(error) => Err(error),
        }
    }

    /// Where the next record begins; at the end, where the whole ones end.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record; `None` at the end, or where the rest is damaged.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        let mut bytes = vec![0; HEAD];
        if !read_whole(&mut self.file, &mut bytes)? {
            return Ok(None);
        }
        let Some((length, hash_len)) = bytes.first_chunk().and_then(lengths) else { return Ok(None) };
        bytes.resize(record_len(hash_len, length) as usize, 0);
        if !read_whole(&mut self.file, &mut bytes[HEAD..])? {
            return Ok(None);
        }
        let record = Record::parse(bytes);
        self.offset += record.as_ref().map_or(0, |record| record.bytes.len() as u64);
        Ok(record)
    }
}

fn read_whole(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_with_any_bit_turned_is_damaged() {
        let key = dag::hash::Naming::default().cid(dag::DAG_PB, b"data").hash().to_bytes();
        let mut bytes = Vec::new();
        write_record_head(&mut bytes, &key, LEAF, b"data");
        bytes.extend_from_slice(b"data");

        let record = Record::parse(bytes.clone()).expect("whole");
        assert_eq!((&record.bytes[record.data_at..], record.flags, record.data_len()), (&b"data"[..], LEAF, 4));
        for at in 0..bytes.len() * 8 {
            let mut turned = bytes.clone();
            turned[at / 8] ^= 1 << (at % 8);
            assert!(Record::parse(turned).is_none(), "bit {at}");
        }
    }

    #[test]
    fn locations_are_read_back() {
        let location = Location { segment: 1, offset: 2_000_000_000, length: 3, flags: LEAF };
        assert_eq!(Location::from_row(&location.to_row()), Some(location));
        assert_eq!(Location::from_row(b"short"), None);
    }
}
