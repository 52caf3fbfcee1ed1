//! Looking at a configuration: all its mistakes at once, the values in effect and where they come from, and the
//! reference page of all keys.

use crate::config::{Configuration, FjallConfig, OTHER_STORES, RaftConfig};
use crate::folder::Folder;
use cluster_component::config::{
    ComponentConfig, ConfigError, Document, Effective, Environment, Origin, Section, section_path,
};
use cluster_component::errors::io_text;
use cluster_crdt::CrdtConfig;
use cluster_embedded::EmbeddedConfig;
use cluster_http::api::ipfsproxy::IpfsProxyConfig;
use cluster_http::api::metrics::MetricsConfig;
use cluster_http::api::pinsvcapi::PinSvcApiConfig;
use cluster_http::api::restapi::RestApiConfig;
use cluster_ipfs::IpfsHttpConfig;
use cluster_otlp::TracingConfig;
use cluster_peer::allocator::ascendalloc::AscendConfig;
use cluster_peer::allocator::balanced::BalancedConfig;
use cluster_peer::allocator::descendalloc::DescendConfig;
use cluster_peer::cluster::ClusterConfig;
use cluster_peer::informer::disk::DiskConfig;
use cluster_peer::informer::numpin::NumPinConfig;
use cluster_peer::informer::pinqueue::PinQueueConfig;
use cluster_peer::informer::tags::TagsConfig;
use cluster_peer::monitor::pubsubmon::PubsubmonConfig;
use cluster_peer::pintracker::{MapTrackerConfig, StatelessConfig};
use cluster_peer::state::mapstate::MapStateConfig;
use cluster_peer::state::pinstate::DsStateConfig;
use std::fmt;

/// Most mistakes that are told of one section.
const MISTAKES_MAX: usize = 100;

/// Something that is done with every section, whatever its type.
pub trait Visit {
    /// Looks at one section.
    fn section<C: ComponentConfig>(&mut self);
}

/// Shows every section that there is to a visitor, in the order of the file.
pub fn each(visitor: &mut impl Visit) {
    visitor.section::<ClusterConfig>();
    visitor.section::<CrdtConfig>();
    visitor.section::<RaftConfig>();
    visitor.section::<IpfsProxyConfig>();
    visitor.section::<PinSvcApiConfig>();
    visitor.section::<RestApiConfig>();
    visitor.section::<IpfsHttpConfig>();
    visitor.section::<EmbeddedConfig>();
    visitor.section::<DsStateConfig>();
    visitor.section::<MapStateConfig>();
    visitor.section::<StatelessConfig>();
    visitor.section::<MapTrackerConfig>();
    visitor.section::<PubsubmonConfig>();
    visitor.section::<BalancedConfig>();
    visitor.section::<AscendConfig>();
    visitor.section::<DescendConfig>();
    visitor.section::<DiskConfig>();
    visitor.section::<NumPinConfig>();
    visitor.section::<PinQueueConfig>();
    visitor.section::<TagsConfig>();
    visitor.section::<MetricsConfig>();
    visitor.section::<TracingConfig>();
    visitor.section::<FjallConfig>();
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// The peer does not start.
    Mistake,
    /// It starts, but something stands there that has no effect.
    Notice,
}

/// Something found in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub grade: Grade,
    /// The line of the file, if it has the key.
    pub line: Option<usize>,
    /// The key; empty: the file as a whole.
    pub key: String,
    /// What is wrong, and what to do.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::Mistake => "mistake",
            Grade::Notice => "notice",
        };
        match self.line {
            Some(line) => write!(f, "line {line}: {grade}: {}: {}", self.key, self.text),
            None if self.key.is_empty() => write!(f, "{grade}: {}", self.text),
            None => write!(f, "{grade}: {}: {}", self.key, self.text),
        }
    }
}

fn read(folder: &Folder) -> Result<String, String> {
    let path = folder.service_json();
    std::fs::read_to_string(&path)
        .map_err(|e| format!("open {}: {} (to make one, run: ipfs-cluster-service init)", path.display(), io_text(&e)))
}

/// Everything that is wrong with the file of a folder.
///
/// # Errors
/// When there is no file to look at.
pub fn findings(folder: &Folder, environment: &Environment) -> Result<Vec<Finding>, String> {
    let text = read(folder)?;
    let document = match Document::parse(&text) {
        Ok(document) => document,
        Err(error) => return Ok(vec![mistake(&text, "", error.message)]),
    };
    if document.source().is_some() {
        return Ok(Vec::new()); // What is fetched is checked when it is fetched.
    }
    let mut checker = Checker { text: &text, document: &document, environment, known: Vec::new(), found: Vec::new() };
    each(&mut checker);
    checker.components();
    let mut found = checker.found;
    if !found.iter().any(|finding| finding.grade == Grade::Mistake) {
        match Configuration::read(&document, environment) {
            Err(error) => found.push(mistake(&text, &error.key, error.message)),
            Ok(configuration) => {
                let rest = configuration.restapi.map(|api| api.tls(folder.path()));
                let pinning = configuration.pinsvcapi.map(|api| api.tls(folder.path()));
                for error in [rest, pinning].into_iter().flatten().filter_map(Result::err) {
                    found.push(mistake(&text, &format!("api.{}", error.key), error.message));
                }
            }
        }
    }
    found.sort_by_key(|finding| finding.line);
    Ok(found)
}

fn mistake(text: &str, key: &str, message: String) -> Finding {
    Finding { grade: Grade::Mistake, line: line_of(text, key), key: key.to_owned(), text: message }
}

/// The line where a dotted key stands: each name is looked for after the one before.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let (mut at, mut found) = (0, false);
    for name in key.split('.').filter(|name| !name.is_empty()) {
        let Some(next) = text[at..].find(&format!("\"{name}\"")) else { break };
        at += next + 1;
        found = true;
    }
    found.then(|| text[..at].lines().count())
}

struct Checker<'a> {
    text: &'a str,
    document: &'a Document,
    environment: &'a Environment,
    known: Vec<(Section, &'static str)>,
    found: Vec<Finding>,
}

impl Visit for Checker<'_> {
    fn section<C: ComponentConfig>(&mut self) {
        self.known.push((C::SECTION, C::KEY));
        let path = section_path::<C>();
        if C::SECTION != Section::Cluster && !self.document.has(C::SECTION, C::KEY) {
            return;
        }
        for (key, nearest) in self.document.unknown_keys::<C>() {
            let key = format!("{path}.{key}");
            let hint = nearest.map_or_else(|| "remove it".to_owned(), |near| format!("did you mean \"{near}\"?"));
            let text = format!("there is no such key, so it has no effect: {hint}");
            self.found.push(Finding { grade: Grade::Notice, line: line_of(self.text, &key), key, text });
        }
        // A mistake hides those behind it: its key is taken out, and the section is read again.
        let mut rest = self.document.clone();
        for _ in 0..MISTAKES_MAX {
            let Err(ConfigError { key, message }) = rest.load::<C>(self.environment) else { break };
            let within = key.strip_prefix(&format!("{}.", C::KEY)).unwrap_or(&key).to_owned();
            self.found.push(mistake(self.text, &format!("{path}.{within}"), message));
            if !rest.remove_key(C::SECTION, C::KEY, &within) {
                break;
            }
        }
    }
}

impl Checker<'_> {
    /// Components that the file names and that are not there.
    fn components(&mut self) {
        let sections: Vec<Section> = self.known.iter().map(|(section, _)| *section).collect();
        for section in [Section::Observations].into_iter().chain(sections) {
            for component in self.document.components(section) {
                let key = format!("{}.{component}", section.name());
                let seen = self.found.iter().any(|finding| finding.key == key);
                if section == Section::Cluster || seen || self.known.contains(&(section, known_name(component))) {
                    continue;
                }
                let text = match component {
                    store if section == Section::Datastore && OTHER_STORES.contains(&store) => {
                        "the pinset is kept in fjall here: bring it with state export and state import"
                    }
                    _ => "there is no such component, so it has no effect: remove it",
                };
                let line = line_of(self.text, &key);
                self.found.push(Finding { grade: Grade::Notice, line, key, text: text.to_owned() });
            }
        }
    }
}

/// The name as a static text, for comparing with tables.
fn known_name(component: &str) -> &'static str {
    struct Names(Vec<&'static str>);
    impl Visit for Names {
        fn section<C: ComponentConfig>(&mut self) {
            self.0.push(C::KEY);
        }
    }
    let mut names = Names(Vec::new());
    each(&mut names);
    names.0.into_iter().find(|name| *name == component).unwrap_or("")
}

/// A key, its value as JSON, and where it comes from, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The dotted key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Where it comes from.
    pub from: String,
}

/// All values that are in effect: of sections that the file has, and of those that are there without it.
///
/// # Errors
/// When the file is not there or a section is not right.
pub fn values(folder: &Folder, environment: &Environment, secrets: bool) -> Result<Vec<Row>, String> {
    struct Values<'a>(&'a Document, &'a Environment, Result<Vec<Effective>, ConfigError>);
    impl Visit for Values<'_> {
        fn section<C: ComponentConfig>(&mut self) {
            let there = C::SECTION == Section::Cluster || self.0.has(C::SECTION, C::KEY);
            if let (true, Ok(rows)) = (there, &mut self.2) {
                match self.0.effective::<C>(self.1) {
                    Ok(more) => rows.extend(more),
                    Err(error) => self.2 = Err(error),
                }
            }
        }
    }
    let document = Document::parse(&read(folder)?).map_err(|e| e.message)?;
    let mut values = Values(&document, environment, Ok(Vec::new()));
    each(&mut values);
    let rows = values.2.map_err(|e| e.message)?;
    Ok(rows.into_iter().map(|row| shown(&row, secrets)).collect())
}

fn shown(row: &Effective, secrets: bool) -> Row {
    let hidden = row.secret && !secrets && !row.value.is_null() && row.value != "";
    let value = if hidden { "\"XXX_hidden_XXX\"".to_owned() } else { row.value.to_string() };
    let from = match &row.origin {
        Origin::Default => "default".to_owned(),
        Origin::File => "service.json".to_owned(),
        Origin::Variable(name) => format!("variable {name}"),
    };
    Row { key: row.key.clone(), value, from }
}

/// The reference page of all keys, as Markdown: `docs/config.md`.
#[must_use]
pub fn page() -> String {
    struct Page(String);
    impl Visit for Page {
        fn section<C: ComponentConfig>(&mut self) {
            let rows = Document::new().effective::<C>(&Environment::default()).unwrap_or_default();
            self.0.push_str(&format!("\n## `{}`\n\n", section_path::<C>()));
            if rows.is_empty() {
                self.0.push_str("No keys: that the section is there chooses it.\n");
                return;
            }
            self.0.push_str("| key | default | variable |\n|---|---|---|\n");
            for row in rows {
                // The machine's name, and what is made anew for each peer, are no defaults to print.
                let default = match row.key.as_str() {
                    "cluster.peername" => "the machine's name".to_owned(),
                    "cluster.secret" => "made by `init`".to_owned(),
                    _ => format!("`{}`", row.value.to_string().replace('|', "\\|")),
                };
                let key = row.key.strip_prefix(&format!("{}.", section_path::<C>())).unwrap_or(&row.key);
                self.0.push_str(&format!("| `{key}` | {default} | `{}` |\n", row.variable));
            }
        }
    }
    let mut page = Page(INTRODUCTION.to_owned());
    each(&mut page);
    page.0
}

const INTRODUCTION: &str = "# Configuration

Made by `cargo xtask docs`; do not edit.

`<folder>/service.json` is the reference's file, read as it is. Durations are texts such as `1m30s`; addresses are
multiaddrs; a list of listen addresses may be a single text. A variable overrides the file: lists are separated by
commas, maps are `a:b,c:d`. `ipfs-cluster-service config check` finds all mistakes of a file at once, with their lines;
`config show` tells the values in effect and where each comes from.

Each variable has a second form with `_FILE` at its end, which names a file that holds the value, for secrets that are
mounted or kept by a service manager: `CLUSTER_SECRET_FILE=/run/secrets/cluster`. So have `CLUSTER_ID` and
`CLUSTER_PRIVATEKEY`. One newline at the end of the file does not count; setting both forms is an error.

Which component is used is said by which section is there: `consensus.crdt` or `consensus.raft`,
`ipfs_connector.ipfshttp` or `ipfs_connector.embedded`, and so on. APIs and informers are started if their section is
there. Sections of datastores that are not here (`badger`, `badger3`, `leveldb`, `pebble`) are accepted.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(text: &str) -> (tempfile::TempDir, Folder) {
        let temp = tempfile::tempdir().expect("temp folder");
        let folder = Folder::new(temp.path());
        folder.write_private(&folder.service_json(), text).expect("written");
        (temp, folder)
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_their_lines() {
        let text = Configuration::new().to_text();
        let text = text
            .replace("\"pin_timeout\": \"2m0s\"", "\"pin_timeout\": \"-2m\"")
            .replace("\"unpin_timeout\": \"3h0m0s\"", "\"unpin_timeout\": 3")
            .replace("\"peername\"", "\"peernam\"");
        let (_temp, folder) = folder_with(&text);

        let found = findings(&folder, &Environment::default()).expect("a file");

        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        let line = |key: &str| text.lines().position(|line| line.contains(key)).expect("there") + 1;
        assert_eq!(found.len(), 3, "{told:?}");
        assert!(told[0].starts_with(&format!("line {}: notice: cluster.peernam: ", line("peernam"))), "{told:?}");
        assert!(told[0].ends_with("did you mean \"peername\"?"), "{told:?}");
        let keys: Vec<(Option<usize>, &str)> = found[1..].iter().map(|f| (f.line, f.key.as_str())).collect();
        assert_eq!(
            keys,
            [
                (Some(line("\"pin_timeout\"")), "ipfs_connector.ipfshttp.pin_timeout"),
                (Some(line("\"unpin_timeout\"")), "ipfs_connector.ipfshttp.unpin_timeout"),
            ]
        );
    }

    #[test]
    fn the_page_of_all_keys_is_current() {
        let page = include_str!("../../../docs/config.md");
        assert!(page == super::page(), "docs/config.md is stale: run `cargo xtask docs`");
    }

    #[test]
    fn a_new_configuration_is_fine() {
        let (_temp, folder) = folder_with(&Configuration::new().to_text());
        assert_eq!(findings(&folder, &Environment::default()), Ok(Vec::new()));
    }

    #[test]
    fn values_tell_where_they_come_from_and_hide_secrets() {
        let (_temp, folder) = folder_with(&Configuration::new().to_text());
        let variables = [("CLUSTER_PEERNAME".to_owned(), "x".to_owned())];
        let rows = values(&folder, &Environment(variables.into_iter().collect()), false).expect("right");
        let row = |key: &str| rows.iter().find(|row| row.key == key).map(|row| (row.value.as_str(), row.from.as_str()));

        assert_eq!(row("cluster.peername"), Some(("\"x\"", "variable CLUSTER_PEERNAME")));
        assert_eq!(row("cluster.secret"), Some(("\"XXX_hidden_XXX\"", "service.json")));
        assert_eq!(row("consensus.crdt.peerset_metric"), Some(("\"ping\"", "default")));
    }
}
