//! Logs, on standard error, with levels per component by the reference's names.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// The reference's components and where their lines come from here. A component that is not listed is a target as it
/// is, such as `cluster_datastore`.
const TARGETS: &[(&str, &[&str])] = &[
    ("service", &["ipfs_cluster_service", "cluster_node"]),
    ("config", &["cluster_component::config", "cluster_node::config"]),
    ("cluster", &["cluster_peer::cluster"]),
    ("crdt", &["cluster_crdt"]),
    ("raft", &["cluster_raft"]),
    ("raftlib", &["openraft"]),
    ("datastore", &["cluster_datastore"]),
    ("ipfshttp", &["cluster_ipfs"]),
    ("embedded", &["cluster_embedded"]),
    ("libp2p", &["cluster_net", "cluster_transport", "libp2p"]),
    ("pintracker", &["cluster_peer::pintracker"]),
    ("optracker", &["cluster_peer::pintracker"]),
    ("monitor", &["cluster_peer::monitor"]),
    ("pubsubmon", &["cluster_peer::monitor"]),
    ("allocator", &["cluster_peer::allocator"]),
    ("informer", &["cluster_peer::informer"]),
    ("diskinfo", &["cluster_peer::informer"]),
    ("adder", &["cluster_peer::add"]),
    ("apitypes", &["cluster_types"]),
    ("restapi", &["restapi", "cluster_http"]),
    ("ipfsproxy", &["ipfsproxy", "cluster_http::api::ipfsproxy"]),
    ("pinsvcapi", &["pinsvcapi", "cluster_http::api::pinsvcapi"]),
    ("gateway", &["cluster_http::api::gateway"]),
];

/// Libraries speak up only when something is wrong, unless they are named. The tables of peers warn when they are
/// empty, which they are at first.
const LIBRARIES: &[&str] = &[
    "hyper=warn",
    "rustls=warn",
    "fjall=warn",
    "lsm_tree=warn",
    "libp2p=warn",
    "libp2p_kad=error",
    "yamux=warn",
    "hickory=warn",
    "mdns_sd=warn",
    // A member that is away is told five times a second; what matters of it is told by cluster_raft.
    "openraft=off",
];

const LEVELS: &[&str] = &["trace", "debug", "info", "warn", "error"];

/// Starts logging by a specification such as `info,restapi:debug`.
///
/// # Errors
/// When a word of it is no level.
pub fn start(spec: &str) -> Result<(), String> {
    let filter = directives(spec)?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

/// The specification in the filter's language.
fn directives(spec: &str) -> Result<String, String> {
    let (mut overall, mut parts) = ("info", Vec::new());
    for item in spec.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match item.split_once(':') {
            None => overall = level(item)?,
            Some(("all", word)) => overall = level(word)?,
            Some((component, word)) => {
                let word = level(word)?;
                let known = TARGETS.iter().find(|(name, _)| *name == component);
                let targets = known.map_or_else(|| vec![component], |(_, targets)| targets.to_vec());
                parts.extend(targets.into_iter().map(|target| format!("{target}={word}")));
            }
        }
    }
    let libraries = LIBRARIES.iter().map(|&library| library.to_owned());
    let all: Vec<String> = std::iter::once(overall.to_owned()).chain(libraries).chain(parts).collect();
    Ok(all.join(","))
}

fn level(word: &str) -> Result<&'static str, String> {
    let lower = word.to_lowercase();
    let known = match lower.as_str() {
        "warning" => "warn",
        "critical" | "fatal" | "panic" | "dpanic" => "error",
        "notice" => "info",
        other => other,
    };
    let found = LEVELS.iter().find(|l| **l == known).copied();
    found.ok_or_else(|| format!("\"{word}\" is no log level: use one of {}", LEVELS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_of_the_reference_have_their_places_here() {
        let filter = directives("warning,restapi:debug,crdt:ERROR").expect("read");
        assert!(filter.starts_with("warn,"), "{filter}");
        assert!(filter.ends_with(",restapi=debug,cluster_http=debug,cluster_crdt=error"), "{filter}");
        assert!(directives("all:error").expect("read").starts_with("error,"));
    }

    #[test]
    fn a_library_that_is_named_speaks_up() {
        let filter = directives("hyper:debug").expect("read");
        assert!(filter.find("hyper=warn") < filter.find("hyper=debug"), "{filter}");
    }

    #[test]
    fn a_word_that_is_no_level_is_named() {
        assert!(directives("loud").expect_err("refused").contains("\"loud\" is no log level"));
    }
}
