//! The recorded cases of the reference, played against our programs: each is equal, or named with the reason why not.
//!
//! `tests/data/golden/*.json.gz` are the recordings, `named.json` the deliberate differences: patterns of case names
//! (`*` stands for anything) and a reason. A case that differs without being named fails the test.

mod compare;
mod http;
mod pinsvc;
mod proxy;
mod service;
mod world;

use compare::Outcome;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden").join(name)
}

/// The recordings of one file.
fn recordings(file: &str) -> Value {
    let packed = std::fs::File::open(data(&format!("{file}.json.gz"))).expect("the recordings are there");
    serde_json::from_reader(GzDecoder::new(packed)).expect("the recordings are JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// A reason for a difference, and the cases that it holds for.
struct Named {
    patterns: Vec<String>,
    reason: String,
}

fn named(file: &str) -> Vec<Named> {
    let text = std::fs::read_to_string(data("named.json")).expect("named.json is there");
    let list: Value = serde_json::from_str(&text).expect("named.json is JSON");
    let of_file = list[file].as_object().expect("named.json has the file").iter();
    let patterns =
        |value: &Value| value.as_array().into_iter().flatten().filter_map(|p| p.as_str().map(str::to_owned)).collect();
    of_file.map(|(reason, list)| Named { patterns: patterns(list), reason: reason.clone() }).collect()
}

/// Whether a pattern, in which `*` stands for anything, fits the whole name.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name
            .strip_prefix(head)
            .is_some_and(|tail| (0..=tail.len()).any(|at| tail.is_char_boundary(at) && fits(rest, &tail[at..]))),
    }
}

/// Whether a case may differ.
fn is_named(file: &str, name: &str) -> bool {
    named(file).iter().flat_map(|named| &named.patterns).any(|pattern| fits(pattern, name))
}

/// Whether a case would end the scenario for those after it, so that it is only named.
fn is_left_out(file: &str, name: &str) -> bool {
    let text = std::fs::read_to_string(data("named.json")).expect("named.json is there");
    let list: Value = serde_json::from_str(&text).expect("named.json is JSON");
    items(&list["left out"], file).filter_map(Value::as_str).any(|pattern| fits(pattern, name))
}

/// How many cases of a file are equal at least: a gain is written down in `named.json`, and not lost again.
fn floor(file: &str) -> usize {
    let text = std::fs::read_to_string(data("named.json")).expect("named.json is there");
    let list: Value = serde_json::from_str(&text).expect("named.json is JSON");
    list["equal at least"][file].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
}

/// Counts what was seen, and remembers what nobody has named.
struct Tally {
    file: &'static str,
    named: Vec<Named>,
    equal: usize,
    differing: Vec<usize>,
    unnamed: String,
}

impl Tally {
    fn new(file: &'static str) -> Self {
        let named = named(file);
        Self { file, differing: vec![0; named.len()], named, equal: 0, unnamed: String::new() }
    }

    fn add(&mut self, case: &Value, actual: &Outcome) {
        let name = text(case, "name");
        match compare::differences(case, actual) {
            None => self.equal += 1,
            Some(found) => match self.named.iter().position(|n| n.patterns.iter().any(|p| fits(p, name))) {
                Some(at) => self.differing[at] += 1,
                None => writeln!(self.unnamed, "## {name}\n{found}").expect("a text can be written to"),
            },
        }
    }

    /// The same; a case that is equal once it is in another form counts as named by the reason for that.
    fn add_in_form(&mut self, case: &Value, actual: &Outcome, reason: &str, in_form: &Value) {
        let equal = |case: &Value| compare::differences(case, actual).is_none();
        match self.named.iter().position(|named| named.reason == reason) {
            Some(at) if !equal(case) && equal(in_form) => self.differing[at] += 1,
            Some(_) if equal(case) => self.equal += 1,
            _ => self.add(in_form, actual),
        }
    }

    /// Prints the counts; fails when a difference has no name.
    fn finish(self) {
        let named: usize = self.differing.iter().sum();
        println!("golden {}: {} equal, {named} named", self.file, self.equal);
        for (named, count) in self.named.iter().zip(&self.differing) {
            println!("  {count:4}  {}", named.reason);
        }
        if let Some(path) = std::env::var_os("GOLDEN_REPORT") {
            std::fs::write(Path::new(&path).join(self.file), &self.unnamed).expect("the report can be written");
        }
        let floor = floor(self.file);
        assert!(self.equal >= floor, "{} cases of {} are equal, {floor} were", self.equal, self.file);
        assert!(self.unnamed.is_empty(), "cases that differ and are not named:\n{}", self.unnamed);
    }
}

#[test]
fn a_star_stands_for_anything() {
    assert!(fits("help/*", "help/--help") && fits("*", "") && fits("a*c*", "abcd"));
    assert!(!fits("help/*", "init/default") && !fits("a*c", "abcd"));
}
