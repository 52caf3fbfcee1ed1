//! How answers look: the reference's text, or its JSON.

pub(crate) mod dot;
mod human;
mod text;

pub(crate) use cluster_cli::progress::Progress;
pub(crate) use text::Text;

use crate::cli::Encoding;
use serde::Serialize;
use serde_json::ser::PrettyFormatter;

/// Something that commands show.
pub(crate) trait Show: Text + Serialize {
    /// Prints it in the encoding asked for.
    fn show(&self, encoding: Encoding) {
        match encoding {
            Encoding::Text => print!("{}", self.text()),
            Encoding::Json => print!("{}", json(self)),
        }
    }
}

impl<T: Text + Serialize> Show for T {}

/// JSON as the reference prints it: four spaces, a line end, and Go's escapes.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    // Every value shown came out of JSON, so that it can go back.
    value.serialize(&mut serializer).expect("what was read as JSON can be written as JSON");
    let text = String::from_utf8_lossy(&bytes);
    let mut out = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        match character {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out.push('\n');
    out
}
