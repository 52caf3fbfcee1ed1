//! The finished entries of a directory, packed: about 50 bytes for each, where a million may come.

use crate::tree::Entry;
use cid::Cid;
use unsigned_varint::{decode, encode};

/// Bytes that are allocated at a time once there are many: what is behind stays where it is.
const CHUNK: usize = 256 << 10;

/// Names with what they lead to, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// Records: lengths of name and CID, name, CID, bytes below.
    chunks: Vec<Vec<u8>>,
    count: usize,
}

/// Where an entry is; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u64);

/// An entry as it is packed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed<'a> {
    pub(crate) name: &'a str,
    cid: &'a [u8],
    tsize: u64,
}

impl Packed<'_> {
    /// What the name leads to.
    pub(crate) fn entry(&self) -> Entry {
        let cid = Cid::try_from(self.cid).expect("the bytes of a CID");
        Entry { cid, tsize: self.tsize }
    }

    /// Bytes of its name and its CID.
    pub(crate) fn bytes(&self) -> usize {
        self.name.len() + self.cid.len()
    }
}

impl Entries {
    pub(crate) fn push(&mut self, name: &str, entry: Entry) {
        let cid = entry.cid.to_bytes();
        let mut numbers = [encode::u64_buffer(), encode::u64_buffer(), encode::u64_buffer()];
        let [first, second, third] = &mut numbers;
        let parts = [
            encode::u64(name.len() as u64, first),
            encode::u64(cid.len() as u64, second),
            encode::u64(entry.tsize, third),
            name.as_bytes(),
            &cid,
        ];
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let chunk = self.room(bytes);
        parts.iter().for_each(|part| chunk.extend_from_slice(part));
        self.count += 1;
    }

    fn room(&mut self, bytes: usize) -> &mut Vec<u8> {
        let full = self.chunks.last().is_none_or(|chunk| !chunk.is_empty() && chunk.len() + bytes > CHUNK);
        if full {
            // A small directory takes no more room than it needs.
            let chunk = if self.chunks.is_empty() { Vec::new() } else { Vec::with_capacity(CHUNK.max(bytes)) };
            self.chunks.push(chunk);
        }
        let last = self.chunks.len() - 1;
        &mut self.chunks[last]
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// All of them, with their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Place, Packed<'_>)> {
        self.chunks.iter().enumerate().flat_map(|(number, chunk)| {
            let mut rest = chunk.as_slice();
            std::iter::from_fn(move || {
                let offset = chunk.len() - rest.len();
                let packed = (!rest.is_empty()).then(|| unpack(&mut rest))?;
                Some((Place((number as u64) << 32 | offset as u64), packed))
            })
        })
    }

    /// The one at a place.
    pub(crate) fn get(&self, place: Place) -> Packed<'_> {
        let (number, offset) = ((place.0 >> 32) as usize, place.0 as u32 as usize);
        unpack(&mut &self.chunks[number][offset..])
    }
}

fn unpack<'a>(bytes: &mut &'a [u8]) -> Packed<'a> {
    let mut number = || {
        let (number, rest) = decode::u64(bytes).expect("a number was packed");
        *bytes = rest;
        number
    };
    let (name, cid, tsize) = (number() as usize, number() as usize, number());
    let (name, rest) = bytes.split_at(name);
    let (cid, rest) = rest.split_at(cid);
    *bytes = rest;
    Packed { name: std::str::from_utf8(name).expect("a name is text"), cid, tsize }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Naming;

    #[test]
    fn entries_come_back_as_they_went_in() {
        let mut entries = Entries::default();
        let entry = |at: usize| {
            let naming = Naming { version_1: at.is_multiple_of(2), ..Naming::default() };
            Entry { cid: naming.cid(crate::DAG_PB, &at.to_le_bytes()), tsize: at as u64 * 1_000_003 }
        };
        let name = |at: usize| if at == 7 { "n".repeat(2 * CHUNK) } else { format!("name {at}") };
        (0..20_000).for_each(|at| entries.push(&name(at), entry(at)));

        assert_eq!(entries.len(), 20_000);
        let mut before = None;
        for (at, (place, packed)) in entries.iter().enumerate() {
            assert!(packed.name == name(at) && packed.entry() == entry(at), "{at}");
            assert!(before < Some(place) && entries.get(place).name == packed.name);
            before = Some(place);
        }
    }
}
