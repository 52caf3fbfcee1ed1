//! Logs, with levels per component by the reference's names, in the forms and to the places that its logger knows.

mod line;

use line::{Lines, Shape};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

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

/// Starts logging by a specification such as `info,restapi:debug`. Where lines go and what they look like is in the
/// variables of the reference's logger: `GOLOG_LOG_FMT` (`color`, `nocolor`, `json`), `GOLOG_OUTPUT` (`stderr`, `stdout`,
/// `file`, more of them with `+` between), `GOLOG_FILE` and `GOLOG_LOG_LABELS` (`key=value,…`).
///
/// # Errors
/// When a word of the specification is no level, or a variable makes no sense.
pub fn start(spec: &str) -> Result<(), String> {
    let filter = directives(spec)?;
    let output = Output::of(|name| std::env::var(name).ok())?;
    let file = output.file.as_deref().map(open).transpose()?;
    let (to_stderr, to_stdout) = (output.stderr, output.stdout);
    let writer = BoxMakeWriter::new(move || Sinks { stderr: to_stderr, stdout: to_stdout, file: file.clone() });
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .event_format(output.lines)
        .with_writer(writer)
        .init();
    Ok(())
}

/// Where lines go, and what they look like.
#[derive(Debug)]
struct Output {
    lines: Lines,
    stderr: bool,
    stdout: bool,
    file: Option<String>,
}

impl Output {
    /// By the variables.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let file = variable("GOLOG_FILE");
        let words = match variable("GOLOG_OUTPUT") {
            Some(words) => words,
            None if file.is_some() => "file".into(),
            None => "stderr".into(),
        };
        let known = |word: &&str| !["stderr", "stdout", "file"].contains(word);
        if let Some(word) = words.split('+').find(known) {
            return Err(format!(
                "GOLOG_OUTPUT: {word:?} is no place for a log: use stderr, stdout or file, joined by +"
            ));
        }
        let goes_to = |name| words.split('+').any(|word| word == name);
        let (stderr, stdout, to_file) = (goes_to("stderr"), goes_to("stdout"), goes_to("file"));
        if to_file && file.is_none() {
            return Err("GOLOG_OUTPUT names a file, and GOLOG_FILE does not say which".into());
        }
        let format = variable("GOLOG_LOG_FMT").or_else(|| variable("IPFS_LOGGING_FMT"));
        let shape = match format.as_deref() {
            None => Shape::Columns { colour: stderr && !stdout && !to_file && std::io::stderr().is_terminal() },
            Some("color") => Shape::Columns { colour: true },
            Some("nocolor") => Shape::Columns { colour: false },
            Some("json") => Shape::Json,
            Some(other) => {
                return Err(format!("GOLOG_LOG_FMT: {other:?} is no form of a log: use color, nocolor or json"));
            }
        };
        let mut labels = serde_json::Map::new();
        for label in variable("GOLOG_LOG_LABELS").iter().flat_map(|labels| labels.split(',')) {
            let Some((key, value)) = label.split_once('=') else {
                return Err(format!("GOLOG_LOG_LABELS: {label:?} is no label: write key=value,key=value"));
            };
            labels.insert(key.into(), value.into());
        }
        Ok(Self { lines: Lines { shape, labels }, stderr, stdout, file: file.filter(|_| to_file) })
    }
}

fn open(path: &str) -> Result<Arc<File>, String> {
    let file = File::options().create(true).append(true).open(path);
    file.map(Arc::new).map_err(|error| format!("GOLOG_FILE: {path} cannot be written: {error}"))
}

/// Every place that a line goes to. One that fails keeps it from none of the others.
struct Sinks {
    stderr: bool,
    stdout: bool,
    file: Option<Arc<File>>,
}

impl Write for Sinks {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let to_stderr = if self.stderr { io::stderr().write_all(line) } else { Ok(()) };
        let to_stdout = if self.stdout { io::stdout().write_all(line) } else { Ok(()) };
        let to_file = self.file.as_deref().map_or(Ok(()), |mut file| file.write_all(line));
        to_stderr.and(to_stdout).and(to_file).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
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

    fn output(variables: &[(&str, &str)]) -> Result<Output, String> {
        Output::of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn variables_say_where_lines_go_and_what_they_look_like() {
        let places = |variables: &[(&str, &str)]| {
            let output = output(variables).expect("it makes sense");
            (output.stderr, output.stdout, output.file)
        };
        assert_eq!(places(&[]), (true, false, None));
        assert_eq!(places(&[("GOLOG_FILE", "x.log")]), (false, false, Some("x.log".into())));
        assert_eq!(
            places(&[("GOLOG_FILE", "x.log"), ("GOLOG_OUTPUT", "stdout+file")]),
            (false, true, Some("x.log".into()))
        );

        let json =
            output(&[("IPFS_LOGGING_FMT", "json"), ("GOLOG_LOG_LABELS", "app=ipfs,dc=x")]).expect("it makes sense");
        assert_eq!(json.lines.shape, Shape::Json);
        assert_eq!(serde_json::Value::Object(json.lines.labels).to_string(), r#"{"app":"ipfs","dc":"x"}"#);
    }

    #[test]
    fn a_variable_that_makes_no_sense_is_named() {
        let wrong = [
            ("GOLOG_LOG_FMT", "xml"),
            ("GOLOG_OUTPUT", "printer"),
            ("GOLOG_OUTPUT", "file"),
            ("GOLOG_LOG_LABELS", "x"),
        ];
        for (name, value) in wrong {
            let text = output(&[(name, value)]).expect_err("refused");
            assert!(text.starts_with(name), "{text}");
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_named() {
        assert!(directives("loud").expect_err("refused").contains("\"loud\" is no log level"));
    }
}
