//! Roots and sizes of files and directories, recorded from Kubo 0.44.

use bytes::Bytes;
use cid::Cid;
use dag::file::{FileBuilder, Options};
use dag::hash::{HashFunction, Naming, verify};
use dag::options::{Chunker, Layout};
use dag::pb::Attributes;
use dag::tree::{Directory, Entry, Form, Width, symlink};
use serde_json::{Value, json};
use std::collections::HashMap;

/// What the recording says of its generators.
pub(crate) fn content(input: &Value) -> Vec<u8> {
    let length = input["len"].as_u64().unwrap_or(0) as usize;
    match input["kind"].as_str().expect("a kind") {
        "xorshift" => {
            let mut x = input["seed"].as_u64().expect("a seed");
            let mut out = Vec::with_capacity(length + 8);
            while out.len() < length {
                x ^= x >> 12;
                x ^= x << 25;
                x ^= x >> 27;
                out.extend_from_slice(&x.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
            }
            out.truncate(length);
            out
        }
        "const" => vec![input["byte"].as_u64().expect("a byte") as u8; length],
        "lines" => {
            let mut out = String::new();
            for number in 0.. {
                if out.len() >= length {
                    break;
                }
                out.push_str(&format!("line {number}\n"));
            }
            out.truncate(length);
            out.into_bytes()
        }
        "text" => input["text"].as_str().expect("a text").as_bytes().to_vec(),
        other => panic!("{other}"),
    }
}

/// Names and texts of a directory's many files.
pub(crate) fn many(input: &Value) -> Vec<(String, String)> {
    let text = |key: &str| input[key].as_str().unwrap_or("");
    let width = input["width"].as_u64().unwrap_or(0) as usize;
    let fill = |i: u64| {
        let name = text("name").replace("{i:0W}", &format!("{i:0width$}"));
        (name, text("text").replace("{i}", &i.to_string()))
    };
    (0..input["count"].as_u64().unwrap_or(0)).map(fill).collect()
}

pub(crate) fn options(case: &Value) -> Option<Options> {
    let text = |key: &str| case["options"][key].as_str();
    let version_1 = text("cid-version") == Some("1");
    let hash = HashFunction::by_name(text("hash").unwrap_or(""))?;
    // As Kubo: another hash function than the default means version 1.
    let version_1 = version_1 || hash != HashFunction::Sha2_256;
    let limit = text("inline-limit").map_or(32, |text| text.parse().expect("a number"));
    let inline = (text("inline") == Some("true")).then_some(limit);
    let has_attributes = ["mode", "mtime", "preserve-mode", "preserve-mtime"].iter().any(|key| text(key).is_some());
    Some(Options {
        chunker: Chunker::parse(text("chunker").unwrap_or("")).ok()?,
        raw_leaves: text("raw-leaves").map_or(version_1 && !has_attributes, |text| text == "true"),
        naming: Naming { version_1, hash, inline },
        layout: if text("trickle") == Some("true") { Layout::Trickle } else { Layout::Balanced },
        links_max: text("max-file-links").map_or(174, |text| text.parse().expect("a number")),
        ..Options::default()
    })
}

/// Adds an input; its blocks are collected.
pub(crate) fn add(input: &Value, path: &str, options: Options, root: &mut Directory, blocks: &mut HashMap<Cid, Bytes>) {
    let mut out = |block: dag::Block| {
        assert!(verify(&block.cid, &block.data), "{}", block.cid);
        blocks.insert(block.cid, block.data);
    };
    match input["kind"].as_str().expect("a kind") {
        "dir" => {
            root.make(path).expect("a directory");
            for entry in input["entries"].as_array().expect("entries") {
                let path = format!("{path}/{}", entry["name"].as_str().expect("a name"));
                add(entry, &path, options, root, blocks);
            }
            for (name, text) in many(&input["many"]) {
                let file = json!({ "kind": "text", "text": text });
                add(&file, &format!("{path}/{name}"), options, root, blocks);
            }
        }
        "symlink" => {
            let entry = symlink(input["target"].as_str().expect("a target"), None, options.naming, &mut out);
            root.put(path, entry).expect("put");
        }
        _ => {
            let mut builder = FileBuilder::new(options);
            // In pieces that fit no chunk, as they come from a network.
            content(input).chunks(100_003).for_each(|piece| builder.push(piece, &mut out));
            let file = builder.finish(&mut out);
            root.put(path, Entry { cid: file.cid, tsize: file.tsize }).expect("put");
        }
    }
}

#[test]
fn roots_and_sizes_are_kubo_s() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../data/add_cids.json")).expect("cases");
    let (mut equal, mut skipped) = (0, Vec::new());
    for case in &cases {
        let name = case["id"].as_str().expect("an id");
        let Some(options) = options(case) else {
            skipped.push(name);
            continue;
        };
        let (inputs, mut tree, mut blocks) =
            (case["input"].as_array().expect("inputs"), Directory::default(), HashMap::new());
        // A part without a name is named by its CID, which is up to whoever reads the form.
        if inputs.iter().any(|input| input["name"].is_null()) {
            skipped.push(name);
            continue;
        }
        let mut top = "";
        for input in inputs {
            let path = input["name"].as_str().expect("a name");
            top = path.split('/').next().expect("a first part");
            add(input, path, options, &mut tree, &mut blocks);
        }
        let mut none = |_: dag::Block| {};
        let wrapped = case["options"]["wrap-with-directory"].as_str() == Some("true");
        let root = match wrapped {
            true => tree.finish("", options.naming, &mut none, &mut |_, _| {}).expect("finished"),
            false => tree
                .finish_entry(top, options.naming, &mut none, &mut |_, _| {})
                .expect("finished")
                .unwrap_or_else(|| panic!("{name}")),
        };
        assert_eq!(root.cid.to_string(), case["root"].as_str().expect("a root"), "{name}");
        assert_eq!(Some(root.tsize), case["size"].as_u64(), "{name}");
        equal += 1;
    }
    println!("{equal} recorded adds are equal; out of reach: {skipped:?}");
    assert_eq!((equal, skipped.len()), (236, 4));
}

/// What the adder makes of Kubo's options: what came with an entry where that is to be kept, else what holds for all.
fn attributes(entry: &Value, case: &Value) -> Attributes {
    let text = |key: &str| case["options"][key].as_str();
    let octal = |text: &str| u32::from_str_radix(text, 8).expect("octal");
    let mode = if text("preserve-mode").is_some() { entry["mode"].as_str() } else { text("mode") };
    let number = |key: &str| text(key).map(|text| text.parse::<i64>().expect("a number"));
    let (seconds, nanos) = match text("preserve-mtime") {
        Some(_) => (entry["mtime"].as_i64(), entry["mtime_nsecs"].as_i64()),
        None => (number("mtime"), number("mtime-nsecs")),
    };
    Attributes { mode: mode.map_or(0, octal), mtime: seconds.map(|seconds| (seconds, nanos.unwrap_or(0) as u32)) }
}

fn add_with_attributes(input: &Value, path: &str, case: &Value, root: &mut Directory) {
    let attributes = attributes(input, case);
    let options = Options { attributes, ..options(case).expect("options") };
    let mut out = |block: dag::Block| assert!(verify(&block.cid, &block.data), "{}", block.cid);
    match input["kind"].as_str().expect("a kind") {
        "dir" => {
            root.make(path).expect("a directory").set_attributes(attributes);
            for entry in input["entries"].as_array().expect("entries") {
                add_with_attributes(entry, &format!("{path}/{}", entry["name"].as_str().expect("a name")), case, root);
            }
            for (name, text) in many(&input["many"]) {
                let file = json!({ "kind": "text", "text": text });
                add_with_attributes(&file, &format!("{path}/{name}"), case, root);
            }
        }
        "symlink" => {
            let target = input["target"].as_str().expect("a target");
            root.put(path, symlink(target, attributes.mtime, options.naming, &mut out)).expect("put");
        }
        _ => {
            let mut builder = FileBuilder::new(options);
            builder.push(&content(input), &mut out);
            let file = builder.finish(&mut out);
            root.put(path, Entry { cid: file.cid, tsize: file.tsize }).expect("put");
        }
    }
}

/// Recorded from Kubo 0.44: blocks within names, widths of nodes, more hash functions, modes and times.
#[test]
fn what_the_reference_does_not_know_is_kubo_s_too() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../data/beyond.json")).expect("cases");
    for case in &cases {
        let naming = options(case).expect("options").naming;
        let number = |key: &str| case["options"][key].as_str().map(|text| text.parse::<u64>().expect("a number"));
        let form = Form {
            naming,
            links_max: number("max-directory-links").map(|most| most as usize),
            width: number("max-hamt-fanout").map_or_else(Width::default, |width| Width::new(width).expect("a width")),
        };
        let (mut tree, input, mut none) = (Directory::default(), &case["input"][0], |_: dag::Block| {});
        let name = input["name"].as_str().expect("a name");
        add_with_attributes(input, name, case, &mut tree);
        let root = if case["options"]["wrap-with-directory"].is_string() {
            tree.set_attributes(Attributes { ..attributes(&json!({}), case) });
            tree.finish("", form, &mut none, &mut |_, _| {}).expect("finished")
        } else {
            tree.finish_entry(name, form, &mut none, &mut |_, _| {}).expect("finished").expect("there")
        };
        assert_eq!(root.cid.to_string(), case["root"].as_str().expect("a root"), "{} {}", case["id"], case["options"]);
    }
    assert_eq!(cases.len(), 32);
}

#[test]
fn pieces_end_where_kubo_ends_them() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../data/chunks.json")).expect("cases");
    for case in &cases {
        let chunker = case["chunker"].as_str().expect("a chunker");
        let options = Options {
            chunker: Chunker::parse(chunker).expect("a chunker"),
            raw_leaves: true,
            naming: Naming { version_1: true, ..Naming::default() },
            ..Options::default()
        };
        let (content, mut lengths) = (content(&case["input"]), Vec::new());
        // However they come.
        for length in [1_000, 100_003, 3 << 20] {
            lengths.clear();
            let mut builder = FileBuilder::new(options);
            let mut leaves = |block: dag::Block| {
                if block.cid.codec() == dag::RAW {
                    lengths.push(block.data.len())
                }
            };
            content.chunks(length).for_each(|piece| builder.push(piece, &mut leaves));
            let root = builder.finish(&mut leaves);
            assert_eq!(root.cid.to_string(), case["root"].as_str().expect("a root"), "{chunker}: {}", case["input"]);
        }
        let offsets: Vec<u64> = serde_json::from_value(case["offsets"].clone()).expect("offsets");
        let expected: Vec<usize> = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).collect();
        assert_eq!(lengths, expected, "{chunker}: {}", case["input"]);
    }
    assert_eq!(cases.len(), 21);
}
