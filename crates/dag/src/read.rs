//! Reading UnixFS: paths, listings and ranges of files. Each is a machine that says which block it needs and is given
//! it, so that where blocks come from is the caller's matter.

use crate::hamt::{self, Width};
use crate::links::DAG_CBOR;
use crate::pb::{Kind, Node, UnixFs};
use crate::{DAG_PB, RAW};
use bytes::Bytes;
use cid::Cid;
use ipld_core::ipld::Ipld;
use std::collections::VecDeque;
use std::ops::Range;

/// Most levels below a file's or a directory's root: no honest DAG comes near.
const DEPTH_MAX: usize = 64;

/// Why something cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A block is not what it should be.
    #[error("{0} is no UnixFS node")]
    NotUnixFs(Cid),
    /// Nothing of the name is there.
    #[error("no link named {name:?} under {parent}")]
    NoLink {
        /// What was looked for.
        name: String,
        /// Where.
        parent: Cid,
    },
    /// Bytes were wanted of what has none.
    #[error("{0} is a directory")]
    IsDirectory(Cid),
    /// Entries were wanted of what has none.
    #[error("{0} is no directory")]
    NotADirectory(Cid),
    /// A block is not the dag-cbor data that its name says.
    #[error("{0} is no dag-cbor data")]
    NotData(Cid),
    /// A path ends at a value within a block.
    #[error("the path ends within the data of {0}: only paths to whole blocks can be followed")]
    WithinBlock(Cid),
    /// Nested deeper than is read.
    #[error("the DAG below {0} is nested too deep")]
    TooDeep(Cid),
}

/// What a node is, read from its block.
#[derive(Debug, Clone)]
pub enum Content {
    /// Bytes, here or below.
    File {
        /// Bytes of the whole file.
        size: u64,
    },
    /// Entries, here or (large ones) below.
    Directory,
    /// Leads somewhere else.
    Symlink(String),
    /// Data that is no part of a file system.
    Data,
}

/// What a block is.
///
/// # Errors
/// When it is no UnixFS node.
pub fn content_of(cid: &Cid, block: &Bytes) -> Result<Content, ReadError> {
    match cid.codec() {
        RAW => return Ok(Content::File { size: block.len() as u64 }),
        DAG_PB => {}
        _ => return Ok(Content::Data),
    }
    let (_, unixfs) = open(cid, block)?;
    Ok(match unixfs.kind {
        Kind::Raw | Kind::File => Content::File { size: size_of(&unixfs) },
        Kind::Directory | Kind::Shard => Content::Directory,
        Kind::Symlink => Content::Symlink(String::from_utf8_lossy(&unixfs.data).into_owned()),
    })
}

fn open(cid: &Cid, block: &Bytes) -> Result<(Node, UnixFs), ReadError> {
    let node = if cid.codec() == DAG_PB { Node::decode(block).ok() } else { None };
    let read = node.and_then(|node| UnixFs::decode(&node.data).ok().map(|unixfs| (node, unixfs)));
    read.ok_or(ReadError::NotUnixFs(*cid))
}

fn size_of(unixfs: &UnixFs) -> u64 {
    unixfs.file_size.unwrap_or(unixfs.data.len() as u64)
}

/// Follows a path from a root: names in directories, and keys in dag-cbor data.
#[derive(Debug)]
pub struct Resolve {
    here: Cid,
    rest: VecDeque<String>,
    /// What the names led to so far, the root first.
    passed: Vec<Cid>,
    /// Levels of a large directory's trie that were passed for the next name.
    level: u32,
}

impl Resolve {
    /// The segments of the path follow the root; empty ones are skipped.
    #[must_use]
    pub fn new(root: Cid, path: &str) -> Self {
        let rest = path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self { here: root, rest, passed: vec![root], level: 0 }
    }

    /// The block that is needed; `None` when the end is reached, which is [`here`](Self::here).
    #[must_use]
    pub fn need(&self) -> Option<Cid> {
        (!self.rest.is_empty()).then_some(self.here)
    }

    /// Where it has come to.
    #[must_use]
    pub fn here(&self) -> Cid {
        self.here
    }

    /// The root and what each name led to; a large directory counts once.
    #[must_use]
    pub fn passed(&self) -> &[Cid] {
        &self.passed
    }

    /// Brings the block that was needed.
    ///
    /// # Errors
    /// When the path leads nowhere.
    pub fn supply(&mut self, block: &Bytes) -> Result<(), ReadError> {
        if self.here.codec() == DAG_CBOR {
            return self.follow_keys(block);
        }
        let Some(name) = self.rest.front().cloned() else { return Ok(()) };
        let missing = || ReadError::NoLink { name: name.clone(), parent: self.here };
        let (node, unixfs) = open(&self.here, block).map_err(|_| missing())?;
        let find = |wanted: &str| node.links.iter().find(|link| link.name == wanted).map(|link| link.cid);
        let found = match unixfs.kind {
            Kind::Directory => find(&name),
            Kind::Shard => {
                let width = Width::of(&unixfs).ok_or(ReadError::NotUnixFs(self.here))?;
                let prefix = width.prefix(width.place(hamt::hash(&name), self.level).ok_or_else(missing)?);
                if let Some(below) = find(&prefix) {
                    (self.here, self.level) = (below, self.level + 1);
                    return Ok(());
                }
                find(&(prefix + &name))
            }
            Kind::File | Kind::Raw | Kind::Symlink => None,
        };
        let found = found.ok_or_else(missing)?;
        self.rest.pop_front();
        self.arrive(found);
        Ok(())
    }

    fn arrive(&mut self, at: Cid) {
        (self.here, self.level) = (at, 0);
        self.passed.push(at);
    }

    /// Follows keys and numbers within data up to the next link.
    fn follow_keys(&mut self, block: &Bytes) -> Result<(), ReadError> {
        let parent = self.here;
        let mut value: Ipld = serde_ipld_dagcbor::from_slice(block).map_err(|_| ReadError::NotData(parent))?;
        while let Some(name) = self.rest.pop_front() {
            let found = match value {
                Ipld::Map(mut map) => map.remove(&name),
                Ipld::List(mut list) => name.parse().ok().filter(|at| *at < list.len()).map(|at| list.swap_remove(at)),
                _ => None,
            };
            value = found.ok_or(ReadError::NoLink { name, parent })?;
            if let Ipld::Link(cid) = value {
                self.arrive(cid);
                return Ok(());
            }
        }
        Err(ReadError::WithinBlock(parent))
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEntry {
    /// Its name.
    pub name: String,
    /// Its root.
    pub cid: Cid,
    /// Bytes of all its blocks.
    pub tsize: u64,
}

/// Lists a directory.
#[derive(Debug)]
pub struct List {
    waiting: Vec<(Cid, usize)>,
}

impl List {
    /// The entries of this one.
    #[must_use]
    pub fn new(root: Cid) -> Self {
        Self { waiting: vec![(root, 0)] }
    }

    /// The block that is needed; `None` at the end.
    #[must_use]
    pub fn need(&self) -> Option<Cid> {
        self.waiting.last().map(|(cid, _)| *cid)
    }

    /// Brings the block that was needed, and gets the entries in it.
    ///
    /// # Errors
    /// When it is no directory.
    pub fn supply(&mut self, block: &Bytes) -> Result<Vec<ListedEntry>, ReadError> {
        let Some((cid, depth)) = self.waiting.pop() else { return Ok(Vec::new()) };
        let (node, unixfs) = open(&cid, block).map_err(|_| ReadError::NotADirectory(cid))?;
        let entry = |name: &str, link: &crate::pb::Link| ListedEntry {
            name: name.to_owned(),
            cid: link.cid,
            tsize: link.tsize,
        };
        match unixfs.kind {
            Kind::Directory => Ok(node.links.iter().map(|link| entry(&link.name, link)).collect()),
            Kind::Shard if depth > DEPTH_MAX => Err(ReadError::TooDeep(cid)),
            Kind::Shard => {
                let prefix = Width::of(&unixfs).ok_or(ReadError::NotUnixFs(cid))?.prefix_len();
                let mut entries = Vec::new();
                let mut below = Vec::new();
                for link in &node.links {
                    match link.name.get(prefix..) {
                        Some("") => below.push((link.cid, depth + 1)),
                        Some(name) => entries.push(entry(name, link)),
                        None => return Err(ReadError::NotUnixFs(cid)),
                    }
                }
                self.waiting.extend(below.into_iter().rev());
                Ok(entries)
            }
            Kind::File | Kind::Raw | Kind::Symlink => Err(ReadError::NotADirectory(cid)),
        }
    }
}

/// Reads bytes of a file, in order.
#[derive(Debug)]
pub struct FileReader {
    range: Range<u64>,
    /// Blocks to visit, the next last.
    waiting: Vec<Piece>,
}

/// A block of a file.
#[derive(Debug, Clone, Copy)]
struct Piece {
    cid: Cid,
    /// Where its bytes begin.
    start: u64,
    /// How many there are, as its parent says.
    size: Option<u64>,
    depth: usize,
}

impl FileReader {
    /// These bytes of the file; what is past its end is not there.
    #[must_use]
    pub fn new(root: Cid, range: Range<u64>) -> Self {
        Self { range, waiting: vec![Piece { cid: root, start: 0, size: None, depth: 0 }] }
    }

    /// The block that is needed; `None` at the end.
    #[must_use]
    pub fn need(&self) -> Option<Cid> {
        self.waiting.last().map(|piece| piece.cid)
    }

    /// Blocks that will be needed after it, as far as known: worth fetching early.
    pub fn ahead(&self, count: usize) -> impl Iterator<Item = Cid> + '_ {
        self.waiting.iter().rev().skip(1).take(count).map(|piece| piece.cid)
    }

    /// Brings the block that was needed, and gets the bytes in it that are wanted.
    ///
    /// # Errors
    /// When it is no part of a file.
    pub fn supply(&mut self, block: &Bytes) -> Result<Bytes, ReadError> {
        let Some(Piece { cid, start, size, depth }) = self.waiting.pop() else { return Ok(Bytes::new()) };
        // Else the bytes of one piece would lie over those of the next.
        let as_promised = |bytes: u64| size.is_none_or(|size| size == bytes);
        if cid.codec() == RAW {
            return if as_promised(block.len() as u64) {
                Ok(self.cut(start, block))
            } else {
                Err(ReadError::NotUnixFs(cid))
            };
        }
        let (node, unixfs) = open(&cid, block)?;
        if !matches!(unixfs.kind, Kind::File | Kind::Raw) {
            return Err(ReadError::IsDirectory(cid));
        }
        if depth > DEPTH_MAX {
            return Err(ReadError::TooDeep(cid));
        }
        let own = unixfs.data.len() as u64;
        let total = unixfs.block_sizes.iter().fold(own, |total, size| total.saturating_add(*size));
        if node.links.len() != unixfs.block_sizes.len() || !as_promised(total) {
            return Err(ReadError::NotUnixFs(cid));
        }
        let mut at = start.saturating_add(own);
        let mut below = Vec::new();
        for (link, size) in node.links.iter().zip(&unixfs.block_sizes) {
            let end = at.saturating_add(*size);
            if at < self.range.end && end > self.range.start {
                below.push(Piece { cid: link.cid, start: at, size: Some(*size), depth: depth + 1 });
            }
            at = end;
        }
        self.waiting.extend(below.into_iter().rev());
        Ok(self.cut(start, &unixfs.data))
    }

    /// The part of these bytes, which begin at `start`, that is in the range.
    fn cut(&self, start: u64, bytes: &Bytes) -> Bytes {
        let length = bytes.len() as u64;
        let from = self.range.start.saturating_sub(start).min(length);
        let to = self.range.end.saturating_sub(start).min(length);
        if from < to { bytes.slice(from as usize..to as usize) } else { Bytes::new() }
    }
}
