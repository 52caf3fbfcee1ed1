//! From what is asked for to the answer.

use super::answer::{
    Answer, IMMUTABLE, PAGE, Refusal, disposition, has_tag, moved, not_modified, refused, set, with_origin,
};
use super::ask::{Ask, Form};
use super::{listing, media};
use crate::server::{Ending, buffered, chunked, empty};
use bytes::Bytes;
use cluster_component::content::{CarScope, Content, ContentBytes, ContentKind, Duplicates, Resolved};
use cluster_component::errors::ConnectorError;
use cluster_types::Cid;
use futures::{StreamExt, TryStreamExt, stream};
use http::{Method, Response, StatusCode, header};
use std::ops::Range;
use std::sync::Arc;

/// Clients read no trailers of content: one that ends early is cut.
const CUT: Ending = Ending { takes_trailers: false, empty_trailer: false };

/// The answer to a request for content.
pub(super) async fn answer(content: &Arc<dyn Content>, method: &Method, ask: &Ask) -> Result<Answer, Refusal> {
    let failed = |error: ConnectorError| Refusal::unresolved(ask, &error);
    if ask.only_if_cached && !content.has(&ask.root).await.map_err(failed)? {
        let text = format!("{:?} not in local datastore", ask.path);
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, text));
    }
    let found = content.resolve(&ask.root, &ask.names).await.map_err(failed)?;
    let serving = Serving { content, head: *method == Method::HEAD, ask, found: &found };
    let answer = match &ask.form {
        Form::Files => serving.files().await,
        Form::Raw => serving.raw().await,
        Form::Car(scope, order, duplicates) => serving.car(scope, order, *duplicates).await,
        Form::Data(word) => serving.data(word).await,
        Form::NotHere(media) => {
            let text = format!("{media} is not available here: ask for format=raw or format=car");
            Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, text).of(&ask.path))
        }
        Form::NameRecord => Err(Refusal::new(StatusCode::BAD_REQUEST, "no IPNS link").of(&ask.path)),
    }?;
    // As boxo: what the client has already is told in short.
    let passed: &[Cid] = if answer.status() == StatusCode::NOT_MODIFIED { &[] } else { &found.passed };
    Ok(with_origin(answer, ask, passed))
}

struct Serving<'a> {
    content: &'a Arc<dyn Content>,
    head: bool,
    ask: &'a Ask,
    found: &'a Resolved,
}

/// Content of a known size.
struct Sized {
    etag: String,
    media: String,
    size: u64,
    disposition: Option<String>,
}

impl Serving<'_> {
    fn failed(&self, error: &ConnectorError) -> Refusal {
        Refusal::unresolved(self.ask, error)
    }

    fn unchanged(&self, etag: &str, cache: &str) -> Option<Answer> {
        let known = self.ask.if_none_match.as_deref().is_some_and(|tags| has_tag(tags, etag));
        known.then(|| not_modified(etag, cache))
    }

    async fn files(&self) -> Result<Answer, Refusal> {
        let cid = self.found.cid;
        match self.content.kind(&cid).await.map_err(|e| self.failed(&e))? {
            ContentKind::File(size) => self.file(cid, size, None, None).await,
            ContentKind::Symlink(target) => Ok(self.symlink(target)),
            ContentKind::Directory => self.directory().await,
            ContentKind::Data => match cid.codec() {
                dag_codec::DAG_CBOR => self.data("dag-cbor").await,
                dag_codec::DAG_JSON => self.data("dag-json").await,
                dag_codec::JSON => self.data("json").await,
                dag_codec::CBOR => self.data("cbor").await,
                _ => self.raw().await,
            },
        }
    }

    /// A file; one that stands for its directory has the directory's tag.
    async fn file(&self, cid: Cid, size: u64, etag: Option<Cid>, media: Option<&str>) -> Result<Answer, Refusal> {
        let etag = format!("\"{}\"", etag.unwrap_or(cid));
        if let Some(answer) = self.unchanged(&etag, IMMUTABLE) {
            return Ok(answer);
        }
        let name = self.ask.filename.as_deref().or_else(|| self.ask.names.rsplit('/').next());
        let media = match media.or_else(|| name.and_then(media::of_name)) {
            Some(media) => media,
            None => media::of_beginning(&self.beginning(cid).await?),
        };
        let kind = if self.ask.download { "attachment" } else { "inline" };
        let disposition = self.ask.filename.as_deref().map(|name| disposition(kind, name));
        let read = |range| Arc::clone(self.content).read(cid, range);
        self.sized(Sized { etag, media: media.to_owned(), size, disposition }, read).await
    }

    async fn beginning(&self, cid: Cid) -> Result<Bytes, Refusal> {
        let pieces = Arc::clone(self.content).read(cid, 0..media::BEGINNING).try_collect::<Vec<Bytes>>().await;
        Ok(pieces.map_err(|e| self.failed(&e))?.concat().into())
    }

    /// The whole, or the range that was asked for.
    async fn sized(&self, sized: Sized, read: impl FnOnce(Range<u64>) -> ContentBytes) -> Result<Answer, Refusal> {
        let wanted = self.ask.range.filter(|_| self.ask.if_range.as_ref().is_none_or(|tag| *tag == sized.etag));
        let range = match wanted.map(|wanted| wanted.of(sized.size)) {
            None => 0..sized.size,
            Some(Some(range)) => range,
            Some(None) => return Ok(self.past_the_end(&sized)),
        };
        let length = range.end - range.start;
        let mut response = if self.head || length == 0 {
            Response::new(empty())
        } else {
            Response::new(self.begun(read(range.clone())).await?)
        };
        let headers = response.headers_mut();
        set(headers, header::ACCEPT_RANGES, "bytes");
        set(headers, header::CACHE_CONTROL, IMMUTABLE);
        set(headers, header::CONTENT_LENGTH, &length.to_string());
        set(headers, header::CONTENT_TYPE, &sized.media);
        set(headers, header::ETAG, &sized.etag);
        if let Some(disposition) = &sized.disposition {
            set(headers, header::CONTENT_DISPOSITION, disposition);
        }
        if wanted.is_some() {
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, sized.size);
            set(headers, header::CONTENT_RANGE, &text);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        Ok(response)
    }

    /// The answer begins when the first bytes are there, so that their absence can be told.
    async fn begun(&self, mut bytes: ContentBytes) -> Result<crate::server::ResponseBody, Refusal> {
        let first = bytes.next().await.transpose().map_err(|e| self.failed(&e))?;
        let all = stream::iter(first.map(Ok)).chain(bytes);
        Ok(chunked(all.map_err(|error| error.to_string()), CUT))
    }

    fn past_the_end(&self, sized: &Sized) -> Answer {
        let mut response = Response::new(buffered("invalid range: failed to overlap\n"));
        *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
        let headers = response.headers_mut();
        refused(headers);
        set(headers, header::CACHE_CONTROL, IMMUTABLE);
        set(headers, header::ETAG, &sized.etag);
        set(headers, header::CONTENT_RANGE, &format!("bytes */{}", sized.size));
        response
    }

    /// A link is not followed: its target is shown.
    fn symlink(&self, target: String) -> Answer {
        let etag = format!("\"{}\"", self.found.cid);
        if let Some(answer) = self.unchanged(&etag, IMMUTABLE) {
            return answer;
        }
        let length = target.len();
        let mut response = Response::new(if self.head { empty() } else { buffered(target) });
        let headers = response.headers_mut();
        set(headers, header::ACCEPT_RANGES, "bytes");
        set(headers, header::CACHE_CONTROL, IMMUTABLE);
        set(headers, header::CONTENT_LENGTH, &length.to_string());
        set(headers, header::CONTENT_TYPE, "inode/symlink");
        set(headers, header::ETAG, &etag);
        response
    }

    async fn directory(&self) -> Result<Answer, Refusal> {
        let (cid, ask) = (self.found.cid, self.ask);
        if !ask.path.ends_with('/') {
            // Links in pages are relative to the directory. Not `//host`: that would lead to another.
            return Ok(moved(&format!("{}/{}", ask.raw_path, ask.query)));
        }
        match self.content.resolve(&cid, "index.html").await {
            Ok(index) => match self.content.kind(&index.cid).await.map_err(|e| self.failed(&e))? {
                ContentKind::File(size) => self.file(index.cid, size, Some(cid), Some("text/html")).await,
                _ => self.page(cid),
            },
            // A large directory lacks a name in one of its blocks; whether that is here shows when it is listed.
            Err(ConnectorError::NotFound(_)) => self.page(cid),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn page(&self, cid: Cid) -> Result<Answer, Refusal> {
        let etag = format!("\"DirIndex-1_CID-{cid}\"");
        if let Some(answer) = self.unchanged(&etag, PAGE) {
            return Ok(answer);
        }
        let body = if self.head {
            empty()
        } else {
            let head = listing::head(&self.ask.path, &cid, !self.ask.names.is_empty());
            let rows = Arc::clone(self.content).list(cid).map_ok(|entries| Bytes::from(listing::rows(&entries)));
            let all = stream::iter([Ok(Bytes::from(head))]).chain(rows).chain(stream::iter([Ok(listing::TAIL.into())]));
            chunked(all.map_err(|error| error.to_string()), CUT)
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        set(headers, header::CACHE_CONTROL, PAGE);
        set(headers, header::CONTENT_TYPE, "text/html");
        set(headers, header::ETAG, &etag);
        Ok(response)
    }

    async fn raw(&self) -> Result<Answer, Refusal> {
        let cid = self.found.cid;
        self.block(format!("\"{cid}.raw\""), "application/vnd.ipld.raw", "attachment", "bin").await
    }

    /// The root block under a type, as a file to save or to look at.
    async fn block(&self, etag: String, media: &str, kind: &str, end: &str) -> Result<Answer, Refusal> {
        if let Some(answer) = self.unchanged(&etag, IMMUTABLE) {
            return Ok(answer);
        }
        let data = self.content.block(&self.found.cid).await.map_err(|e| self.failed(&e))?;
        let name = self.ask.filename.clone().unwrap_or_else(|| format!("{}.{end}", self.found.cid));
        let kind = if self.ask.download { "attachment" } else { kind };
        let sized = Sized {
            etag,
            media: media.to_owned(),
            size: data.len() as u64,
            disposition: Some(disposition(kind, &name)),
        };
        let cut = |range: Range<u64>| stream::iter([Ok(data.slice(range.start as usize..range.end as usize))]).boxed();
        let mut response = self.sized(sized, cut).await?;
        set(response.headers_mut(), header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        Ok(response)
    }

    /// Data as data: only what is stored in the codec that is asked for.
    async fn data(&self, word: &str) -> Result<Answer, Refusal> {
        let cid = self.found.cid;
        let (end, kind) = if word.ends_with("json") { ("json", "inline") } else { ("cbor", "attachment") };
        let stored = match cid.codec() {
            dag_codec::RAW => "raw",
            dag_codec::DAG_PB => "dag-pb",
            dag_codec::DAG_CBOR => "dag-cbor",
            dag_codec::DAG_JSON => "dag-json",
            dag_codec::JSON => "json",
            dag_codec::CBOR => "cbor",
            _ => "unknown",
        };
        let file_system = matches!(stored, "raw" | "dag-pb");
        let plain = matches!(word, "json" | "cbor");
        if plain && file_system {
            // As boxo: without the `dag-` it is a wish about files too.
            return Box::pin(self.files()).await;
        }
        if stored == word || stored.strip_prefix("dag-") == Some(word) {
            let etag = format!("\"{cid}.{word}\"");
            let media = if plain { format!("application/{word}") } else { format!("application/vnd.ipld.{word}") };
            return self.block(etag, &media, kind, end).await;
        }
        let (status, text) = if plain {
            (StatusCode::BAD_REQUEST, "converting to requested format is not supported".to_owned())
        } else {
            let text = format!(
                "format \"application/vnd.ipld.{word}\" requested but block has codec \"{stored}\": codec conversion is \
                 not supported, fetch raw block with ?format=raw and convert client-side"
            );
            (StatusCode::NOT_ACCEPTABLE, text)
        };
        Err(Refusal::new(status, text).of(&self.ask.path))
    }

    async fn car(&self, scope: &CarScope, order: &str, duplicates: Duplicates) -> Result<Answer, Refusal> {
        let root = self.ask.root;
        let word = if duplicates == Duplicates::Sent { "y" } else { "n" };
        // The same blocks in the same order, whatever is asked about twice.
        let which = match scope {
            CarScope::All => "all".to_owned(),
            CarScope::Block => "block".to_owned(),
            CarScope::Entity(None) => "entity".to_owned(),
            CarScope::Entity(Some(bytes)) => format!("entity-{}-{}", bytes.from, bytes.to.unwrap_or(i64::MAX)),
        };
        let etag = format!("W/\"{root}.car.{}.{which}.{order}.{word}\"", self.found.cid);
        if let Some(answer) = self.unchanged(&etag, IMMUTABLE) {
            return Ok(answer);
        }
        // A root that cannot be had is told while that is possible, without a body too.
        self.content.block(&self.found.cid).await.map_err(|e| self.failed(&e))?;
        let body = if self.head {
            empty()
        } else {
            let names = self.ask.names.clone();
            self.begun(Arc::clone(self.content).car(root, names, scope.clone(), duplicates)).await?
        };
        let last = self.ask.names.rsplit('/').next().filter(|name| !name.is_empty());
        let name = last.map_or_else(|| format!("{root}.car"), |name| format!("{root}_{name}.car"));
        let name = self.ask.filename.clone().unwrap_or(name);
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        set(headers, header::ACCEPT_RANGES, "none");
        set(headers, header::CACHE_CONTROL, IMMUTABLE);
        set(headers, header::CONTENT_DISPOSITION, &disposition("attachment", &name));
        let media = format!("application/vnd.ipld.car; version=1; order={order}; dups={word}");
        set(headers, header::CONTENT_TYPE, &media);
        set(headers, header::ETAG, &etag);
        set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        Ok(response)
    }
}

/// Codecs by their multicodec numbers.
mod dag_codec {
    pub(super) const RAW: u64 = 0x55;
    pub(super) const DAG_PB: u64 = 0x70;
    pub(super) const DAG_CBOR: u64 = 0x71;
    pub(super) const DAG_JSON: u64 = 0x0129;
    pub(super) const JSON: u64 = 0x0200;
    pub(super) const CBOR: u64 = 0x51;
}
