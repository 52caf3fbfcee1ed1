//! Walks and CAR files against exports of Kubo 0.44.

use bytes::Bytes;
use cid::Cid;
use dag::car;
use dag::links::{LinksError, Walk};
use std::collections::HashMap;

/// The root and the blocks of an export with one root.
pub(crate) fn open(file: &[u8]) -> (Cid, HashMap<Cid, Bytes>) {
    let mut rest = Bytes::copy_from_slice(file);
    let mut part = || {
        let (length, after) = unsigned_varint::decode::usize(&rest).expect("a length");
        let prefix = rest.len() - after.len();
        drop(rest.split_to(prefix));
        (rest.split_to(length), rest.is_empty())
    };
    let (header, mut ended) = part();
    // {"roots": [42(h'00 cid')], "version": 1}: the root stands between two texts of known length.
    let root = &header[b"..roots..X%.".len() + 1..header.len() - b".version.".len()];
    let root = Cid::try_from(root).or_else(|_| Cid::try_from(&root[1..])).expect("a root");
    let mut blocks = HashMap::new();
    while !ended {
        let (section, last) = part();
        let mut data = &section[..];
        let cid = Cid::read_bytes(&mut data).expect("a CID");
        blocks.insert(cid, section.slice(section.len() - data.len()..));
        ended = last;
    }
    (root, blocks)
}

fn written(root: Cid, blocks: &HashMap<Cid, Bytes>) -> Vec<u8> {
    let mut out = car::header(&root).to_vec();
    let mut walk = Walk::new(root);
    while let Some(cid) = walk.next() {
        let data = &blocks[&cid];
        assert!(dag::hash::verify(&cid, data));
        out.extend_from_slice(&car::section(&cid, data));
        walk.supply(&cid, data).expect("links");
    }
    out
}

#[test]
fn files_are_those_of_kubo() {
    for file in [
        include_bytes!("../data/car/dir_nested_v1.car").as_slice(),
        include_bytes!("../data/car/hamt_small.car"),
        include_bytes!("../data/car/dag_cbor.car"),
        include_bytes!("../data/car/inline_dir.car"),
        include_bytes!("../data/car/trickle.car"),
        include_bytes!("../data/car/file_dedup.car"),
        include_bytes!("../data/car/hash_blake3.car"),
    ] {
        let (root, blocks) = open(file);
        assert!(written(root, &blocks) == file, "{root}");
    }
}

#[test]
fn what_has_unknown_links_is_not_walked() {
    let cid: Cid = "baguqeeraafnl2724yv5c3wklowipaswybbbhhec64m7mltv6vzrco2ux7bra".parse().expect("a dag-json CID");
    let mut walk = Walk::new(cid);
    assert_eq!(walk.next(), Some(cid));
    assert_eq!(walk.supply(&cid, &Bytes::from_static(b"{}")), Err(LinksError::UnknownCodec(cid, 0x0129)));
}
