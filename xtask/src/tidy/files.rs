//! Rules about single files: what they begin with, what they may not say, where they may be.

/// What no file may say, and why.
fn forbidden() -> [(String, &'static str); 4] {
    // Put together here, so that this file does not say them.
    [
        (["to", "do!("].concat(), "unfinished code"),
        (["unimpl", "emented!("].concat(), "unfinished code"),
        (["#[ig", "nore"].concat(), "a test that does not run"),
        (["/wo", "rk/"].concat(), "a path of one machine"),
    ]
}

/// Everything that is wrong with a file.
pub(super) fn check(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if path.ends_with(".rs") && !text.starts_with("//!") {
        wrong.push(format!("{path}: begins without a `//!` that says what it is for"));
    }
    let parts: Vec<&str> = path.split('/').collect();
    if let ["crates", name, "tests", file] = parts.as_slice() {
        wrong.push(format!("{path}: put it into crates/{name}/tests/it, and {file} becomes a module of one binary"));
    }
    for (word, why) in forbidden() {
        if let Some(line) = text.lines().position(|line| line.contains(&word)) {
            wrong.push(format!("{path}:{}: `{word}`: {why}", line + 1));
        }
    }
    if path.ends_with("/Cargo.toml") {
        let pinned = text.lines().filter(|line| line.contains("version = \"") && !line.starts_with("version"));
        wrong.extend(pinned.map(|line| format!("{path}: versions stand in the root manifest: {line}")));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_against_a_rule_is_noticed() {
        assert_eq!(check("crates/x/src/a.rs", "//! Head.\nfn a() {}\n"), Vec::<String>::new());
        assert_eq!(check("crates/x/src/a.rs", "fn a() {}\n").len(), 1);
        assert_eq!(check("crates/x/tests/more.rs", "//! Head.\n").len(), 1);
        assert_eq!(check("a.md", &["see /wo", "rk/x"].concat()).len(), 1);
        assert_eq!(check("crates/x/Cargo.toml", "a = { version = \"1\" }\n").len(), 1);
    }
}
