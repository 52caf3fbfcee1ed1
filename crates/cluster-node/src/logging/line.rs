//! Lines of the log as the reference's logger writes them: columns, or JSON objects, by the names of its components.

use super::TARGETS;
use cluster_types::Timestamp;
use serde_json::{Map, Value};
use std::fmt::{self, Write as _};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Time, level, component, place in the code, text and fields, parted by tabs.
    Columns {
        /// Whether the level is coloured.
        colour: bool,
    },
    /// One JSON object a line.
    Json,
}

/// Writes events as lines.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    pub(super) shape: Shape,
    /// What stands in every line.
    pub(super) labels: Map<String, Value>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut said = Said { text: String::new(), fields: self.labels.clone() };
        event.record(&mut said);
        let line = Line {
            time: now_text(SystemTime::now()),
            level: *metadata.level(),
            component: component(metadata.target()),
            caller: caller(metadata.file().unwrap_or_default(), metadata.line().unwrap_or(0)),
            said,
        };
        writeln!(out, "{}", line.text(self.shape))
    }
}

struct Line<'a> {
    time: String,
    level: Level,
    component: &'a str,
    caller: String,
    said: Said,
}

impl Line<'_> {
    fn text(self, shape: Shape) -> String {
        let Self { time, level, component, caller, said } = self;
        match shape {
            Shape::Json => {
                let mut line = Map::new();
                let own = [("ts", time), ("level", level.as_str().to_lowercase()), ("logger", component.to_owned())];
                let own = own.into_iter().chain([("caller", caller), ("msg", said.text)]);
                line.extend(own.map(|(key, value)| (key.to_owned(), value.into())));
                for (key, value) in said.fields {
                    line.entry(key).or_insert(value);
                }
                Value::Object(line).to_string()
            }
            Shape::Columns { colour } => {
                let mut text = format!("{time}\t{}\t{component}\t{caller}\t{}", level_word(level, colour), said.text);
                if !said.fields.is_empty() {
                    let _cannot_fail = write!(text, "\t{}", Value::Object(said.fields)); // Writing to memory.
                }
                text
            }
        }
    }
}

/// What an event says.
struct Said {
    text: String,
    fields: Map<String, Value>,
}

impl Said {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Said {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" { self.text = text } else { self.add(field, text) }
    }
}

/// `2026-11-22T08:53:01.437Z`.
fn now_text(now: SystemTime) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = Timestamp::from_unix(i64::try_from(since.as_secs()).unwrap_or(0), 0).to_string();
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), since.subsec_millis())
}

fn level_word(level: Level, colour: bool) -> String {
    let code = match level {
        _ if !colour => return level.to_string(),
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 34,
        _ => 35,
    };
    format!("\x1b[{code}m{level}\x1b[0m")
}

/// The reference's name for where a line comes from; of several that fit, the one that names most of it.
fn component(target: &str) -> &str {
    let fits = |place: &str| target.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let places = TARGETS.iter().flat_map(|(name, places)| places.iter().map(move |place| (*name, *place)));
    // Of two that name as much the first in the table counts.
    places.rev().filter(|(_, place)| fits(place)).max_by_key(|(_, place)| place.len()).map_or(target, |(name, _)| name)
}

/// The file with its folder, and the line.
fn caller(file: &str, line: u32) -> String {
    let start = file.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    format!("{}:{line}", &file[start..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn line(shape: Shape) -> String {
        let mut fields = Map::new();
        fields.insert("pins".into(), 3.into());
        fields.insert("msg".into(), "other".into());
        let time = now_text(SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_337_581_437));
        let said = Said { text: "Saving \"it\"".into(), fields };
        Line { time, level: Level::INFO, component: "config", caller: caller("crates/a/src/config/file.rs", 48), said }
            .text(shape)
    }

    #[test]
    fn columns_are_those_of_the_reference() {
        let written = line(Shape::Columns { colour: false });
        let (columns, fields) = written.rsplit_once('\t').expect("columns");

        assert_eq!(columns, "2026-11-22T08:53:01.437Z\tINFO\tconfig\tconfig/file.rs:48\tSaving \"it\"");
        let fields: Value = serde_json::from_str(fields).expect("JSON");
        assert_eq!(fields, serde_json::json!({ "msg": "other", "pins": 3 }));
        assert!(line(Shape::Columns { colour: true }).contains("\t\x1b[34mINFO\x1b[0m\t"));
    }

    #[test]
    fn json_has_the_keys_of_the_reference_and_no_field_takes_their_place() {
        let line: Value = serde_json::from_str(&line(Shape::Json)).expect("JSON");

        let expected = serde_json::json!({
            "ts": "2026-11-22T08:53:01.437Z", "level": "info", "logger": "config", "caller": "config/file.rs:48",
            "msg": "Saving \"it\"", "pins": 3
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn lines_tell_the_component_of_the_reference() {
        let names = ["cluster_peer::cluster::alerts", "cluster_http::api::pinsvcapi", "restapilog", "cluster_peerless"];

        assert_eq!(names.map(component), ["cluster", "pinsvcapi", "restapilog", "cluster_peerless"]);
        assert_eq!(component("cluster_peer::pintracker::shell"), "pintracker");
    }
}
