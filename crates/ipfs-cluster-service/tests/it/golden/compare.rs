//! Whether an answer is the recorded one, apart from what the recording says is not determined.

use super::{items, text};
use regex::Regex;
use serde_json::{Map, Value};

/// What our program did, in the form of the recording: of a run the whole case, of a request its `response`.
pub(super) struct Outcome {
    pub(super) value: Value,
    /// Texts of this run and what the recording has in their place, such as ports and folders.
    pub(super) replaced: Vec<(String, String)>,
}

/// Our log lines, and the lines that belong to them. They are never part of what is promised.
const LOG_LINE: &str = r"(?m)^\S*\d{4}-\d{2}-\d{2}T\S+\s+(\S*(TRACE|DEBUG|INFO|WARN|ERROR)\S*)\s.*\n?(^        /.*\n)*";

/// Tells in words how the outcome differs from the recording; `None` if it does not.
pub(super) fn differences(case: &Value, actual: &Outcome) -> Option<String> {
    let recorded = case.get("response").unwrap_or(case);
    let mut told = String::new();
    for (key, ours) in actual.value.as_object()? {
        let (want, have) = (&recorded[key.as_str()], with_placeholders(ours.clone(), &actual.replaced));
        let at = format!("/{key}");
        let (want, have) = (settled(case, &at, key, want.clone()), settled(case, &at, key, have));
        if want != have {
            told.push_str(&format!("  {key}\n    want {}\n    have {}\n", short(&want), short(&have)));
        }
    }
    (!told.is_empty()).then_some(told)
}

fn short(value: &Value) -> String {
    let whole = value.as_str().map_or_else(|| value.to_string(), |text| format!("{text:?}"));
    whole.chars().take(1500).collect()
}

/// A part with everything taken out that may differ.
fn settled(case: &Value, at: &str, field: &str, part: Value) -> Value {
    let mut part = match part {
        Value::String(text) => Value::String(masked(case, field, &text)),
        other => other,
    };
    if field == "headers" {
        part = by_name(&part);
    }
    let pointers = |key: &str| -> Vec<Vec<String>> {
        items(case, key)
            .filter_map(Value::as_str)
            .filter(|p| p.starts_with(at))
            .map(|p| steps(&p[at.len()..]))
            .collect()
    };
    let (volatile, unordered) = (pointers("volatile"), pointers("unordered"));
    if let (true, Value::String(text)) = (matches!(field, "body" | "stdout"), &part) {
        match sequence(text) {
            Some(values) => part = Value::Array(values),
            None if unordered.iter().any(Vec::is_empty) => return Value::from(sorted_items(text)),
            None => {}
        }
    }
    volatile.iter().for_each(|path| visit(&mut part, path, &|value| *value = Value::Null));
    unordered.iter().for_each(|path| visit(&mut part, path, &sort));
    part
}

/// The text without what the recording masks, and without log lines.
fn masked(case: &Value, field: &str, text_now: &str) -> String {
    let mut now = text_now.to_owned();
    if field == "stderr" {
        now = Regex::new(LOG_LINE).expect("a pattern").replace_all(&now, "").into_owned();
    }
    for mask in items(case, "mask").filter(|mask| text(mask, "field") == field) {
        now = Regex::new(text(mask, "pattern")).expect("a pattern").replace_all(&now, "").into_owned();
    }
    now
}

fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// The text as a sequence of JSON objects and arrays, if it is one and nothing else.
fn sequence(text: &str) -> Option<Vec<Value>> {
    let values: Vec<Value> = serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().ok()?;
    values.iter().all(|v| v.is_object() || v.is_array()).then_some(values)
}

/// The lines of a text in order, each with the indented ones after it.
fn sorted_items(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        match found.last_mut() {
            Some(last) if line.starts_with(' ') => last.push_str(line),
            _ => found.push(line.to_owned()),
        }
    }
    found.sort();
    found
}

/// Headers as an object; the order of different names means nothing.
fn by_name(pairs: &Value) -> Value {
    let mut object = Map::new();
    for pair in pairs.as_array().into_iter().flatten() {
        let entry = object.entry(pair[0].as_str().unwrap_or("").to_owned()).or_insert_with(|| Value::Array(Vec::new()));
        entry.as_array_mut().expect("made as an array").push(pair[1].clone());
    }
    // How the body is framed is the transport's: a body that is here as a whole has a length, another has chunks.
    for name in ["Date", "Content-Length", "Transfer-Encoding"] {
        object.remove(name);
    }
    Value::Object(object)
}

fn visit(value: &mut Value, path: &[String], change: &dyn Fn(&mut Value)) {
    let Some((step, rest)) = path.split_first() else { return change(value) };
    match value {
        Value::Array(list) if step == "*" => list.iter_mut().for_each(|inner| visit(inner, rest, change)),
        Value::Array(list) => {
            if let Some(inner) = step.parse().ok().and_then(|at: usize| list.get_mut(at)) {
                visit(inner, rest, change);
            }
        }
        Value::Object(map) if step == "*" => map.values_mut().for_each(|inner| visit(inner, rest, change)),
        Value::Object(map) => {
            if let Some(inner) = map.get_mut(step) {
                visit(inner, rest, change);
            }
        }
        _ => {}
    }
}

fn sort(value: &mut Value) {
    if let Value::Array(list) = value {
        list.sort_by_key(ToString::to_string);
    }
}

fn with_placeholders(value: Value, replaced: &[(String, String)]) -> Value {
    let change = |text: String| replaced.iter().fold(text, |text, (ours, theirs)| text.replace(ours, theirs));
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(list) => Value::Array(list.into_iter().map(|v| with_placeholders(v, replaced)).collect()),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(k, v)| (change(k), with_placeholders(v, replaced))).collect())
        }
        other => other,
    }
}

#[test]
fn a_planted_difference_is_told_and_a_volatile_one_is_not() {
    let case = serde_json::json!({
        "exit": 0, "stdout": "{\"a\":1,\"t\":5}\n", "stderr": "no\n", "volatile": ["/stdout/0/t"],
    });
    let ours = |stdout: &str, stderr: &str| {
        let value = serde_json::json!({ "exit": 0, "stdout": stdout, "stderr": stderr });
        differences(&case, &Outcome { value, replaced: vec![("yes".into(), "no".into())] })
    };

    assert_eq!(ours("{\"a\":1,\"t\":9}\n", "2026-11-26T10:00:00.1Z  INFO x: y\nyes\n"), None);
    assert!(ours("{\"a\":2,\"t\":5}\n", "no\n").is_some());
    assert!(ours("{\"a\":1,\"t\":5}\n", "other\n").is_some());
}
