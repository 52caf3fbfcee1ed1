//! Tests of reading and writing sections, with a section of their own.

use super::*;
use cluster_types::GoDuration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Sample {
    listen_multiaddress: Strings,
    retries: i64,
    enabled: bool,
    interval: GoDuration,
    batching: Batching,
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
struct Batching {
    max_batch_size: i64,
    #[serde(skip_serializing_if = "is_zero")]
    max_queue_size: i64,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            listen_multiaddress: Strings(vec!["/ip4/127.0.0.1/tcp/9094".into()]),
            retries: 3,
            enabled: true,
            interval: GoDuration::from_secs(90),
            batching: Batching::default(),
            tags: BTreeMap::from([("group".into(), "default".into())]),
        }
    }
}

impl ComponentConfig for Sample {
    const SECTION: Section = Section::Api;
    const KEY: &'static str = "sample";
    const HIDDEN: &'static [(&'static str, &'static str)] = &[("batching.max_queue_size", "0")];

    fn validate(&self) -> Result<(), ConfigError> {
        if self.retries < 0 { Err(ConfigError::new("sample.retries", "sample.retries is invalid")) } else { Ok(()) }
    }
}

fn variables(list: &[(&str, &str)]) -> Environment {
    Environment(list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
}

#[test]
fn what_is_written_is_read_back() {
    let mut document = Document::new();
    let sample = Sample { retries: 7, ..Sample::default() };
    document.store(&sample);

    let again = Document::parse(&document.to_text()).expect("own text");

    assert_eq!(again.load(&Environment::default()), Ok(Loaded { config: sample, present: true }));
    assert!(document.to_text().contains("\"listen_multiaddress\": \"/ip4/127.0.0.1/tcp/9094\""));
    assert!(document.to_text().contains("\"interval\": \"1m30s\""));
}

#[test]
fn a_missing_section_has_its_defaults_and_says_that_it_is_missing() {
    let document = Document::parse(r#"{"api": {"other": {}, "sample": null}}"#).expect("json");
    assert_eq!(document.load(&Environment::default()), Ok(Loaded { config: Sample::default(), present: false }));
    assert_eq!(document.components(Section::Api), ["other"]);
}

#[test]
fn keys_match_whatever_their_case() {
    let document =
        Document::parse(r#"{"API": {"Sample": {"Retries": 5, "BATCHING": {"Max_Batch_Size": 2}}}}"#).expect("json");
    let loaded = document.load::<Sample>(&Environment::default()).expect("loads");
    assert_eq!((loaded.config.retries, loaded.config.batching.max_batch_size), (5, 2));
}

#[test]
fn variables_override_every_kind_of_key_and_hidden_ones_too() {
    let document = Document::parse(r#"{"api": {"sample": {"retries": 5}}}"#).expect("json");
    let environment = variables(&[
        ("CLUSTER_SAMPLE_RETRIES", "0x10"),
        ("CLUSTER_SAMPLE_ENABLED", "f"),
        ("CLUSTER_SAMPLE_LISTENMULTIADDRESS", "/ip4/0.0.0.0/tcp/1"),
        ("CLUSTER_SAMPLE_INTERVAL", "2h"),
        ("CLUSTER_SAMPLE_BATCHING_MAXQUEUESIZE", "9"),
        ("CLUSTER_SAMPLE_TAGS", "a:b,c:d"),
        ("CLUSTER_OTHER_RETRIES", "1"),
    ]);

    let config = document.load::<Sample>(&environment).expect("loads").config;

    assert_eq!(config.retries, 16);
    assert!(!config.enabled);
    assert_eq!(config.listen_multiaddress.0, ["/ip4/0.0.0.0/tcp/1"]);
    assert_eq!(config.interval, GoDuration::from_secs(7200));
    assert_eq!(config.batching.max_queue_size, 9);
    assert_eq!(config.tags.len(), 2);
}

#[test]
fn a_wrong_variable_is_named() {
    let error = Document::new().load::<Sample>(&variables(&[("CLUSTER_SAMPLE_RETRIES", "many")])).expect_err("refused");
    assert!(error.message.contains("CLUSTER_SAMPLE_RETRIES") && error.message.contains("many"), "{error}");

    let error = Document::new().load::<Sample>(&variables(&[("CLUSTER_SAMPLE_RETRIES", "-1")])).expect_err("refused");
    assert_eq!(error.message, "sample.retries is invalid");
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    let document =
        Document::parse(r#"{"api": {"sample": {"retrys": 5, "zzzzzzzzz": 1, "tags": {"x": "y"}}}}"#).expect("json");
    assert_eq!(
        document.unknown_keys::<Sample>(),
        [("retrys".to_owned(), Some("retries".to_owned())), ("zzzzzzzzz".to_owned(), None)]
    );
}

#[test]
fn broken_json_is_refused_with_its_place() {
    let error = Document::parse("{\n  \"api\": ,\n}").expect_err("refused");
    assert!(error.message.contains("line 2"), "{error}");
}

#[test]
fn a_variable_may_name_a_file_that_holds_its_value() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "from a file\n").expect("written");
    let path = path.to_str().expect("a text");

    let read = variables(&[("CLUSTER_A_B_FILE", path), ("CLUSTER_C", "c")]).with_files().expect("read");
    assert_eq!(read.0, variables(&[("CLUSTER_A_B", "from a file"), ("CLUSTER_C", "c")]).0);

    let both = variables(&[("CLUSTER_A_FILE", path), ("CLUSTER_A", "a")]).with_files().expect_err("twice");
    assert_eq!(both.message, "both variables CLUSTER_A and CLUSTER_A_FILE are set: unset one of them");
    let none = variables(&[("CLUSTER_A_FILE", "/nowhere/at/all")]).with_files().expect_err("no file");
    assert!(none.message.contains("CLUSTER_A_FILE names the file /nowhere/at/all"), "{none}");
}
