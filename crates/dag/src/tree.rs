//! Directories: entries by path, made into blocks from the leaves up.

use crate::hamt;
use crate::hash::Naming;
use crate::pb::{Kind, Link, Node, UnixFs};
use crate::{Block, DAG_PB};
use bytes::Bytes;
use cid::Cid;
use std::collections::BTreeMap;

/// A directory whose names and CIDs take more bytes than this is cut into shards. As Kubo:
/// `HAMTShardingSize`.
const SHARDING_BYTES: usize = 256 << 10;

/// Most directories in each other: what is read, written and dropped level by level must fit a thread's stack, and
/// the tests hold it to that.
const DEPTH_MAX: usize = 256;

/// What an entry has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its root.
    pub cid: Cid,
    /// Bytes of all its blocks.
    pub tsize: u64,
}

/// Why a tree cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A file stands where a directory is needed.
    #[error("{0} is a file and cannot hold other entries")]
    NotADirectory(String),
    /// So many directories in each other are not taken.
    #[error("a path has {0} directories in each other: {DEPTH_MAX} are taken")]
    TooDeep(usize),
    /// Two names of a large directory have the same hash, so that its form has no place for both.
    #[error("two names in the large directory {0:?} have the same 64-bit hash: rename one of them")]
    SameHash(String),
}

/// A directory that is being filled.
#[derive(Debug, Default)]
pub struct Directory {
    entries: BTreeMap<String, Child>,
}

#[derive(Debug)]
enum Child {
    Leaf(Entry),
    Directory(Directory),
}

impl Directory {
    /// Puts a finished file or link at a path; directories on the way are made.
    ///
    /// # Errors
    /// When something on the way is no directory, or the path is too deep.
    pub fn put(&mut self, path: &str, entry: Entry) -> Result<(), TreeError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.make(parent)?.entries.insert(name.to_owned(), Child::Leaf(entry));
        Ok(())
    }

    /// Makes a directory at a path, and those on the way; one that is there stays.
    ///
    /// # Errors
    /// When something on the way is no directory, or the path is too deep.
    pub fn make(&mut self, path: &str) -> Result<&mut Directory, TreeError> {
        let depth = path.split('/').filter(|name| !name.is_empty()).count();
        if depth > DEPTH_MAX {
            return Err(TreeError::TooDeep(depth));
        }
        let mut here = self;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let child = here.entries.entry(name.to_owned()).or_insert_with(|| Child::Directory(Directory::default()));
            here = match child {
                Child::Directory(directory) => directory,
                Child::Leaf(_) => return Err(TreeError::NotADirectory(path.to_owned())),
            };
        }
        Ok(here)
    }

    /// Takes out what stands under a name at the top.
    fn take(&mut self, name: &str) -> Option<Child> {
        self.entries.remove(name)
    }

    /// Finishes the entry of a name at the top: tells each directory below it, children before parents, and itself.
    ///
    /// # Errors
    /// When two names have the same hash.
    pub fn finish_entry(
        &mut self,
        name: &str,
        naming: Naming,
        out: &mut dyn FnMut(Block),
        told: &mut dyn FnMut(&str, Entry),
    ) -> Result<Option<Entry>, TreeError> {
        match self.take(name) {
            None => Ok(None),
            Some(Child::Leaf(entry)) => Ok(Some(entry)),
            Some(Child::Directory(directory)) => directory.finish(name, naming, out, told).map(Some),
        }
    }

    /// Finishes this directory, whose path is given.
    ///
    /// # Errors
    /// When two names have the same hash.
    pub fn finish(
        self,
        path: &str,
        naming: Naming,
        out: &mut dyn FnMut(Block),
        told: &mut dyn FnMut(&str, Entry),
    ) -> Result<Entry, TreeError> {
        let mut links = Vec::with_capacity(self.entries.len());
        for (name, child) in self.entries {
            let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let entry = match child {
                Child::Leaf(entry) => entry,
                Child::Directory(directory) => directory.finish(&below, naming, out, told)?,
            };
            links.push(Link { cid: entry.cid, name, tsize: entry.tsize });
        }
        let bytes: usize = links.iter().map(|link| link.name.len() + link.cid.encoded_len()).sum();
        if bytes > SHARDING_BYTES {
            let entry = hamt::build(links, naming, out).ok_or_else(|| TreeError::SameHash(path.to_owned()))?;
            told(path, entry);
            return Ok(entry);
        }
        let entry = node(Node { links, data: UnixFs::new(Kind::Directory).encode() }, naming, out);
        told(path, entry);
        Ok(entry)
    }
}

fn node(node: Node, naming: Naming, out: &mut dyn FnMut(Block)) -> Entry {
    let data = node.encode();
    let cid = naming.cid(DAG_PB, &data);
    let tsize = data.len() as u64 + node.links.iter().map(|link| link.tsize).sum::<u64>();
    out(Block { cid, data });
    Entry { cid, tsize }
}

/// A symbolic link.
pub fn symlink(target: &str, naming: Naming, out: &mut dyn FnMut(Block)) -> Entry {
    let unixfs = UnixFs { data: Bytes::copy_from_slice(target.as_bytes()), ..UnixFs::new(Kind::Symlink) };
    node(Node { links: Vec::new(), data: unixfs.encode() }, naming, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_paths_are_taken_as_far_as_the_stack_bears_them() {
        let mut tree = Directory::default();
        tree.make(&"d/".repeat(DEPTH_MAX)).expect("as deep as may be");
        let mut directories = 0;
        tree.finish("", Naming::default(), &mut |_| {}, &mut |_, _| directories += 1).expect("made");
        assert_eq!(directories, DEPTH_MAX + 1);

        let mut tree = Directory::default();
        let refused = tree.make(&"d/".repeat(1_000_000)).map(drop);
        assert_eq!(refused, Err(TreeError::TooDeep(1_000_000)));
        assert!(tree.entries.is_empty(), "what is refused leaves nothing");
    }
}
