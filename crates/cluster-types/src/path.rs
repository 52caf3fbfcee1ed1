//! Paths into IPFS: `/ipfs/<cid>/a/b`, `/ipld/<cid>`, `/ipns/<name>/a`.

use crate::Cid;
use std::fmt;
use std::str::FromStr;

/// A path that names a namespace and a root, in its cleaned form: no empty, `.` or `..` segments.
///
/// As boxo's `path.NewPath`: a slash at the end is kept, and the texts of its errors are what the reference answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpfsPath {
    text: String,
    /// The root of a path that cannot change; `None` for `/ipns/`.
    root: Option<Cid>,
}

impl IpfsPath {
    /// Reads a path as users write it: also without `/ipfs/` before the CID.
    ///
    /// # Errors
    /// When it is no path either way; the error speaks of the path with `/ipfs/` added, as the reference's does.
    pub fn parse_lenient(text: &str) -> Result<Self, IpfsPathError> {
        text.parse().or_else(|_| format!("/ipfs/{text}").parse())
    }

    /// The CID it starts from, when that cannot change.
    #[must_use]
    pub fn root(&self) -> Option<Cid> {
        self.root
    }

    /// The CID, when the path is nothing but that: there is nothing to resolve then.
    #[must_use]
    pub fn bare_cid(&self) -> Option<Cid> {
        self.root.filter(|_| self.segments().count() == 2)
    }

    /// Namespace, root, and the names below it.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.text.split('/').filter(|s| !s.is_empty())
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for IpfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for IpfsPath {
    type Err = IpfsPathError;

    fn from_str(text: &str) -> Result<Self, IpfsPathError> {
        let invalid = |reason: String| IpfsPathError { path: text.to_owned(), reason };
        let segments = clean(text);
        let [namespace, root, ..] = segments.as_slice() else {
            return Err(invalid("path does not have enough components".to_owned()));
        };
        if !text.starts_with('/') {
            return Err(invalid("path does not have enough components".to_owned()));
        }
        let root = match *namespace {
            "ipfs" | "ipld" => Some(root.parse::<Cid>().map_err(|e| invalid(e.to_string()))?),
            "ipns" => None,
            other => return Err(invalid(format!("unknown namespace: {other:?}"))),
        };
        let slash = if text.ends_with('/') { "/" } else { "" };
        Ok(Self { text: format!("/{}{slash}", segments.join("/")), root })
    }
}

/// The segments without empty ones and `.`, each `..` having removed the one before it.
fn clean(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                out.pop();
            }
            name => out.push(name),
        }
    }
    out
}

/// A text that is no path into IPFS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid path {path:?}: {reason}")]
pub struct IpfsPathError {
    path: String,
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafkreid7gpqhtjk7g47gdy4mnj3z6zquug5xnoefz33qndkfaqcppe55nm";

    fn path(text: &str) -> IpfsPath {
        text.parse().unwrap()
    }

    fn error(text: &str) -> String {
        text.parse::<IpfsPath>().unwrap_err().to_string()
    }

    #[test]
    fn a_bare_cid_needs_no_resolving() {
        assert_eq!(path(&format!("/ipfs/{CID}")).bare_cid(), Some(CID.parse().unwrap()));
        assert_eq!(path(&format!("/ipld/{CID}/")).bare_cid(), Some(CID.parse().unwrap()));
        assert_eq!(path(&format!("/ipfs/{CID}/a")).bare_cid(), None);
        assert_eq!(path(&format!("/ipfs/{CID}/a")).root(), Some(CID.parse().unwrap()));
    }

    #[test]
    fn names_have_no_fixed_root() {
        assert_eq!(path("/ipns/example.com").root(), None);
        assert_eq!(path("/ipns/example.com").bare_cid(), None);
    }

    #[test]
    fn paths_are_cleaned_and_keep_a_slash_at_the_end() {
        assert_eq!(path(&format!("//ipfs/./{CID}//a/../b c/")).as_str(), format!("/ipfs/{CID}/b c/"));
    }

    #[test]
    fn errors_read_as_the_reference_words_them() {
        for short in ["", "/", "/ipfs", "/ipfs/", "bad"] {
            assert_eq!(error(short), format!("invalid path {short:?}: path does not have enough components"));
        }
        assert_eq!(error("/other/x"), "invalid path \"/other/x\": unknown namespace: \"other\"");
        assert!(error("/ipfs/bad/x").starts_with("invalid path \"/ipfs/bad/x\": "), "{}", error("/ipfs/bad/x"));
    }

    #[test]
    fn lenient_reading_takes_a_cid_without_namespace() {
        assert_eq!(IpfsPath::parse_lenient(&format!("{CID}/a")).unwrap().as_str(), format!("/ipfs/{CID}/a"));
        assert!(IpfsPath::parse_lenient("bad").unwrap_err().to_string().starts_with("invalid path \"/ipfs/bad\""));
    }
}
