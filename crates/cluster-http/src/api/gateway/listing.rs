//! Directories as pages: a row an entry, written while the directory is read.

use super::answer::path_escaped;
use cluster_component::content::ContentEntry;
use cluster_types::Cid;
use std::fmt::Write;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;\
color:#1b2430}table{border-collapse:collapse;width:100%}td{padding:.25rem .5rem;border-bottom:1px solid #e4e7ea}\
td.s{text-align:right;white-space:nowrap}td.c{font-family:monospace;font-size:.8rem}a{color:#0b6ea8;\
text-decoration:none}a:hover{text-decoration:underline}h1{font-size:1.2rem;word-break:break-all}";

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The page up to the first entry. `path` is that of the directory, with a slash at its end.
pub(super) fn head(path: &str, cid: &Cid, below_root: bool) -> String {
    let title = html(path);
    let up = if below_root { "<tr><td><a href=\"..\">..</a></td><td></td><td></td></tr>\n" } else { "" };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Index of {title}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<h1>Index of {title}</h1>\n<p><code>{cid}</code></p>\n<table>\n{up}"
    )
}

/// Some entries. Their links are relative, so that the page works wherever it stands.
pub(super) fn rows(entries: &[ContentEntry]) -> String {
    let mut out = String::with_capacity(entries.len() * 200);
    for ContentEntry { name, cid, size } in entries {
        // With a dot in front, a name with a colon is no address of another kind.
        let (href, name, size) = (path_escaped(name), html(name), human(*size));
        let _infallible = writeln!(
            out,
            "<tr><td><a href=\"./{href}\">{name}</a></td><td class=\"c\"><a href=\"/ipfs/{cid}\">{cid}</a></td>\
             <td class=\"s\">{size}</td></tr>"
        );
    }
    out
}

/// The end of the page.
pub(super) const TAIL: &str = "</table>\n</body>\n</html>\n";

fn human(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < units.len() {
        size /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_page() {
        let cid: Cid = "bafkqabdbmjrwi".parse().expect("a CID");
        let entry = ContentEntry { name: "<script>\"a'b & c?#".into(), cid, size: 1_500 };
        let row = rows(&[entry]);
        assert!(row.contains("href=\"./%3Cscript%3E%22a%27b%20%26%20c%3F%23\""), "{row}");
        assert!(row.contains(">&lt;script&gt;&quot;a&#39;b &amp; c?#</a>"), "{row}");
        assert!(row.contains("1.5 kB"), "{row}");
    }
}
