//! JSON as Go writes it: compact, with `<`, `>`, `&` and the two line separators escaped.

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};
use std::io;

/// A value as JSON.
#[must_use]
pub fn to_go_json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_go_json(&mut out, value);
    out
}

/// Appends a value as JSON.
///
/// # Panics
/// When the value cannot be written as JSON, such as a map whose keys are no texts; no type of this crate is one.
pub fn write_go_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let mut serializer = serde_json::Serializer::with_formatter(out, GoFormatter(CompactFormatter));
    value.serialize(&mut serializer).expect("a plain value can be written as JSON");
}

/// Appends a text in quotes, escaped.
pub fn write_go_text(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&');
    if text.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        write_go_json(out, text);
    }
}

struct GoFormatter(CompactFormatter);

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{7f}', '\u{2028}', '\u{2029}']) {
            let (head, tail) = rest.split_at(at);
            writer.write_all(head.as_bytes())?;
            let mut characters = tail.chars();
            match characters.next() {
                Some('<') => writer.write_all(b"\\u003c")?,
                Some('>') => writer.write_all(b"\\u003e")?,
                Some('&') => writer.write_all(b"\\u0026")?,
                Some('\u{2028}') => writer.write_all(b"\\u2028")?,
                Some('\u{2029}') => writer.write_all(b"\\u2029")?,
                Some(other) => writer.write_all(other.encode_utf8(&mut [0; 4]).as_bytes())?,
                None => {}
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_go() {
        let text = "<a&b>\u{2028}é\"\\\n\u{1}";
        let expected = "\"\\u003ca\\u0026b\\u003e\\u2028é\\\"\\\\\\n\\u0001\"";
        assert_eq!(String::from_utf8(to_go_json(text)).expect("text"), expected);

        let mut out = Vec::new();
        write_go_text(&mut out, text);
        write_go_text(&mut out, "plain");
        assert_eq!(String::from_utf8(out).expect("text"), format!("{expected}\"plain\""));
    }
}
