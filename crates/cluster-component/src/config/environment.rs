//! `CLUSTER_…` variables: every key of a section can be set by one.
//!
//! The name is `CLUSTER_`, the component's key and `_` (nothing for the main component), then the key in capitals
//! without its underscores; keys of nested objects are joined by `_`. As the reference: `envconfig` over its structs.
//!
//! Beyond the reference, a name with `_FILE` behind it names a file whose text is the value, so that secrets need not
//! stand where every program of the machine's user can read them. No key ends so: underscores of keys are left out.

use super::error::ConfigError;
use super::section::{ComponentConfig, Section};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

/// What a variable's name ends with when its value is the path of a file.
const FILE: &str = "_FILE";

/// Most bytes of such a file: far more than any value has.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The variables of a process, as values so that tests can give others.
#[derive(Debug, Clone, Default)]
pub struct Environment(pub BTreeMap<String, String>);

impl Environment {
    /// The variables of this process whose names begin with `CLUSTER_`, and what stands in the files that they name.
    /// Those that are not UTF-8 are left out.
    ///
    /// # Errors
    /// When a file cannot be read, or a value is given both by itself and by a file.
    pub fn of_process() -> Result<Self, ConfigError> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).filter(|(name, _)| name.starts_with("CLUSTER_")).collect())
            .with_files()
    }

    /// With the texts of the files that `…_FILE` variables name, in place of these.
    ///
    /// # Errors
    /// When a file cannot be read, or a value is given both by itself and by a file.
    pub fn with_files(mut self) -> Result<Self, ConfigError> {
        let of_files = self.0.keys().filter_map(|name| Some((name.clone(), name.strip_suffix(FILE)?.to_owned())));
        for (name, key) in of_files.collect::<Vec<_>>() {
            let Some(path) = self.0.remove(&name) else { continue };
            if self.0.contains_key(&key) {
                let text = format!("both variables {key} and {name} are set: unset one of them");
                return Err(ConfigError::new(key, text));
            }
            let text = read_file(&path).map_err(|reason| {
                let text = format!("the variable {name} names the file {path}, {reason}: put the value of {key} there");
                ConfigError::new(&key, text)
            })?;
            self.0.insert(key, text);
        }
        Ok(self)
    }

    /// The value of a variable, if it is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether any variable could concern sections.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The text of a file, without the end of its last line.
fn read_file(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|e| format!("which cannot be read ({e})"))?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    let length = read.map_err(|e| format!("which cannot be read ({e})"))?;
    if u64::try_from(length).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(format!("which is longer than {FILE_BYTES_MAX} bytes"));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
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
