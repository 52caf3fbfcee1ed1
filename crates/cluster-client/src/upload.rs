//! The body of an add: entries of the file system, or bytes, as a multipart form that is made while it is sent.

use crate::error::ClientError;
use crate::transport::RequestBody;
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use url::Url;

/// Bytes read from a file at a time.
const READ_BYTES: usize = 256 << 10;

/// What is told of bytes sent: how many more of the contents have gone out.
pub type OnSent = Arc<dyn Fn(u64) + Send + Sync>;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in what is added, `/`-separated.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A file on disk, with its size when the tree was read.
    File(PathBuf, u64),
    /// Bytes in memory.
    Bytes(Bytes),
    /// What standard input gives; can be sent once.
    Stdin,
    /// What is behind a URL, fetched by this client.
    Web(Url),
    /// A directory; its entries follow.
    Directory,
    /// A symbolic link and its target.
    Symlink(String),
}

/// What is to be added.
#[derive(Clone)]
pub struct Upload {
    entries: Arc<Vec<Entry>>,
    boundary: String,
    on_sent: Option<OnSent>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Upload {
    /// These entries, in this order; those of a directory must follow one another.
    #[must_use]
    pub fn new(entries: Vec<Entry>) -> Self {
        // Sixty hexadecimal digits from the process's own source of chance: no content will hold them by accident.
        let number = || format!("{:016x}", RandomState::new().build_hasher().finish());
        let boundary = format!("{}{}{}{}", number(), number(), number(), number()).chars().take(60).collect();
        Self { entries: Arc::new(entries), boundary, on_sent: None }
    }

    /// Tells of bytes as they are sent.
    #[must_use]
    pub fn on_sent(mut self, on_sent: OnSent) -> Self {
        self.on_sent = Some(on_sent);
        self
    }

    /// Bytes of all contents, as far as they are known beforehand.
    #[must_use]
    pub fn size(&self) -> u64 {
        let of = |entry: &Entry| match &entry.kind {
            EntryKind::File(_, size) => *size,
            EntryKind::Bytes(bytes) => bytes.len() as u64,
            _ => 0,
        };
        self.entries.iter().map(of).sum()
    }

    pub(crate) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// The body, read from the disk while it is sent. A file that cannot be read cuts it.
    pub(crate) fn body(&self) -> Result<RequestBody, ClientError> {
        let this = self.clone();
        let count = self.entries.len();
        let parts = futures::stream::iter(0..count).flat_map(move |at| this.part(at));
        let end = Bytes::from(format!("--{}--\r\n", self.boundary));
        let frames = parts.chain(futures::stream::iter([Ok(end)])).map(|chunk| chunk.map(Frame::data));
        Ok(StreamBody::new(frames).boxed_unsync())
    }

    fn part(&self, at: usize) -> BoxStream<'static, io::Result<Bytes>> {
        let entry = &self.entries[at];
        let head = Bytes::from(head(&self.boundary, entry));
        let content = match &entry.kind {
            EntryKind::Directory => futures::stream::empty().boxed(),
            EntryKind::Symlink(target) => one(Bytes::from(target.clone())),
            EntryKind::Bytes(bytes) => one(bytes.clone()),
            EntryKind::File(path, _) => file(path.clone()),
            EntryKind::Web(url) => crate::web::fetch(url.clone()),
            EntryKind::Stdin => chunks(tokio::io::stdin(), "standard input".into()),
        };
        let on_sent = self.on_sent.clone();
        let told = content.inspect(move |chunk| {
            if let (Some(on_sent), Ok(chunk)) = (&on_sent, chunk) {
                on_sent(chunk.len() as u64);
            }
        });
        one(head).chain(told).chain(one(Bytes::from_static(b"\r\n"))).boxed()
    }
}

fn one(bytes: Bytes) -> BoxStream<'static, io::Result<Bytes>> {
    futures::stream::iter([Ok(bytes)]).boxed()
}

fn head(boundary: &str, entry: &Entry) -> String {
    let kind = match entry.kind {
        EntryKind::Directory => "application/x-directory",
        EntryKind::Symlink(_) => "application/symlink",
        _ => "application/octet-stream",
    };
    let name = utf8_percent_encode(&entry.name, NON_ALPHANUMERIC);
    format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
    )
}

fn file(path: PathBuf) -> BoxStream<'static, io::Result<Bytes>> {
    let shown = path.display().to_string();
    let opened = async move {
        match tokio::fs::File::open(&path).await {
            Ok(file) => chunks(file, shown),
            Err(error) => futures::stream::iter([Err(io::Error::other(format!("open {shown}: {error}")))]).boxed(),
        }
    };
    futures::stream::once(opened).flatten().boxed()
}

fn chunks(
    reader: impl tokio::io::AsyncRead + Send + Unpin + 'static,
    shown: String,
) -> BoxStream<'static, io::Result<Bytes>> {
    futures::stream::try_unfold((reader, shown), |(mut reader, shown)| async move {
        let mut buffer = BytesMut::with_capacity(READ_BYTES).limit(READ_BYTES);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some((buffer.into_inner().freeze(), (reader, shown)))),
            Err(error) => Err(io::Error::other(format!("read {shown}: {error}"))),
        }
    })
    .boxed()
}

/// What of the file system shall be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Take {
    /// Directories with what is in them.
    pub recursive: bool,
    /// Names that begin with a dot, below the path that is given.
    pub hidden: bool,
}

/// The entries of a path, named by its last component, in byte order of names.
///
/// # Errors
/// When something cannot be read, is a directory and those are not wanted, or is neither file, directory nor link.
pub fn entries_of(path: &Path, take: Take) -> Result<Vec<Entry>, ClientError> {
    let real = if path == Path::new(".") {
        std::fs::canonicalize(path).map_err(|e| local("lstat", path, &e))?
    } else {
        path.to_owned()
    };
    let name = real.components().next_back().map(|c| c.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    let mut entries = Vec::new();
    collect(&real, name, take, &mut entries)?;
    Ok(entries)
}

/// The entry of a URL, named by the last part of its path.
///
/// # Errors
/// When it is no URL of the web.
pub fn entry_of_url(url: &str) -> Result<Entry, ClientError> {
    let url: Url = url.parse().map_err(|e| ClientError::Local(format!("parse \"{url}\": {e}")))?;
    let last = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
    let name = percent_decode_str(last).decode_utf8_lossy().into_owned();
    Ok(Entry { name, kind: EntryKind::Web(url) })
}

fn local(what: &str, path: &Path, error: &io::Error) -> ClientError {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    ClientError::Local(format!("{what} {}: {reason}", path.display()))
}

/// A stack and not a recursion, since trees are as deep as users make them.
fn collect(path: &Path, name: String, take: Take, entries: &mut Vec<Entry>) -> Result<(), ClientError> {
    let mut stack = vec![(path.to_owned(), name)];
    while let Some((path, name)) = stack.pop() {
        let metadata = std::fs::symlink_metadata(&path).map_err(|e| local("lstat", &path, &e))?;
        let kind = if metadata.is_symlink() {
            let target = std::fs::read_link(&path).map_err(|e| local("readlink", &path, &e))?;
            EntryKind::Symlink(target.to_string_lossy().into_owned())
        } else if metadata.is_file() {
            EntryKind::File(path.clone(), metadata.len())
        } else if metadata.is_dir() {
            if !take.recursive {
                let text = format!("{} is a directory, but Recursive option is not set", path.display());
                return Err(ClientError::Local(text));
            }
            stack.extend(children(&path, &name, take.hidden)?);
            EntryKind::Directory
        } else {
            return Err(ClientError::Local(format!("unrecognized file type for {}", path.display())));
        };
        entries.push(Entry { name, kind });
    }
    Ok(())
}

/// What is in a directory, the last name first, since a stack turns it round.
fn children(path: &Path, name: &str, hidden: bool) -> Result<Vec<(PathBuf, String)>, ClientError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| local("open", path, &e))? {
        let entry = entry.map_err(|e| local("open", path, &e))?;
        let own = entry.file_name().to_string_lossy().into_owned();
        if hidden || !own.starts_with('.') {
            found.push((entry.path(), format!("{name}/{own}")));
        }
    }
    found.sort_by(|a, b| b.1.as_bytes().cmp(a.1.as_bytes()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("temp folder");
        std::fs::create_dir_all(root.path().join("d/sub")).expect("folders");
        for (name, text) in [("d/b.txt", "b"), ("d/sub/a.txt", "aa"), ("d/.hidden", "h")] {
            std::fs::write(root.path().join(name), text).expect("file");
        }
        std::os::unix::fs::symlink("b.txt", root.path().join("d/link")).expect("link");
        root
    }

    fn names(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|e| e.name.as_str()).collect()
    }

    #[test]
    fn a_tree_is_read_in_byte_order_without_hidden_files() {
        let root = tree();
        let entries = entries_of(&root.path().join("d"), Take { recursive: true, hidden: false }).expect("read");
        assert_eq!(names(&entries), ["d", "d/b.txt", "d/link", "d/sub", "d/sub/a.txt"]);

        let all = entries_of(&root.path().join("d"), Take { recursive: true, hidden: true }).expect("read");
        assert_eq!(names(&all)[1], "d/.hidden");
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        let root = tree();
        let text = |path: &str, take| entries_of(&root.path().join(path), take).expect_err("refused").to_string();
        assert!(text("d", Take::default()).ends_with("d is a directory, but Recursive option is not set"));
        assert!(text("missing", Take::default()).ends_with("missing: no such file or directory"));
    }

    #[tokio::test]
    async fn the_body_is_a_multipart_form() {
        let entries = vec![
            Entry { name: "d".into(), kind: EntryKind::Directory },
            Entry { name: "d/a b".into(), kind: EntryKind::Bytes(Bytes::from_static(b"hello")) },
        ];
        let upload = Upload::new(entries);
        let boundary = upload.boundary.clone();

        let body = upload.body().expect("body").collect().await.expect("read").to_bytes();

        let text = String::from_utf8(body.to_vec()).expect("text");
        assert_eq!(boundary.len(), 60);
        assert!(
            text.starts_with(&format!("--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"d\""))
        );
        assert!(text.contains("filename=\"d%2Fa%20b\"\r\nContent-Type: application/octet-stream\r\n\r\nhello\r\n--"));
        assert!(text.ends_with(&format!("--{boundary}--\r\n")));
    }
}
