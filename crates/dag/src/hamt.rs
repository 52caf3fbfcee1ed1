//! Large directories: a trie over the hashes of names, as the UnixFS specification and Kubo build it (HAMT, hashed with
//! `murmur3-x64-64`). Written and read with any width that Kubo takes.

use crate::entries::{Entries, Place};
use crate::pb::{Attributes, Kind, Link, Node, UnixFs};
use crate::tree::{Entry, Form};
use crate::{Block, DAG_PB};
use bytes::Bytes;
use std::cmp::Reverse;

/// Multicodec of the hash function of names.
const MURMUR3: u64 = 0x22;

/// Bits of the hash of a name.
const HASH_BITS: u32 = 64;

/// How wide a node of the trie of a large directory is. Default: 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Width(u64);

impl Default for Width {
    fn default() -> Self {
        Self(256)
    }
}

impl Width {
    /// So many links of a node: a power of two from 8 to 1024.
    #[must_use]
    pub fn new(fanout: u64) -> Option<Self> {
        (fanout.is_power_of_two() && (8..=1024).contains(&fanout)).then_some(Self(fanout))
    }

    /// The width that a node says it has, if it is one: as Kubo, a power of two from 8 to 1024.
    pub(crate) fn of(unixfs: &UnixFs) -> Option<Self> {
        if unixfs.hash_type == Some(MURMUR3) { Self::new(unixfs.fanout?) } else { None }
    }

    /// Characters before a name in a link of a node: its place, in hexadecimal.
    pub(crate) fn prefix_len(self) -> usize {
        ((self.0 - 1).ilog2() / 4 + 1) as usize
    }

    /// The characters of a place.
    pub(crate) fn prefix(self, place: u64) -> String {
        format!("{place:0width$X}", width = self.prefix_len())
    }

    /// Where a name stands in a node so many levels below the root; `None` when its hash has no more bits.
    pub(crate) fn place(self, hash: u64, level: u32) -> Option<u64> {
        let bits = self.0.ilog2();
        let used = (level + 1).checked_mul(bits).filter(|used| *used <= HASH_BITS)?;
        Some((hash >> (HASH_BITS - used)) & (self.0 - 1))
    }
}

/// The hash of a name: the first half of murmur3's.
pub(crate) fn hash(name: &str) -> u64 {
    murmur3::murmur3_x64_128(&mut name.as_bytes(), 0).expect("reading from memory does not fail") as u64
}

/// The places of entries by the hashes of their names, which is the order of the trie; of several with the same name the
/// last one.
pub(crate) fn by_hash(entries: &Entries) -> Vec<(u64, Place)> {
    let mut by_hash: Vec<(u64, Place)> = entries.iter().map(|(place, packed)| (hash(packed.name), place)).collect();
    // Last ones first: of equal ones the first is kept.
    by_hash.sort_unstable_by_key(|(hash, place)| (*hash, Reverse(*place)));
    by_hash.dedup_by(|later, kept| later.0 == kept.0 && entries.get(later.1).name == entries.get(kept.1).name);
    by_hash
}

/// Makes the blocks of a large directory. Two names with the same hash cannot both be in it; that is `None`.
pub(crate) fn build(
    entries: &Entries,
    by_hash: &[(u64, Place)],
    form: &Form,
    attributes: Attributes,
    out: &mut dyn FnMut(Block),
) -> Option<Entry> {
    shard(entries, by_hash, 0, form, attributes, out)
}

/// The node over entries whose hashes begin alike.
fn shard(
    entries: &Entries,
    by_hash: &[(u64, Place)],
    level: u32,
    form: &Form,
    attributes: Attributes,
    out: &mut dyn FnMut(Block),
) -> Option<Entry> {
    let width = form.width;
    // When the hashes have no more bits, neither has a place for its own.
    width.place(0, level)?;
    let mut bits = vec![0_u8; width.0 as usize / 8];
    let mut links = Vec::with_capacity(by_hash.len().min(width.0 as usize));
    for alike in by_hash.chunk_by(|one, other| width.place(one.0, level) == width.place(other.0, level)) {
        let place = width.place(alike[0].0, level)?;
        let from_end = bits.len() - 1 - place as usize / 8;
        bits[from_end] |= 1 << (place % 8);
        let prefix = width.prefix(place);
        let (name, entry) = match alike {
            [(_, only)] => {
                let packed = entries.get(*only);
                (prefix + packed.name, packed.entry())
            }
            several => (prefix, shard(entries, several, level + 1, form, Attributes::NONE, out)?),
        };
        links.push(Link { cid: entry.cid, name, tsize: entry.tsize });
    }
    // A number, and so without zeros in front.
    let first = bits.iter().position(|byte| *byte != 0).unwrap_or(bits.len());
    let unixfs = UnixFs {
        data: Bytes::copy_from_slice(&bits[first..]),
        hash_type: Some(MURMUR3),
        fanout: Some(width.0),
        attributes,
        ..UnixFs::new(Kind::Shard)
    };
    let below: u64 = links.iter().map(|link| link.tsize).sum();
    let data = Node { links, data: unixfs.encode() }.encode();
    let (cid, tsize) = (form.naming.cid(DAG_PB, &data), below + data.len() as u64);
    out(Block { cid, data });
    Some(Entry { cid, tsize })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_from_the_front_of_the_hash() {
        let hash = 0xab_cd_ef_01_23_45_67_89;
        assert_eq!(
            (Width(256).place(hash, 0), Width(256).place(hash, 7), Width(256).place(hash, 8)),
            (Some(0xab), Some(0x89), None)
        );
        assert_eq!((Width(16).place(hash, 1), Width(16).prefix(0xb)), (Some(0xb), "B".into()));
        // Three bits at a time: 0xabc is 101 010 111 100.
        assert_eq!((Width(8).place(hash, 1), Width(8).place(hash, 2)), (Some(0b010), Some(0b111)));
        assert_eq!((Width(1024).prefix(5), Width(256).prefix(5)), ("005".into(), "05".into()));
    }
}
