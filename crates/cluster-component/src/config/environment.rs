//! `CLUSTER_…` variables: every key of a section can be set by one.
//!
//! The name is `CLUSTER_`, the component's key and `_` (nothing for the main component), then the key in capitals
//! without its underscores; keys of nested objects are joined by `_`. As the reference: `envconfig` over its structs.

use super::error::ConfigError;
use super::section::{ComponentConfig, Section};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The variables of a process, as values so that tests can give others.
#[derive(Debug, Clone, Default)]
pub struct Environment(pub BTreeMap<String, String>);

impl Environment {
    /// The variables of this process whose names begin with `CLUSTER_`. Those that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).filter(|(name, _)| name.starts_with("CLUSTER_")).collect())
    }

    /// Whether any variable could concern sections.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The prefix of a section's variables.
pub(super) fn prefix<C: ComponentConfig>() -> String {
    match C::SECTION {
        Section::Cluster => "CLUSTER_".to_owned(),
        _ => format!("CLUSTER_{}_", C::KEY.to_uppercase()),
    }
}

/// Sets in `object` what variables say, walking it by its keys. Tells whether anything was set.
pub(super) fn apply(
    environment: &Environment,
    prefix: &str,
    object: &mut Map<String, Value>,
) -> Result<bool, ConfigError> {
    let mut applied = false;
    for (key, value) in object.iter_mut() {
        let name = format!("{prefix}{}", key.replace('_', "").to_uppercase());
        match value {
            // An object whose keys are fixed has variables for each; one of free keys (tags, headers, credentials)
            // has a single one.
            Value::Object(inner) if !environment.0.contains_key(&name) => {
                applied |= apply(environment, &format!("{name}_"), inner)?;
            }
            _ => {
                if let Some(text) = environment.0.get(&name) {
                    *value = parse(&name, key, text, value)?;
                    applied = true;
                }
            }
        }
    }
    Ok(applied)
}

/// The variable's text as a value of the kind that the key has now.
fn parse(name: &str, key: &str, text: &str, now: &Value) -> Result<Value, ConfigError> {
    let wrong = |kind: &str| {
        ConfigError::new(
            key,
            format!("the variable {name} must be {kind}, and is \"{text}\": set it to one or unset it"),
        )
    };
    Ok(match now {
        Value::Bool(_) => match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Value::Bool(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Value::Bool(false),
            _ => return Err(wrong("a boolean (true or false)")),
        },
        Value::Number(number) if number.is_f64() => {
            let float: f64 = text.parse().map_err(|_| wrong("a number"))?;
            serde_json::Number::from_f64(float).map(Value::Number).ok_or_else(|| wrong("a number"))?
        }
        Value::Number(_) => Value::from(parse_integer(text).ok_or_else(|| wrong("a whole number"))?),
        Value::Array(_) if text.is_empty() => Value::Array(Vec::new()),
        Value::Array(_) => text.split(',').map(Value::from).collect(),
        Value::Object(_) => Value::Object(parse_map(text).ok_or_else(|| wrong("a list such as a:b,c:d"))?),
        Value::Null | Value::String(_) => Value::from(text),
    })
}

/// Decimal, or with Go's prefixes `0x`, `0o`, `0b`, and `_` between digits.
fn parse_integer(text: &str) -> Option<i64> {
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = digits.to_lowercase();
    let value = match lower.get(..2) {
        Some("0x") => i64::from_str_radix(&lower[2..], 16),
        Some("0o") => i64::from_str_radix(&lower[2..], 8),
        Some("0b") => i64::from_str_radix(&lower[2..], 2),
        _ => digits.parse(),
    };
    value.ok().map(|v| v * sign)
}

fn parse_map(text: &str) -> Option<Map<String, Value>> {
    if text.is_empty() {
        return Some(Map::new());
    }
    text.split(',')
        .map(|item| {
            let (key, value) = item.split_once(':')?;
            (!value.contains(':')).then(|| (key.to_owned(), Value::from(value)))
        })
        .collect()
}
