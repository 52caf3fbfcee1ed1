//! `service.json` as a whole: read into sections, written from them.

use super::environment::{self, Environment};
use super::error::ConfigError;
use super::section::{ComponentConfig, Section};
use serde_json::{Map, Value};

/// The file's content. Keys of sections that nobody asks for are kept as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    pub(super) root: Map<String, Value>,
}

/// A section as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<C> {
    /// Its values, variables applied.
    pub config: C,
    /// Whether the file has it. Optional components that it has not are not started.
    pub present: bool,
}

impl Document {
    /// An empty file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file that says only where the configuration is.
    #[must_use]
    pub fn pointing_to(url: &str) -> Self {
        Self { root: [("source".to_owned(), Value::String(url.to_owned()))].into_iter().collect() }
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// When it is no JSON object; the text tells the line and column.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        match serde_json::from_str(text) {
            Ok(Value::Object(root)) => match misshapen(&root) {
                Some(error) => Err(error),
                None => Ok(Self { root }),
            },
            Ok(_) => Err(ConfigError::new("", "service.json must hold a JSON object: { … }")),
            Err(error) => Err(ConfigError::new("", format!("service.json is not valid JSON: {error}"))),
        }
    }

    /// The text of the file: two spaces of indentation, no line end at the end, as the reference.
    #[must_use]
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(&self.root).unwrap_or_default();
        // As Go's encoder: these three never stand in a string as they are.
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }

    /// The URL of the configuration that stands for this one, if the file names one.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        find(&self.root, "source").and_then(Value::as_str).filter(|url| !url.is_empty())
    }

    /// Whether the file has the section and it is not `null`.
    #[must_use]
    pub fn has(&self, section: Section, key: &str) -> bool {
        self.raw(section, key).is_some()
    }

    /// The keys that the file has within a section of several components.
    #[must_use]
    pub fn components(&self, section: Section) -> Vec<&str> {
        let inner = find(&self.root, section.name()).and_then(Value::as_object);
        inner.map(|i| i.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k.as_str()).collect()).unwrap_or_default()
    }

    pub(super) fn raw(&self, section: Section, key: &str) -> Option<&Value> {
        let outer = find(&self.root, section.name())?;
        let value = if section == Section::Cluster { outer } else { find(outer.as_object()?, key)? };
        (!value.is_null()).then_some(value)
    }

    /// Reads a section and applies variables to it. A section that the file lacks has its defaults.
    ///
    /// # Errors
    /// When a value is of the wrong kind or is refused by the section's own check.
    pub fn load<C: ComponentConfig>(&self, environment: &Environment) -> Result<Loaded<C>, ConfigError> {
        let raw = self.raw(C::SECTION, C::KEY);
        let mut config = match raw {
            Some(value) => read::<C>(with_known_spelling::<C>(value.clone()))?,
            None => C::default(),
        };
        if raw.is_some() {
            config.validate()?;
        }
        if !environment.is_empty() {
            let mut full = full_form(&config);
            if environment::apply(environment, &environment::prefix::<C>(), &mut full)? {
                config = read(Value::Object(full))?;
                config.validate()?;
            }
        }
        Ok(Loaded { config, present: raw.is_some() })
    }

    /// Writes a section, replacing what the file had of it.
    pub fn store<C: ComponentConfig>(&mut self, config: &C) {
        let value = serde_json::to_value(config).unwrap_or(Value::Null);
        if C::SECTION == Section::Cluster {
            self.root.insert(C::SECTION.name().to_owned(), value);
            return;
        }
        let outer = self.root.entry(C::SECTION.name()).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(outer) = outer {
            outer.insert(C::KEY.to_owned(), value);
        }
    }

    /// Keys of a section that no field takes, with the known key that is nearest, if one is near.
    #[must_use]
    pub fn unknown_keys<C: ComponentConfig>(&self) -> Vec<(String, Option<String>)> {
        let Some(Value::Object(given)) = self.raw(C::SECTION, C::KEY) else { return Vec::new() };
        let known = full_form(&C::default());
        let mut unknown = Vec::new();
        collect_unknown(given, &known, "", &mut unknown);
        unknown
    }
}

/// A part of the file that is not of the kind that it must be.
fn misshapen(root: &Map<String, Value>) -> Option<ConfigError> {
    for section in Section::ALL {
        let name = section.name();
        if find(root, name).is_some_and(|value| !value.is_object() && !value.is_null()) {
            return Some(ConfigError::new(name, format!("error parsing {name}: it must be an object: {{ … }}")));
        }
    }
    let source = find(root, "source").filter(|value| !value.is_string() && !value.is_null())?;
    Some(ConfigError::new("source", format!("error parsing source: it must be the text of a URL, and is {source}")))
}

fn read<C: ComponentConfig>(value: Value) -> Result<C, ConfigError> {
    C::deserialize(&value).map_err(|error| {
        let key = culprit::<C>(&value, &error.to_string()).map(|path| format!("{}.{path}", C::KEY));
        let key = key.unwrap_or_else(|| C::KEY.to_owned());
        let text = error.to_string();
        // A text that says which key it is about needs no more words.
        ConfigError::new(
            key.clone(),
            if text.starts_with("error ") { text } else { format!("error parsing {key}: {text}") },
        )
    })
}

/// The key whose value alone gives the same error: serde does not tell it.
fn culprit<C: ComponentConfig>(value: &Value, error: &str) -> Option<String> {
    let object = value.as_object()?;
    let alone = |key: &str, value: &Value| Value::Object([(key.to_owned(), value.clone())].into_iter().collect());
    let same = |value: Value| C::deserialize(value).err().is_some_and(|other| other.to_string() == error);
    let (key, value) = object.iter().find(|(key, value)| same(alone(key, value)))?;
    let nested = value.as_object().and_then(|inner| {
        inner.iter().find(|(inner, value)| same(alone(key, &alone(inner, value)))).map(|(inner, _)| inner)
    });
    Some(nested.map_or_else(|| key.clone(), |inner| format!("{key}.{inner}")))
}

/// The section with its hidden keys.
pub(super) fn full_form<C: ComponentConfig>(config: &C) -> Map<String, Value> {
    let Ok(Value::Object(mut full)) = serde_json::to_value(config) else { return Map::new() };
    for (path, default) in C::HIDDEN {
        let Ok(default) = serde_json::from_str(default) else { continue };
        insert_if_absent(&mut full, path, default);
    }
    full
}

fn insert_if_absent(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            object.entry(path).or_insert(value);
        }
        Some((head, rest)) => {
            if let Value::Object(inner) = object.entry(head).or_insert_with(|| Value::Object(Map::new())) {
                insert_if_absent(inner, rest, value);
            }
        }
    }
}

/// Go matches keys without regard to case, exact ones first.
pub(super) fn find<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).or_else(|| object.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v))
}

/// Spells the keys of a given section as its fields do, whatever their case. A key that is `null` counts as missing.
fn with_known_spelling<C: ComponentConfig>(value: Value) -> Value {
    match value {
        Value::Object(given) => Value::Object(respell(given, &full_form(&C::default()))),
        other => other,
    }
}

fn respell(given: Map<String, Value>, known: &Map<String, Value>) -> Map<String, Value> {
    given
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| match known.iter().find(|(k, _)| k.eq_ignore_ascii_case(&key)) {
            Some((spelled, Value::Object(inner))) if !inner.is_empty() => match value {
                Value::Object(value) => (spelled.clone(), Value::Object(respell(value, inner))),
                other => (spelled.clone(), other),
            },
            Some((spelled, _)) => (spelled.clone(), value),
            None => (key, value),
        })
        .collect()
}

fn collect_unknown(
    given: &Map<String, Value>,
    known: &Map<String, Value>,
    at: &str,
    out: &mut Vec<(String, Option<String>)>,
) {
    for (key, value) in given {
        let found = known.iter().find(|(k, _)| k.eq_ignore_ascii_case(key));
        match (found, value) {
            (None, _) => out.push((format!("{at}{key}"), nearest(key, known))),
            (Some((_, Value::Object(inner))), Value::Object(value)) if is_fixed(inner) => {
                collect_unknown(value, inner, &format!("{at}{key}."), out);
            }
            _ => {}
        }
    }
}

/// Whether an object's keys are those of a struct; free maps (tags, headers) hold texts or lists only and are small.
pub(super) fn is_fixed(object: &Map<String, Value>) -> bool {
    object.len() > 1
}

/// The known key that is at most three changes away.
fn nearest(key: &str, known: &Map<String, Value>) -> Option<String> {
    let with_distance = known.keys().map(|k| (edit_distance(&key.to_lowercase(), k), k));
    with_distance.filter(|(d, _)| *d <= 3).min().map(|(_, k)| k.clone())
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
