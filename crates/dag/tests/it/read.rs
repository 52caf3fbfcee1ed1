//! What was written is read back: whole files, ranges, listings and paths.

use crate::add::{add, content, many, options};
use crate::car::open;
use bytes::Bytes;
use cid::Cid;
use dag::read::{Content, FileReader, List, ListedEntry, ReadError, Resolve, content_of};
use dag::tree::Directory;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::HashMap;
use std::ops::Range;

type Blocks = HashMap<Cid, Bytes>;

fn read(root: Cid, blocks: &Blocks, range: Range<u64>) -> Result<Vec<u8>, ReadError> {
    let (mut reader, mut out) = (FileReader::new(root, range), Vec::new());
    while let Some(cid) = reader.need() {
        out.extend_from_slice(&reader.supply(&blocks[&cid])?);
    }
    Ok(out)
}

fn list(root: Cid, blocks: &Blocks) -> Vec<ListedEntry> {
    let (mut list, mut out) = (List::new(root), Vec::new());
    while let Some(cid) = list.need() {
        out.extend(list.supply(&blocks[&cid]).expect("a directory"));
    }
    out
}

fn resolve(root: Cid, path: &str, blocks: &Blocks) -> Result<Resolve, ReadError> {
    let mut resolve = Resolve::new(root, path);
    while let Some(cid) = resolve.need() {
        resolve.supply(&blocks[&cid])?;
    }
    Ok(resolve)
}

fn file(blocks: &mut Blocks, input: &Value, case: &Value) -> Cid {
    let (mut tree, options) = (Directory::default(), options(case).expect("options"));
    add(input, "f", options, &mut tree, blocks);
    tree.finish_entry("f", options.naming, &mut |_| {}, &mut |_, _| {}).expect("finished").expect("there").cid
}

#[test]
fn every_recorded_file_is_read_back() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../data/add_cids.json")).expect("cases");
    let mut files = 0;
    for case in &cases {
        let input = &case["input"][0];
        if matches!(input["kind"].as_str(), Some("dir" | "symlink")) || options(case).is_none() {
            continue;
        }
        // Larger ones are cut as these are, and take long.
        if input["len"].as_u64().is_some_and(|length| length > 1_100_000) {
            continue;
        }
        let (mut blocks, bytes) = (HashMap::new(), content(input));
        let root = file(&mut blocks, input, case);

        let length = bytes.len() as u64;
        assert_eq!(read(root, &blocks, 0..u64::MAX).expect("whole"), bytes, "{}", case["id"]);
        let Ok(Content::File { size }) = content_of(&root, &blocks[&root]) else { panic!("{} is no file", case["id"]) };
        assert_eq!(size, length);
        files += 1;
    }
    assert!(files > 100, "{files}");
}

#[test]
fn large_directories_list_and_resolve_every_name() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../data/add_cids.json")).expect("cases");
    let case = cases.iter().find(|case| case["id"] == "hamt-334").expect("recorded");
    let (mut blocks, mut tree, options) = (HashMap::new(), Directory::default(), options(case).expect("options"));
    add(&case["input"][0], "d", options, &mut tree, &mut blocks);
    let mut made = Vec::new();
    let root =
        tree.finish_entry("d", options.naming, &mut |b| made.push(b), &mut |_, _| {}).expect("ok").expect("there");
    blocks.extend(made.into_iter().map(|block| (block.cid, block.data)));

    let mut names: Vec<String> = list(root.cid, &blocks).into_iter().map(|entry| entry.name).collect();
    names.sort();

    let wanted = many(&case["input"][0]["many"]);
    assert!(names.iter().eq(wanted.iter().map(|(name, _)| name)));
    for (name, text) in wanted.iter().step_by(97) {
        let found = resolve(root.cid, name, &blocks).expect("there");
        assert_eq!(read(found.here(), &blocks, 0..100).expect("read"), text.as_bytes());
        assert_eq!(found.passed(), [root.cid, found.here()]);
    }
    let error = resolve(root.cid, "none", &blocks).expect_err("not there");
    assert!(error.to_string().starts_with("no link named \"none\" under "), "{error}");
}

#[test]
fn narrow_tries_of_others_are_read() {
    let (root, blocks) = open(include_bytes!("../data/car/hamt_small.car"));
    assert_eq!(list(root, &blocks).len(), 40);
    for i in 0..40 {
        let found = resolve(root, &format!("f{i:03}"), &blocks).expect("there").here();
        assert_eq!(read(found, &blocks, 0..10).expect("read"), i.to_string().as_bytes());
    }
}

#[test]
fn paths_lead_through_data() {
    let (root, blocks) = open(include_bytes!("../data/car/dag_cbor.car"));
    let ipld: ipld_core::ipld::Ipld = serde_ipld_dagcbor::from_slice(&blocks[&root]).expect("data");
    let ipld_core::ipld::Ipld::Map(map) = ipld else { panic!("no map") };
    let mut links = 0;
    for (key, value) in map {
        match value {
            ipld_core::ipld::Ipld::Link(cid) => {
                assert_eq!(resolve(root, &key, &blocks).expect("there").here(), cid);
                links += 1;
            }
            _ => assert!(matches!(
                resolve(root, &key, &blocks),
                Err(ReadError::WithinBlock(_) | ReadError::NoLink { .. })
            )),
        }
    }
    assert!(links > 0);
    assert!(matches!(resolve(root, "no such key", &blocks), Err(ReadError::NoLink { .. })));
    assert!(matches!(content_of(&root, &blocks[&root]), Ok(Content::Data)));
}

#[test]
fn the_layout_of_others_is_read() {
    let (root, blocks) = open(include_bytes!("../data/car/trickle.car"));
    let bytes = content(&serde_json::json!({ "kind": "xorshift", "seed": 1, "len": 20_000 }));
    assert!(read(root, &blocks, 0..u64::MAX).expect("whole") == bytes);
    assert!(read(root, &blocks, 9_999..10_101).expect("part") == bytes[9_999..10_101]);
}

#[test]
fn a_file_whose_pieces_are_not_as_long_as_it_says_is_refused() {
    let (root, mut blocks) = open(include_bytes!("../data/car/trickle.car"));
    let leaf = *blocks.keys().find(|cid| cid.codec() == dag::RAW).expect("a leaf");
    blocks.insert(leaf, Bytes::from_static(b"short"));
    assert_eq!(read(root, &blocks, 0..u64::MAX), Err(ReadError::NotUnixFs(leaf)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn ranges_are_cut_where_they_should_be(length in 0_usize..60_000, chunk in 1_usize..400, a in 0_u64..70_000, b in 0_u64..70_000) {
        let input = serde_json::json!({ "kind": "xorshift", "seed": 7, "len": length });
        let case = serde_json::json!({ "options": { "chunker": format!("size-{chunk}"), "raw-leaves": "true" } });
        let mut blocks = HashMap::new();
        let root = file(&mut blocks, &input, &case);
        let bytes = content(&input);

        let (from, to) = (a.min(b), a.max(b));
        let wanted = &bytes[(from as usize).min(length)..(to as usize).min(length)];
        prop_assert_eq!(read(root, &blocks, from..to).expect("read"), wanted);
    }
}

/// Runs every machine over blocks that an attacker made up; what is not there is what is asked for again.
fn read_everything(root: Cid, blocks: &Blocks) {
    let any = blocks.values().next().cloned().unwrap_or_default();
    let get = |cid: Cid| blocks.get(&cid).cloned().unwrap_or_else(|| any.clone());
    let mut reader = FileReader::new(root, 3..u64::MAX);
    let mut list = List::new(root);
    let mut path = Resolve::new(root, "f001/0/x");
    let mut walk = dag::links::Walk::new(root);
    // A DAG that leads back to its own blocks has no end.
    let _any_answer = content_of(&root, &get(root));
    for _ in 0..200 {
        if let Some(cid) = reader.need() {
            let _any_answer = reader.supply(&get(cid));
        }
        if let Some(cid) = list.need() {
            let _any_answer = list.supply(&get(cid));
        }
        if let Some(cid) = path.need() {
            let _any_answer = path.supply(&get(cid));
        }
        if let Some(cid) = walk.next() {
            let _any_answer = walk.supply(&cid, &get(cid));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn no_block_makes_a_reader_panic(which in 0_usize..4, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let files: [&[u8]; 4] = [
            include_bytes!("../data/car/hamt_small.car"),
            include_bytes!("../data/car/trickle.car"),
            include_bytes!("../data/car/dag_cbor.car"),
            include_bytes!("../data/car/dir_nested_v1.car"),
        ];
        let (root, blocks) = open(files[which]);
        // In an order that is the same in every run.
        let mut blocks: Vec<(Cid, Vec<u8>)> = blocks.into_iter().map(|(cid, data)| (cid, data.to_vec())).collect();
        blocks.sort();
        for (block, byte, value) in changes {
            let at = block.index(blocks.len());
            let (_, data) = &mut blocks[at];
            if !data.is_empty() {
                let at = byte.index(data.len());
                data[at] = value;
            }
        }
        let blocks = blocks.into_iter().map(|(cid, data)| (cid, data.into())).collect();
        read_everything(root, &blocks);
    }
}
