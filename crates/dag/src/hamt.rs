//! Large directories: a trie over the hashes of names, as the UnixFS specification and Kubo build it (HAMT, hashed with
//! `murmur3-x64-64`). Written with 256 children a node; read with any width that Kubo takes.

use crate::hash::Naming;
use crate::pb::{Kind, Link, Node, UnixFs};
use crate::tree::Entry;
use crate::{Block, DAG_PB};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Multicodec of the hash function of names.
const MURMUR3: u64 = 0x22;

/// Bits of the hash of a name.
const HASH_BITS: u32 = 64;

/// How wide a node of the trie is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Width(u64);

/// What directories are written with.
const WRITTEN: Width = Width(256);

impl Width {
    /// The width that a node says it has, if it is one: as Kubo, a power of two from 8 to 1024.
    pub(crate) fn of(unixfs: &UnixFs) -> Option<Self> {
        let fanout = unixfs.fanout?;
        (unixfs.hash_type == Some(MURMUR3) && fanout.is_power_of_two() && (8..=1024).contains(&fanout))
            .then_some(Self(fanout))
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

enum Slot {
    Value(u64, String, Entry),
    Shard(BTreeMap<u64, Slot>),
}

/// Makes the blocks of a large directory. Two names with the same hash cannot both be in it; that is `None`.
pub(crate) fn build(links: Vec<Link>, naming: Naming, out: &mut dyn FnMut(Block)) -> Option<Entry> {
    let mut root = BTreeMap::new();
    for link in links {
        let entry = Entry { cid: link.cid, tsize: link.tsize };
        insert(&mut root, 0, Slot::Value(hash(&link.name), link.name, entry))?;
    }
    Some(finish(root, naming, out))
}

fn insert(slots: &mut BTreeMap<u64, Slot>, level: u32, value: Slot) -> Option<()> {
    let Slot::Value(hash, ..) = value else { return None };
    let place = WRITTEN.place(hash, level)?;
    let now = match slots.remove(&place) {
        None => value,
        Some(Slot::Shard(mut below)) => {
            insert(&mut below, level + 1, value)?;
            Slot::Shard(below)
        }
        Some(other) => {
            let mut below = BTreeMap::new();
            insert(&mut below, level + 1, other)?;
            insert(&mut below, level + 1, value)?;
            Slot::Shard(below)
        }
    };
    slots.insert(place, now);
    Some(())
}

fn finish(slots: BTreeMap<u64, Slot>, naming: Naming, out: &mut dyn FnMut(Block)) -> Entry {
    let mut bits = vec![0_u8; WRITTEN.0 as usize / 8];
    let mut links = Vec::with_capacity(slots.len());
    for (place, slot) in slots {
        let from_end = bits.len() - 1 - place as usize / 8;
        bits[from_end] |= 1 << (place % 8);
        let prefix = WRITTEN.prefix(place);
        let (name, entry) = match slot {
            Slot::Value(_, name, entry) => (prefix + &name, entry),
            Slot::Shard(below) => (prefix, finish(below, naming, out)),
        };
        links.push(Link { cid: entry.cid, name, tsize: entry.tsize });
    }
    // A number, and so without zeros in front.
    let first = bits.iter().position(|byte| *byte != 0).unwrap_or(bits.len());
    let unixfs = UnixFs {
        data: Bytes::copy_from_slice(&bits[first..]),
        hash_type: Some(MURMUR3),
        fanout: Some(WRITTEN.0),
        ..UnixFs::new(Kind::Shard)
    };
    let below: u64 = links.iter().map(|link| link.tsize).sum();
    let data = Node { links, data: unixfs.encode() }.encode();
    let (cid, tsize) = (naming.cid(DAG_PB, &data), below + data.len() as u64);
    out(Block { cid, data });
    Entry { cid, tsize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_from_the_front_of_the_hash() {
        let hash = 0xab_cd_ef_01_23_45_67_89;
        assert_eq!(
            (WRITTEN.place(hash, 0), WRITTEN.place(hash, 7), WRITTEN.place(hash, 8)),
            (Some(0xab), Some(0x89), None)
        );
        assert_eq!((Width(16).place(hash, 1), Width(16).prefix(0xb)), (Some(0xb), "B".into()));
        // Three bits at a time: 0xabc is 101 010 111 100.
        assert_eq!((Width(8).place(hash, 1), Width(8).place(hash, 2)), (Some(0b010), Some(0b111)));
        assert_eq!((Width(1024).prefix(5), Width(256).prefix(5)), ("005".into(), "05".into()));
    }
}
