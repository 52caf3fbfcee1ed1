//! Readers of what strangers send, given almost right bytes: they refuse, or what they tell holds.

use bytes::Bytes;
use cid::Cid;
use cluster_testkit::mutate::fuzz;
use dag::car::read::{Item, Reader};
use dag::hash::verify;
use dag::links::links_of;
use dag::pb::{Node, UnixFs};
use dag::read::content_of;

/// The codec of nodes that are no dag-pb.
const DAG_CBOR: u64 = 0x71;

const CARS: &[&[u8]] = &[
    include_bytes!("../data/car/carv2_index_sorted.car"),
    include_bytes!("../data/car/carv2_no_index.car"),
    include_bytes!("../data/car/multi_root.car"),
    include_bytes!("../data/car/dag_cbor.car"),
    include_bytes!("../data/car/identity_section.car"),
    include_bytes!("../data/car/hash_blake3.car"),
];

/// What a file has in it, pushed in pieces, and why it ended.
fn items(file: &[u8], piece: usize) -> (Vec<Item>, Option<String>) {
    let (mut reader, mut items) = (Reader::default(), Vec::new());
    for piece in file.chunks(piece) {
        if let Err(error) = reader.push(piece, &mut |item| items.push(item)) {
            return (items, Some(error.to_string()));
        }
    }
    (items, reader.finish().err().map(|error| error.to_string()))
}

#[test]
fn fuzz_car_files() {
    fuzz("the reader of CAR files", CARS, |file| {
        let read = items(file, 100);
        assert_eq!(read, items(file, file.len().max(1)), "in other pieces it is another file");
        let mut bytes = 0;
        for item in &read.0 {
            if let Item::Block(block) = item {
                assert!(verify(&block.cid, &block.data), "{} is not checked", block.cid);
                bytes += block.data.len();
            }
        }
        assert!(bytes <= file.len());
    });
}

/// The nodes of the recorded files.
fn nodes() -> Vec<(Cid, Bytes)> {
    let files = [
        include_bytes!("../data/car/dir_nested_v1.car").as_slice(),
        include_bytes!("../data/car/hamt_small.car"),
        include_bytes!("../data/car/trickle.car"),
        include_bytes!("../data/car/dag_cbor.car"),
    ];
    let mut out: Vec<(Cid, Bytes)> = Vec::new();
    for file in files {
        let (read, _) = items(file, file.len());
        let blocks = read.into_iter().filter_map(|item| match item {
            Item::Block(block) if block.cid.codec() != dag::RAW => Some((block.cid, block.data)),
            _ => None,
        });
        // Most are alike.
        out.extend(blocks.take(20));
    }
    out
}

#[test]
fn fuzz_blocks_of_dag_pb_and_unixfs() {
    let nodes = nodes();
    let samples: Vec<&[u8]> = nodes.iter().map(|(_, data)| &data[..]).collect();
    let of = |codec| nodes.iter().map(|(cid, _)| *cid).find(|cid| cid.codec() == codec).expect("a node of each codec");
    let (pb, cbor) = (of(dag::DAG_PB), of(DAG_CBOR));
    fuzz("the reader of blocks", &samples, |bytes| {
        let block = Bytes::copy_from_slice(bytes);
        for cid in [pb, cbor] {
            let links = links_of(&cid, &block).map_or(0, |links| links.len());
            assert!(links <= block.len(), "more links than bytes");
        }
        let _any_answer = content_of(&pb, &block);
        let Ok(node) = Node::decode(&block) else { return };
        // What was understood is written so that it is understood as the same.
        assert_eq!(Node::decode(&node.encode()).as_ref(), Ok(&node));
        if let Ok(unixfs) = UnixFs::decode(&node.data) {
            assert_eq!(UnixFs::decode(&unixfs.encode()).as_ref(), Ok(&unixfs));
        }
    });
}
