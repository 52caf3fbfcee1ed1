//! Types of content: by the end of the name, else by how the content begins.

/// Types of ends of names, as systems commonly know them.
const BY_NAME: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("bz2", "application/x-bzip2"),
    ("c", "text/x-c; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("epub", "application/epub+zip"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("m4a", "audio/mp4"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("rss", "application/rss+xml"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("toml", "application/toml"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xhtml", "application/xhtml+xml"),
    ("xml", "text/xml; charset=utf-8"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

/// Types of beginnings.
const BY_BEGINNING: &[(&[u8], &str)] = &[
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\0asm", "application/wasm"),
    (b"OggS", "application/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"fLaC", "audio/flac"),
];

/// Bytes that tell the type.
pub(super) const BEGINNING: u64 = 512;

/// The type that a name tells.
pub(super) fn of_name(name: &str) -> Option<&'static str> {
    let (_, end) = name.rsplit_once('.')?;
    let end = end.to_ascii_lowercase();
    BY_NAME.binary_search_by(|(known, _)| (*known).cmp(&end)).ok().map(|at| BY_NAME[at].1)
}

/// The type that the first bytes tell.
pub(super) fn of_beginning(bytes: &[u8]) -> &'static str {
    if let Some((_, media)) = BY_BEGINNING.iter().find(|(beginning, _)| bytes.starts_with(beginning)) {
        return media;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        // A character may be cut at the end.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok(),
        Err(_) => None,
    };
    let Some(text) = text.filter(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace() && c != '\u{1b}'))
    else {
        return "application/octet-stream";
    };
    let start = text.trim_start().to_ascii_lowercase();
    match start {
        html if html.starts_with("<!doctype html") || html.starts_with("<html") => "text/html; charset=utf-8",
        svg if svg.starts_with("<svg") => "image/svg+xml",
        xml if xml.starts_with("<?xml") => "text/xml; charset=utf-8",
        json if json.starts_with(['{', '[']) && begins_json(text) => "application/json",
        _ => "text/plain; charset=utf-8",
    }
}

/// Whether the text is JSON, or could be if it went on.
fn begins_json(text: &str) -> bool {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => true,
        Err(error) => error.is_eof(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(BY_NAME.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(of_name("a.b.JPG"), Some("image/jpeg"));
        assert_eq!((of_name("bin.dat"), of_name("jpg")), (None, None));
    }

    #[test]
    fn beginnings_tell_text_from_bytes() {
        assert_eq!(of_beginning(b"hello\n"), "text/plain; charset=utf-8");
        assert_eq!(of_beginning("gr\u{fc}n".as_bytes().split_at(3).0), "text/plain; charset=utf-8");
        assert_eq!(of_beginning(b"  <!DOCTYPE HTML>"), "text/html; charset=utf-8");
        assert_eq!(of_beginning(b"\x1d\xdd\x6c\x89"), "application/octet-stream");
        assert_eq!(of_beginning(b"{\"a\": [1, \"cut"), "application/json");
        assert_eq!(of_beginning(b"[draft] a letter"), "text/plain; charset=utf-8");
        assert_eq!(of_beginning(b"a\0b"), "application/octet-stream");
        assert_eq!(of_beginning(b""), "text/plain; charset=utf-8");
    }
}
