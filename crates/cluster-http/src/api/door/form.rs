//! A multipart form as it comes in (RFC 2046, section 5.1): the heads of its parts, and their bytes in the pieces in which the
//! client sends them, uncopied.

use super::multipart::Body;
use crate::server::BodyError;
use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem::Finder;

/// Most bytes of a part's head, which is kept until its end has come: a path of 4,096 bytes may stand in it twice, escaped.
const HEAD_MAX: usize = 64 << 10;

/// Most bytes before the first part. They are passed over; most forms have none.
const PREAMBLE_MAX: usize = 1 << 20;

/// Why a form cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormError {
    /// It ended before its last boundary.
    #[error("it ends too early")]
    Truncated,
    /// Its bytes did not come.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It is none.
    #[error("{0}")]
    Malformed(String),
}

fn malformed(text: impl Into<String>) -> FormError {
    FormError::Malformed(text.into())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the first boundary.
    Preamble,
    /// In a part.
    Content,
    /// Behind a boundary.
    Boundary,
    /// Behind the last boundary.
    End,
}

/// A form that is read.
pub(super) struct Form {
    body: Body,
    /// What has come and was not taken.
    come: Bytes,
    /// A line break, and the boundary with the dashes before it.
    delimiter: Finder<'static>,
    at: At,
}

impl Form {
    pub(super) fn new(body: Body, boundary: &str) -> Self {
        let delimiter = Finder::new(format!("\r\n--{boundary}").as_bytes()).into_owned();
        // The first boundary may be at the very beginning.
        Self { body, come: Bytes::from_static(b"\r\n"), delimiter, at: At::Preamble }
    }

    /// The head of the next part, once what is left of the part before it has been passed over; `None` at the end.
    pub(super) async fn next_part(&mut self) -> Result<Option<HeaderMap>, FormError> {
        self.pass_over().await?;
        if self.at == At::End {
            return Ok(None);
        }
        while self.come.len() < 2 {
            self.more().await?;
        }
        if self.come.starts_with(b"--") {
            self.at = At::End;
            return Ok(None);
        }
        let head = head(&self.take_head().await?)?;
        self.at = At::Content;
        // A part without content may lack the line break before the boundary.
        let boundary_len = self.delimiter.needle().len() - 2;
        while self.come.len() < boundary_len {
            self.more().await?;
        }
        if self.come.starts_with(&self.delimiter.needle()[2..]) {
            self.come.advance(boundary_len);
            self.at = At::Boundary;
        }
        Ok(Some(head))
    }

    async fn pass_over(&mut self) -> Result<(), FormError> {
        let mut passed = 0;
        while let Some(bytes) = self.content().await? {
            passed += bytes.len();
            if self.at == At::Preamble && passed > PREAMBLE_MAX {
                return Err(malformed(format!("more than {PREAMBLE_MAX} bytes before the first part")));
            }
        }
        Ok(())
    }

    /// The next bytes of the part; `None` at its end.
    pub(super) async fn content(&mut self) -> Result<Option<Bytes>, FormError> {
        if matches!(self.at, At::Boundary | At::End) {
            return Ok(None);
        }
        loop {
            if let Some(end) = self.delimiter.find(&self.come) {
                let content = self.come.split_to(end);
                self.come.advance(self.delimiter.needle().len());
                self.at = At::Boundary;
                return Ok((!content.is_empty()).then_some(content));
            }
            let sure = self.come.len() - begun(&self.come, self.delimiter.needle());
            if sure > 0 {
                return Ok(Some(self.come.split_to(sure)));
            }
            self.more().await?;
        }
    }

    /// The head of a part, from behind the boundary to the empty line.
    async fn take_head(&mut self) -> Result<Bytes, FormError> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.come[..self.come.len().min(HEAD_MAX)], b"\r\n\r\n") {
                return Ok(self.come.split_to(end + 4));
            }
            if self.come.len() >= HEAD_MAX {
                return Err(malformed(format!("the head of a part has more than {HEAD_MAX} bytes")));
            }
            self.more().await?;
        }
    }

    /// Waits for more bytes.
    async fn more(&mut self) -> Result<(), FormError> {
        let piece = self.body.next().await.ok_or(FormError::Truncated)??;
        self.come = if self.come.is_empty() {
            piece
        } else {
            let mut joined = BytesMut::with_capacity(self.come.len() + piece.len());
            joined.extend_from_slice(&self.come);
            joined.extend_from_slice(&piece);
            joined.freeze()
        };
        Ok(())
    }
}

/// How many bytes at the end may be the beginning of a delimiter.
fn begun(bytes: &[u8], delimiter: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(delimiter.len() - 1);
    let tail = &bytes[from..];
    let begin = memchr::memchr_iter(b'\r', tail).find(|at| delimiter.starts_with(&tail[*at..]));
    begin.map_or(0, |at| tail.len() - at)
}

/// Reads a part's head: spaces behind the boundary, a line break, and lines that each end in one; the last one is empty.
fn head(bytes: &[u8]) -> Result<HeaderMap, FormError> {
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("the head of a part is not UTF-8"))?;
    let (padding, lines) = text.split_once("\r\n").unwrap_or_default();
    if !padding.trim_matches([' ', '\t']).is_empty() {
        return Err(malformed("something follows a boundary in its line"));
    }
    let mut headers = HeaderMap::new();
    for line in lines.split("\r\n").filter(|line| !line.is_empty()) {
        let wrong =
            || malformed(format!("{:?} is no line of a part's head", line.chars().take(80).collect::<String>()));
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let value = HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes()).map_err(|_| wrong())?;
        headers.entry(name).or_insert(value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    /// The parts of a form that comes in pieces of so many bytes: a header of each, and its content; and why it ended.
    fn read(form: &[u8], piece: usize) -> (Vec<(String, Vec<u8>)>, Option<String>) {
        let pieces: Vec<_> = form.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut form = Form::new(futures::stream::iter(pieces).boxed(), "b");
        let mut parts = Vec::new();
        let mut all = async || {
            while let Some(head) = form.next_part().await? {
                let name = head.get("x").map_or("", |value| value.to_str().expect("text")).to_owned();
                let mut content = Vec::new();
                while let Some(bytes) = form.content().await? {
                    assert!(!bytes.is_empty());
                    content.extend_from_slice(&bytes);
                }
                parts.push((name, content));
            }
            Ok::<(), FormError>(())
        };
        let error = block_on(all()).err().map(|error| error.to_string());
        (parts, error)
    }

    #[test]
    fn parts_are_whole_however_they_are_cut_on_their_way() {
        let form = b"preamble\r\n--b \t\r\nX: 1\r\n\r\nhello\r\n--\r\n-b\r\r\n\r\n--b\r\nX:2\r\n\r\n--b\r\n\r\n\r\n\r\n--b--\r\nepilogue";
        let part = |name: &str, content: &[u8]| (name.to_owned(), content.to_vec());
        for piece in 1..form.len() {
            let (parts, error) = read(form, piece);
            assert_eq!(error, None, "pieces of {piece}");
            assert_eq!(parts[0], part("1", b"hello\r\n--\r\n-b\r\r\n"));
            assert_eq!(parts[1..], [part("2", b""), part("", b"\r\n")]);
        }
    }

    #[test]
    fn what_is_no_form_is_told() {
        assert_eq!(read(b"", 9), (vec![], Some("it ends too early".into())));
        assert_eq!(read(b"--b\r\nx: 1\r\n\r\nhello", 9), (vec![], Some("it ends too early".into())));
        assert_eq!(read(b"--b--", 9), (vec![], None));
        let wrong = read(b"--b\r\nx\r\n\r\n\r\n--b--", 9).1;
        assert_eq!(wrong.as_deref(), Some("\"x\" is no line of a part's head"));
        assert!(read(b"--b\r\nx: \x08\r\n\r\n\r\n--b--", 9).1.is_some());
        let endless = [b"--b\r\nx: ".as_slice(), &[b'y'; 2 * HEAD_MAX]].concat();
        assert_eq!(read(&endless, 999).1.as_deref(), Some("the head of a part has more than 65536 bytes"));
        let endless = vec![b'y'; 2 * PREAMBLE_MAX];
        assert_eq!(read(&endless, 9_999).1.as_deref(), Some("more than 1048576 bytes before the first part"));
    }

    /// A part that nobody reads is passed over.
    #[test]
    fn the_next_part_begins_where_the_one_before_ends() {
        let form = Bytes::from_static(b"--b\r\nx: 1\r\n\r\nhello\r\n--b\r\nx: 2\r\n\r\nworld\r\n--b--");
        let mut form = Form::new(futures::stream::iter([Ok(form)]).boxed(), "b");
        block_on(async {
            form.next_part().await.expect("read").expect("the first");
            assert_eq!(form.next_part().await.expect("read").expect("the second")["x"], "2");
            assert_eq!(form.content().await.expect("read").as_deref(), Some(&b"world"[..]));
        });
    }
}
