//! `cat` and `ls`: files and directories.

use super::super::pins::OBJECT_BYTES_MAX;
use super::{Node, Refused, arguments, as_bytes, as_lines, flag, line, number, resolve};
use crate::api::ipfsproxy::service::{Answer, Asked};
use bytes::Bytes;
use cluster_component::content::{ContentBytes, ContentEntry, ContentKind};
use cluster_types::Cid;
use dag::pb;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use std::sync::Arc;

/// Entries whose kind is looked up at a time.
const LOOKUPS: usize = 16;

/// Kinds of entries, by UnixFS's numbers.
const UNKNOWN: i32 = 0;
const DIRECTORY: i32 = 1;
const FILE: i32 = 2;
const SYMLINK: i32 = 4;

/// The bytes of files, one after the other.
pub(super) async fn cat(node: &Node, asked: &Asked) -> Result<Answer, Refused> {
    let mut skip = number(asked, &["offset", "o"])?.unwrap_or(0);
    let mut left = number(asked, &["length", "l"])?.unwrap_or(u64::MAX);
    let (mut pieces, mut length): (Vec<ContentBytes>, u64) = (Vec::new(), 0);
    for text in arguments(asked, "ipfs-path")? {
        let cid = resolve(node, &text).await?;
        let (size, target) = match node.kind(&cid).await? {
            ContentKind::File(size) => (size, None),
            // As Kubo: what is in a link is where it leads.
            ContentKind::Symlink(target) => (target.len() as u64, Some(Bytes::from(target))),
            ContentKind::Directory => return Err(Refused::failed("this dag node is a directory")),
            ContentKind::Data => return Err(Refused::failed(format!("{cid} is no file"))),
        };
        let start = skip.min(size);
        let end = start.saturating_add(left).min(size);
        skip -= start;
        left -= end - start;
        length += end - start;
        match target {
            Some(target) => pieces.push(stream::iter([Ok(target.slice(start as usize..end as usize))]).boxed()),
            None if start < end => pieces.push(Arc::clone(node).read(cid, start..end)),
            None => {}
        }
    }
    let bytes = stream::iter(pieces).flatten().map_err(|error| error.to_string());
    as_bytes(asked, bytes.boxed(), length, "text/plain").await
}

/// An entry of `ls`.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Link {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Hash")]
    cid: Cid,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Type")]
    kind: i32,
    #[serde(rename = "Target")]
    target: String,
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(rename = "Hash")]
    path: &'a str,
    #[serde(rename = "Links")]
    links: &'a [Link],
}

#[derive(Serialize)]
struct Listing<'a> {
    #[serde(rename = "Objects")]
    objects: Vec<Listed<'a>>,
}

type Links = BoxStream<'static, Result<Vec<Link>, String>>;

/// What is in directories: an object an entry (`stream`), or all of it in one, in the order of names.
pub(super) async fn list(node: &Node, asked: &Asked) -> Result<Answer, Refused> {
    let look = flag(asked, &["resolve-type"], true)? || flag(asked, &["size"], true)?;
    let in_pieces = flag(asked, &["stream", "s"], false)?;
    let mut listings = Vec::new();
    for path in arguments(asked, "ipfs-path")? {
        let cid = resolve(node, &path).await?;
        listings.push((path, links(node, cid, look).await?));
    }
    if in_pieces {
        let all = stream::iter(listings).flat_map(|(path, links)| links.map_ok(move |page| one_by_one(&path, &page)));
        return as_lines(asked, all.boxed()).await;
    }
    let (mut whole, mut bytes) = (Vec::new(), 0);
    for (path, mut pages) in listings {
        let mut links: Vec<Link> = Vec::new();
        while let Some(page) = pages.next().await.transpose().map_err(Refused::failed)? {
            // What an entry takes besides its name: its CID, its numbers, and the names of its fields.
            bytes += page.iter().map(|link| link.name.len() + link.target.len() + 160).sum::<usize>();
            if bytes > OBJECT_BYTES_MAX {
                return Err(Refused::failed("the list is too long to be sent at once: ask with stream=true"));
            }
            links.extend(page);
        }
        links.sort_by(|a, b| a.name.cmp(&b.name));
        whole.push((path, links));
    }
    let objects = whole.iter().map(|(path, links)| Listed { path, links }).collect();
    Ok(asked.object(&Listing { objects }))
}

fn one_by_one(path: &str, links: &[Link]) -> Bytes {
    let object = |link| line(&Listing { objects: vec![Listed { path, links: std::slice::from_ref(link) }] });
    links.iter().flat_map(object).collect()
}

/// The entries of a directory; of a file its parts, as Kubo lists them.
async fn links(node: &Node, cid: Cid, look: bool) -> Result<Links, Refused> {
    if node.kind(&cid).await? != ContentKind::Directory {
        let parts = match cid.codec() {
            dag::DAG_PB => pb::Node::decode(&node.block(&cid).await?).map_err(|e| Refused::failed(e.to_string()))?,
            _ => pb::Node::default(),
        };
        let entry = |link: pb::Link| ContentEntry { name: link.name, cid: Cid(link.cid), size: link.tsize };
        let parts = looked_up(Arc::clone(node), parts.links.into_iter().map(entry).collect(), look).await;
        return Ok(stream::iter([Ok(parts.map_err(Refused::failed)?)]).boxed());
    }
    let (pages, node) = (Arc::clone(node).list(cid), Arc::clone(node));
    Ok(pages.map_err(|e| e.to_string()).and_then(move |page| looked_up(Arc::clone(&node), page, look)).boxed())
}

async fn looked_up(node: Node, entries: Vec<ContentEntry>, look: bool) -> Result<Vec<Link>, String> {
    let links = stream::iter(entries).map(|entry| link(&node, entry, look));
    links.buffered(LOOKUPS).try_collect().await
}

async fn link(node: &Node, entry: ContentEntry, look: bool) -> Result<Link, String> {
    let ContentEntry { name, cid, size } = entry;
    let (kind, size, target) = match (look, cid.codec()) {
        (false, _) => (UNKNOWN, 0, String::new()),
        (true, dag::RAW) => (FILE, size, String::new()),
        (true, _) => match node.kind(&cid).await.map_err(|error| format!("{name}: {error}"))? {
            ContentKind::File(size) => (FILE, size, String::new()),
            ContentKind::Directory => (DIRECTORY, 0, String::new()),
            ContentKind::Symlink(target) => (SYMLINK, target.len() as u64, target),
            ContentKind::Data => (UNKNOWN, size, String::new()),
        },
    };
    Ok(Link { name, cid, size, kind, target })
}
