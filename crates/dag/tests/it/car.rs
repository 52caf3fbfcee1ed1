//! Walks and CAR files against exports of Kubo 0.44.

use bytes::Bytes;
use cid::Cid;
use dag::car;
use dag::car::read::{CarError, Item, Reader};
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

/// What a file has in it, pushed in pieces of this many bytes.
fn read(file: &[u8], piece: usize) -> Result<(Vec<Cid>, Vec<Cid>), CarError> {
    let (mut reader, mut roots, mut blocks) = (Reader::default(), Vec::new(), Vec::new());
    for piece in file.chunks(piece) {
        reader.push(piece, &mut |item| match item {
            Item::Roots(listed) => roots = listed,
            Item::Block(block) => blocks.push(block.cid),
        })?;
    }
    reader.finish()?;
    Ok((roots, blocks))
}

/// The recorded files: how many roots and blocks they have, or why they are refused. Kubo refuses the same ones.
#[test]
fn files_of_every_kind_are_read_or_refused() {
    let roots_and_blocks = |file: &[u8]| {
        let one = read(file, 1);
        assert_eq!(one, read(file, 1000), "in other pieces");
        one.map(|(roots, blocks)| (roots.len(), blocks.len())).map_err(|error| error.to_string())
    };
    macro_rules! file {
        ($name:literal) => {
            roots_and_blocks(include_bytes!(concat!("../data/car/", $name, ".car")))
        };
    }
    assert_eq!(file!("dir_nested_v1"), Ok((1, 7)));
    assert_eq!(file!("carv2_no_index"), Ok((1, 7)));
    assert_eq!(file!("carv2_index_sorted"), Ok((1, 7)));
    assert_eq!(file!("multi_root"), Ok((2, 8)));
    assert_eq!(file!("no_roots"), Ok((0, 1)));
    assert_eq!(file!("header_only"), Ok((1, 0)));
    assert_eq!(file!("duplicate_blocks"), Ok((1, 3)));
    assert_eq!(file!("identity_section"), Ok((1, 0)));
    assert_eq!(file!("hash_blake3"), Ok((1, 2)));
    let refused = |text: &str| Err(text.to_owned());
    assert_eq!(roots_and_blocks(&[]), refused("EOF"));
    for truncated in [file!("truncated_block"), file!("truncated_header"), file!("truncated_in_varint_or_cid")] {
        assert_eq!(truncated, refused("unexpected EOF"));
    }
    let wrong = file!("wrong_hash").expect_err("a lie");
    assert!(wrong.starts_with("mismatch in content integrity, name: bafkreibkndny6z"), "{wrong}");
    assert!(wrong.ends_with("data: bafkreif2kmx7me6x35mzczmj4op4nxe5y4nwdp372ffczggbfqrcu3h5he"), "{wrong}");
    assert_eq!(file!("version_3"), refused("invalid car version: 3"));
    for refused in [file!("trailing_zero"), file!("garbage"), file!("section_too_long")] {
        assert!(refused.is_err());
    }
}

#[test]
fn no_file_makes_the_reader_panic() {
    let files: [&[u8]; 2] =
        [include_bytes!("../data/car/carv2_index_sorted.car"), include_bytes!("../data/car/multi_root.car")];
    // Every byte of the headers and the first blocks, and every end.
    for file in files {
        for at in 0..400 {
            for bit in 0..8 {
                let mut changed = file.to_vec();
                changed[at] ^= 1 << bit;
                let _refused_or_not = read(&changed, 777);
            }
            let cut = read(&file[..at], 777);
            // Version 2 says how long it is; one of version 1 can end behind any block.
            assert!(cut.is_err() || file == files[1], "it ends after {at} bytes");
        }
    }
}
