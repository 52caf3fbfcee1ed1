//! Who may import whom: the map of ARCHITECTURE.md as data, held against the manifests.

use anyhow::{Context, Result};
use serde_json::Value;

/// Each crate and what it may import of ours.
const LAYERS: &[(&str, &[&str])] = &[
    ("cluster-types", &[]),
    ("dag", &[]),
    ("cluster-core", &["cluster-types"]),
    ("cluster-component", &["cluster-types"]),
    ("cluster-datastore", &["cluster-types"]),
    ("cluster-peer", &["cluster-types", "cluster-core", "cluster-component", "dag"]),
    ("cluster-crdt", &["cluster-types", "cluster-core", "cluster-component"]),
    ("cluster-ipfs", &["cluster-types", "cluster-component"]),
    ("bitswap", &[]),
    ("cluster-transport", &[]),
    ("cluster-net", &["cluster-types", "cluster-component", "bitswap", "cluster-transport"]),
    ("cluster-embedded", &["cluster-types", "cluster-component", "bitswap", "cluster-transport", "dag"]),
    ("cluster-raft", &["cluster-types", "cluster-component"]),
    ("cluster-otlp", &["cluster-types", "cluster-component"]),
    ("cluster-http", &["cluster-types", "cluster-component", "dag"]),
    ("cluster-client", &["cluster-types", "cluster-transport"]),
    ("cluster-cli", &[]),
    (
        "cluster-node",
        &[
            "cluster-types",
            "cluster-core",
            "cluster-component",
            "cluster-datastore",
            "cluster-peer",
            "cluster-crdt",
            "cluster-ipfs",
            "cluster-http",
            "cluster-net",
            "cluster-otlp",
            "cluster-embedded",
            "cluster-raft",
            "dag",
        ],
    ),
    ("cluster-testkit", &["cluster-types", "cluster-core", "cluster-component"]),
    ("ipfs-cluster-service", &["cluster-cli", "cluster-node", "cluster-component", "cluster-types", "cluster-client"]),
    ("ipfs-cluster-ctl", &["cluster-cli", "cluster-client", "cluster-types"]),
    ("ipfs-cluster-follow", &["cluster-cli", "cluster-node", "cluster-component", "cluster-types", "cluster-client"]),
    ("xtask", &[]),
];

/// What every crate may import for its tests.
const FOR_TESTS: &[&str] =
    &["cluster-testkit", "cluster-datastore", "cluster-client", "cluster-types", "dag", "cluster-peer"];

/// What single crates may import for their tests, besides: whole clusters are simulated with a consensus.
const FOR_TESTS_OF: &[(&str, &str)] = &[("cluster-peer", "cluster-crdt")];

/// Crates of others that only these of ours may name; no crate means nobody.
const GUARDED: &[(&str, &[&str])] = &[
    ("fjall", &["cluster-datastore"]),
    ("libp2p", &["cluster-transport", "cluster-net", "cluster-embedded"]),
    ("openraft", &["cluster-raft"]),
    ("opentelemetry_sdk", &["cluster-otlp"]),
    ("opentelemetry-otlp", &["cluster-otlp"]),
    ("openssl", &[]),
    ("native-tls", &[]),
    ("reqwest", &[]),
];

/// Everything that is against the rule.
pub(super) fn check(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            wrong.push(format!("{name} has no place in xtask/src/tidy/layers.rs and ARCHITECTURE.md"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let wanted = dependency["name"].as_str().unwrap_or_default();
            let for_tests = dependency["kind"] == "dev";
            if let Some((_, holders)) = GUARDED.iter().find(|(guarded, _)| *guarded == wanted)
                && !holders.contains(&name)
            {
                wrong.push(format!("{name} may not name {wanted}: only {holders:?} may"));
            }
            let for_its_tests = FOR_TESTS.contains(&wanted) || FOR_TESTS_OF.contains(&(name, wanted));
            let permitted = allowed.contains(&wanted) || (for_tests && for_its_tests);
            if names.contains(&wanted) && !permitted {
                wrong.push(format!("{name} may not import {wanted}: imports point down only"));
            }
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, dependency: &str, kind: Value) -> Value {
        json!({ "name": name, "dependencies": [{ "name": dependency, "kind": kind }] })
    }

    #[test]
    fn an_import_that_points_up_is_noticed() {
        let metadata = json!({ "packages": [package("cluster-core", "cluster-peer", Value::Null), package("cluster-peer", "dag", Value::Null)] });
        assert_eq!(
            check(&metadata).expect("read"),
            ["cluster-core may not import cluster-peer: imports point down only"]
        );
    }

    #[test]
    fn the_test_kit_is_for_tests_only() {
        let kit = json!({ "name": "cluster-testkit", "dependencies": [] });
        let of = |kind| {
            check(&json!({ "packages": [package("cluster-ipfs", "cluster-testkit", kind), kit] })).expect("read")
        };
        assert_eq!(of(json!("dev")), Vec::<String>::new());
        assert_eq!(of(Value::Null).len(), 1);
    }

    #[test]
    fn guarded_crates_and_unknown_layers_are_noticed() {
        let metadata =
            json!({ "packages": [package("cluster-peer", "fjall", Value::Null), package("new", "x", Value::Null)] });
        assert_eq!(check(&metadata).expect("read").len(), 2);
    }
}
