//! Which value each key has, and where it comes from; and taking keys out of a file, to find the mistakes behind them.

use super::document::{Document, find, full_form, is_fixed};
use super::environment::{self, Environment};
use super::error::ConfigError;
use super::section::{ComponentConfig, Section};
use serde_json::{Map, Value};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is the default.
    Default,
    /// It stands in the file.
    File,
    /// This variable sets it.
    Variable(String),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// The key's path in the file, dotted, such as `api.restapi.read_timeout`.
    pub key: String,
    /// The variable that sets it.
    pub variable: String,
    /// The value that is used.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether it is a secret.
    pub secret: bool,
}

/// The path of a section's keys: `cluster`, `consensus.crdt`.
#[must_use]
pub fn section_path<C: ComponentConfig>() -> String {
    match C::SECTION {
        Section::Cluster => C::SECTION.name().to_owned(),
        section => format!("{}.{}", section.name(), C::KEY),
    }
}

impl Document {
    /// Every key of a section with its value, in the file's order.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn effective<C: ComponentConfig>(&self, environment: &Environment) -> Result<Vec<Effective>, ConfigError> {
        let full = full_form(&self.load::<C>(environment)?.config);
        let given = self.raw(C::SECTION, C::KEY).and_then(Value::as_object).cloned().unwrap_or_default();
        let mut out = Vec::new();
        let at = Place { path: section_path::<C>(), within: String::new(), variable: environment::prefix::<C>() };
        collect::<C>(&full, &given, environment, &at, &mut out);
        Ok(out)
    }

    /// Takes a key (dotted, within the section) out; tells whether it was there.
    pub fn remove_key(&mut self, section: Section, component: &str, key: &str) -> bool {
        let Some(outer) = self.root.get_mut(section.name()) else { return false };
        let mut at = match section {
            Section::Cluster => Some(outer),
            _ => outer.get_mut(component),
        };
        let mut names: Vec<&str> = key.split('.').collect();
        let Some(last) = names.pop() else { return false };
        for name in names {
            at = at.and_then(|value| value.get_mut(name));
        }
        at.and_then(Value::as_object_mut).is_some_and(|object| object.shift_remove(last).is_some())
    }
}

/// Where a walk through a section is.
struct Place {
    /// Dotted, from the file's root.
    path: String,
    /// Dotted, within the section, with a dot at the end.
    within: String,
    /// What the names of variables begin with.
    variable: String,
}

fn collect<C: ComponentConfig>(
    full: &Map<String, Value>,
    given: &Map<String, Value>,
    environment: &Environment,
    at: &Place,
    out: &mut Vec<Effective>,
) {
    let empty = Map::new();
    for (key, value) in full {
        let variable = format!("{}{}", at.variable, key.replace('_', "").to_uppercase());
        let (path, raw) = (format!("{}.{key}", at.path), find(given, key).filter(|v| !v.is_null()));
        match value {
            Value::Object(inner) if is_fixed(inner) => {
                let deeper = Place { path, within: format!("{}{key}.", at.within), variable: format!("{variable}_") };
                let given = raw.and_then(Value::as_object).unwrap_or(&empty);
                collect::<C>(inner, given, environment, &deeper, out);
            }
            _ => {
                let secret = C::SECRETS.contains(&format!("{}{key}", at.within).as_str());
                let origin = match (environment.0.contains_key(&variable), raw) {
                    (true, _) => Origin::Variable(variable.clone()),
                    (false, Some(_)) => Origin::File,
                    (false, None) => Origin::Default,
                };
                out.push(Effective { key: path, variable, value: value.clone(), origin, secret });
            }
        }
    }
}
