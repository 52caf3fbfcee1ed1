//! The body of an add: a multipart form whose parts are files, directories and links.

use super::form::{Form, FormError};
use super::path::without_dots;
use crate::server::{BodyError, RequestBody};
use bytes::Bytes;
use cluster_component::component::{Part, PartKind};
use cluster_component::errors::ClusterError;
use cluster_types::Timestamp;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, EXPECT};
use http_body_util::BodyExt;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Most bytes of a link's target.
const TARGET_MAX: usize = 4096;

/// The bytes of a body.
pub(in crate::api) type Body = BoxStream<'static, Result<Bytes, BodyError>>;

/// The bytes of a body. A client that asked whether to send it is told to before the answer begins: one that hears the
/// answer instead waits for a second, in the hope of being told after all.
pub(in crate::api) async fn begun(body: RequestBody, headers: &HeaderMap) -> Body {
    let mut bytes = body.into_data_stream();
    if !headers.contains_key(EXPECT) {
        return bytes.boxed();
    }
    let first = bytes.next().await;
    futures::stream::iter(first).chain(bytes).boxed()
}

/// Why a body is no such form; told before it is read.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::api) struct NotMultipart(pub(crate) &'static str);

/// The boundary that the headers name.
pub(in crate::api) fn boundary(headers: &HeaderMap) -> Result<String, NotMultipart> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let kind = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if kind != "multipart/form-data" && kind != "multipart/mixed" {
        return Err(NotMultipart("request Content-Type isn't multipart/form-data"));
    }
    parameter(content_type, "boundary").ok_or(NotMultipart("no multipart boundary param in Content-Type"))
}

/// The parts in order. A form without any part is an error, since there is nothing to pin.
pub(in crate::api) fn parts(body: Body, boundary: String) -> BoxStream<'static, Result<Part, ClusterError>> {
    let form = Arc::new(Mutex::new(Form::new(body, &boundary)));
    let parts = futures::stream::unfold((form, Progress::None), |(form, progress)| async move {
        if progress == Progress::Over {
            return None;
        }
        let head = form.lock().await.next_part().await;
        let (part, progress) = match head {
            Ok(Some(head)) => match part(&head, &form).await {
                Ok(part) => (Ok(part), Progress::Some),
                Err(error) => (Err(error), Progress::Over),
            },
            Ok(None) if progress == Progress::None => {
                let text = "the request body has no parts: send at least one file as multipart/form-data";
                (Err(ClusterError::Body(text.into())), Progress::Over)
            }
            Ok(None) => return None,
            Err(error) => (Err(broken(&error)), Progress::Over),
        };
        Some((part, (form, progress)))
    });
    parts.boxed()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    None,
    Some,
    Over,
}

async fn part(head: &HeaderMap, form: &Arc<Mutex<Form>>) -> Result<Part, ClusterError> {
    let header = |name| head.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).unwrap_or_default();
    let disposition = header(CONTENT_DISPOSITION);
    let path = parameter(&disposition, "filename").map(|name| without_dots(&unescape(&name))).unwrap_or_default();
    let (mode, mtime) = parameter(&disposition, "name").map(|name| attributes(&name)).unwrap_or_default();
    let kind = match header(CONTENT_TYPE).split(';').next().unwrap_or("").trim() {
        "application/x-directory" | "multipart/form-data" => PartKind::Directory,
        "application/symlink" => PartKind::Symlink(target(&mut *form.lock().await).await?),
        _ => PartKind::File(content(Arc::clone(form))),
    };
    Ok(Part { path, kind, mode, mtime })
}

/// The bytes of the part that the form is at. It must have been read, or dropped, before the next part is asked for.
fn content(form: Arc<Mutex<Form>>) -> BoxStream<'static, Result<Bytes, ClusterError>> {
    let pieces = futures::stream::unfold(Some(form), |form| async move {
        let form = form?;
        let piece = form.lock().await.content().await;
        match piece {
            Ok(piece) => piece.map(|piece| (Ok(piece), Some(form))),
            Err(error) => Some((Err(broken(&error)), None)),
        }
    });
    pieces.boxed()
}

async fn target(form: &mut Form) -> Result<String, ClusterError> {
    let mut bytes = Vec::new();
    while let Some(piece) = form.content().await.map_err(|e| broken(&e))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > TARGET_MAX {
            return Err(ClusterError::Body(format!("the target of a link is longer than {TARGET_MAX} bytes")));
        }
    }
    String::from_utf8(bytes).map_err(|_| ClusterError::Body("the target of a link is not UTF-8".into()))
}

/// A body that ends early reads as the reference words it.
fn broken(error: &FormError) -> ClusterError {
    ClusterError::Body(match error {
        FormError::Truncated => "multipart: NextPart: EOF".into(),
        FormError::Body(stalled @ BodyError::Stalled(_)) => stalled.to_string(),
        FormError::Body(BodyError::Broken(_)) => "unexpected EOF".into(),
        FormError::Malformed(text) => format!("multipart: {text}"),
    })
}

/// A parameter of a header value, its quotes and backslashes undone.
fn parameter(value: &str, name: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (text, next) = quoted_or_token(after.trim_start());
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(text);
        }
        rest = next.trim_start().strip_prefix(';')?;
    }
}

/// The value at the beginning of the text, and what follows it.
fn quoted_or_token(text: &str) -> (String, &str) {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, character) in inner.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &inner[at + 1..]),
            _ => value.push(character),
        }
    }
    (value, "")
}

/// Undoes a query's escapes; a text with a broken one stays as it is.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let broken = |at: usize| !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if bytes.iter().enumerate().any(|(at, byte)| *byte == b'%' && broken(at)) {
        return text.to_owned();
    }
    percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Mode and modification time, which clients send behind the name of the form field: `file?mode=0644&mtime=…`.
fn attributes(name: &str) -> (Option<u32>, Option<Timestamp>) {
    let pairs = super::query::parse(name.split_once('?').map_or("", |(_, query)| query));
    let value = |key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let mode = value("mode").and_then(|text| u32::from_str_radix(text, 8).ok());
    let nanos = value("mtime-nsecs").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mtime = value("mtime").and_then(|text| text.parse().ok()).map(|secs| Timestamp::from_unix(secs, nanos));
    (mode, mtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;
    use http::HeaderValue;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn parameters_are_read_with_and_without_quotes() {
        let value = "form-data; name=\"file?mode=0644\"; filename=\"a \\\"b\\\";c\"; x=y";
        assert_eq!(parameter(value, "filename").as_deref(), Some("a \"b\";c"));
        assert_eq!(parameter(value, "name").as_deref(), Some("file?mode=0644"));
        assert_eq!(parameter(value, "X").as_deref(), Some("y"));
        assert_eq!(parameter(value, "z"), None);
        assert_eq!(parameter("form-data; name=\"open", "name").as_deref(), Some("open"));
    }

    #[test]
    fn file_names_are_unescaped_and_cannot_leave_the_tree() {
        assert_eq!(without_dots(&unescape("a%2Fb+c")), "a/b c");
        assert_eq!(without_dots(&unescape("%zz")), "%zz");
        assert_eq!(without_dots("/../../etc/passwd"), "etc/passwd");
    }

    #[test]
    fn the_kind_of_the_body_is_checked_first() {
        let of = |text: &'static str| boundary(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))]));
        assert_eq!(of("multipart/form-data; boundary=x"), Ok("x".into()));
        assert_eq!(of("multipart/form-data"), Err(NotMultipart("no multipart boundary param in Content-Type")));
        assert_eq!(of("text/plain"), Err(NotMultipart("request Content-Type isn't multipart/form-data")));
    }

    #[test]
    fn modes_are_octal_and_times_have_nanoseconds() {
        let read = attributes("file?mode=0644&mtime=5&mtime-nsecs=7");
        assert_eq!(read, (Some(0o644), Some(Timestamp::from_unix(5, 7))));
    }

    /// Every part of a form with its bytes, sent in pieces; and why it ended.
    async fn read(form: &[u8], piece: usize) -> (Vec<(String, Vec<u8>)>, Option<String>) {
        let pieces: Vec<_> = form.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut parts = parts(futures::stream::iter(pieces).boxed(), "b".into());
        let mut read = Vec::new();
        while let Some(part) = parts.next().await {
            let part = match part {
                Ok(part) => part,
                Err(error) => return (read, Some(error.to_string())),
            };
            let content = match part.kind {
                PartKind::File(bytes) => bytes.try_collect::<Vec<_>>().await.map(|pieces| pieces.concat()),
                PartKind::Symlink(target) => Ok(target.into_bytes()),
                PartKind::Directory => Ok(Vec::new()),
            };
            match content {
                Ok(content) => read.push((part.path, content)),
                Err(error) => return (read, Some(error.to_string())),
            }
        }
        (read, None)
    }

    /// The parser keeps what it has not understood yet.
    #[tokio::test]
    async fn headers_and_a_beginning_without_end_are_not_kept_in_memory() {
        for (beginning, words) in [
            ("--b\r\nContent-Disposition: form-data; name=\"", "the head of a part has more than 65536 bytes"),
            ("no boundary ", "more than 1048576 bytes before the first part"),
        ] {
            let rest = futures::stream::repeat(Bytes::from_static(&[b'a'; 8 << 10])).take(1_000);
            let pieces = futures::stream::iter([Bytes::from_static(beginning.as_bytes())]).chain(rest).map(Ok);
            let read = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&read);
            let pieces = pieces.inspect(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
            });

            let first = parts(pieces.boxed(), "b".into()).next().await.expect("an answer");

            let told = first.map(|part| part.path).expect_err("refused").to_string();
            assert!(told.contains(words), "{told}");
            assert!(read.load(Ordering::Relaxed) < 140, "no more was read");
        }
    }

    /// What was understood does not count, however much it is.
    #[tokio::test]
    async fn a_file_may_have_more_bytes_than_its_headers() {
        let (sender, pieces) = futures::channel::mpsc::channel::<Result<Bytes, BodyError>>(0);
        let sent = async move {
            let mut sender = sender;
            let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
            let piece = || Ok(Bytes::from_static(&[b'a'; 64 << 10]));
            let all = [Ok(head.into())].into_iter().chain((0..48).map(|_| piece())).chain([Ok("\r\n--b--\r\n".into())]);
            for piece in all {
                futures::SinkExt::send(&mut sender, piece).await.expect("taken");
            }
        };
        let read = async {
            let mut parts = parts(pieces.boxed(), "b".into());
            let PartKind::File(bytes) = parts.next().await.expect("a part").expect("whole").kind else {
                panic!("a file")
            };
            bytes.map_ok(|piece| piece.len()).try_fold(0, |sum, len| std::future::ready(Ok(sum + len))).await
        };
        let ((), read) = futures::join!(sent, read);
        assert_eq!(read.expect("whole"), 3 << 20);
    }

    #[test]
    fn fuzz_forms() {
        let form = b"--b\r\nContent-Disposition: form-data; name=\"file?mode=0644&mtime=5\"; filename=\"d\"\r\n\
            Content-Type: application/x-directory\r\n\r\n\r\n--b\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"d%2F..%2Fa\"\r\n\r\nhello\r\n--b\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"d/link\"\r\n\
            Content-Type: application/symlink\r\n\r\n../a\r\n--b--\r\n";
        cluster_testkit::mutate::fuzz("the reader of forms", &[form], |form| {
            futures::executor::block_on(async {
                let (read, error) = read(form, 7).await;
                for (path, _) in &read {
                    assert!(path.split('/').all(|name| !matches!(name, "." | "..")), "{path:?} leaves the tree");
                }
                assert!(read.iter().map(|(_, content)| content.len()).sum::<usize>() <= form.len());
                assert!(!read.is_empty() || error.is_some(), "nothing was read, and nothing told");
            });
        });
    }
}
