//! Directories: entries by path, made into blocks from the leaves up.

use crate::entries::Entries;
use crate::hamt;
pub use crate::hamt::Width;
use crate::hash::Naming;
use crate::pb::{Attributes, Kind, Link, Node, UnixFs};
use crate::{Block, DAG_PB};
use bytes::Bytes;
use cid::Cid;
use std::collections::{BTreeMap, BTreeSet};

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

/// How directories are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Form {
    /// How blocks are named.
    pub naming: Naming,
    /// Entries above which a directory is cut into shards, whatever its bytes. Default: no matter how many.
    pub links_max: Option<usize>,
    /// Links of a node of one that is cut.
    pub width: Width,
}

impl From<Naming> for Form {
    fn from(naming: Naming) -> Self {
        Self { naming, ..Self::default() }
    }
}

/// A directory that is being filled.
#[derive(Debug, Default)]
pub struct Directory {
    /// What is finished. Of several with the same name the last one counts.
    entries: Entries,
    directories: BTreeMap<String, Directory>,
    attributes: Attributes,
}

impl Directory {
    /// Puts a finished file or link at a path; directories on the way are made.
    ///
    /// # Errors
    /// When the path is too deep. That something on the way is no directory is told at the end.
    pub fn put(&mut self, path: &str, entry: Entry) -> Result<(), TreeError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.make(parent)?.entries.push(name, entry);
        Ok(())
    }

    /// Makes a directory at a path, and those on the way; one that is there stays.
    ///
    /// # Errors
    /// When the path is too deep. That something on the way is no directory is told at the end.
    pub fn make(&mut self, path: &str) -> Result<&mut Directory, TreeError> {
        let depth = path.split('/').filter(|name| !name.is_empty()).count();
        if depth > DEPTH_MAX {
            return Err(TreeError::TooDeep(depth));
        }
        let mut here = self;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if !here.directories.contains_key(name) {
                here.directories.insert(name.to_owned(), Self::default());
            }
            here = here.directories.get_mut(name).expect("it was made");
        }
        Ok(here)
    }

    /// Has it say more than its entries.
    pub fn set_attributes(&mut self, attributes: Attributes) {
        self.attributes = attributes;
    }

    /// Finishes the entry of a name at the top: tells each directory below it, children before parents, and itself.
    ///
    /// # Errors
    /// When something with entries below it is no directory, or two names have the same hash.
    pub fn finish_entry(
        &mut self,
        name: &str,
        form: impl Into<Form>,
        out: &mut dyn FnMut(Block),
        told: &mut dyn FnMut(&str, Entry),
    ) -> Result<Option<Entry>, TreeError> {
        let leaf = self.entries.iter().filter(|(_, packed)| packed.name == name).last();
        let leaf = leaf.map(|(_, packed)| packed.entry());
        match (leaf, self.directories.remove(name)) {
            (Some(_), Some(_)) => Err(TreeError::NotADirectory(name.to_owned())),
            (leaf, None) => Ok(leaf),
            (None, Some(directory)) => directory.finish(name, form, out, told).map(Some),
        }
    }

    /// Finishes this directory, whose path is given.
    ///
    /// # Errors
    /// When something with entries below it is no directory, or two names have the same hash.
    pub fn finish(
        self,
        path: &str,
        form: impl Into<Form>,
        out: &mut dyn FnMut(Block),
        told: &mut dyn FnMut(&str, Entry),
    ) -> Result<Entry, TreeError> {
        self.finish_as(path, &form.into(), out, told)
    }

    fn finish_as(
        mut self,
        path: &str,
        form: &Form,
        out: &mut dyn FnMut(Block),
        told: &mut dyn FnMut(&str, Entry),
    ) -> Result<Entry, TreeError> {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        let mut names = BTreeSet::new();
        for (name, directory) in std::mem::take(&mut self.directories) {
            let entry = directory.finish_as(&below(&name), form, out, told)?;
            self.entries.push(&name, entry);
            names.insert(name);
        }
        if let Some(name) = self.file_among(&names) {
            return Err(TreeError::NotADirectory(below(name)));
        }
        drop(names);
        let entry = self.write(path, form, out)?;
        told(path, entry);
        Ok(entry)
    }

    /// A file that has the name of a directory; directories are the last entries.
    fn file_among(&self, directories: &BTreeSet<String>) -> Option<&str> {
        if directories.is_empty() {
            return None;
        }
        let files = self.entries.iter().take(self.entries.len() - directories.len());
        files.map(|(_, packed)| packed.name).find(|name| directories.contains(*name))
    }

    fn write(&self, path: &str, form: &Form, out: &mut dyn FnMut(Block)) -> Result<Entry, TreeError> {
        let bytes: usize = self.entries.iter().map(|(_, packed)| packed.bytes()).sum();
        let is_large = |bytes, count| bytes > SHARDING_BYTES || form.links_max.is_some_and(|most| count > most);
        if is_large(bytes, self.entries.len()) {
            let by_hash = hamt::by_hash(&self.entries);
            let bytes: usize = by_hash.iter().map(|(_, place)| self.entries.get(*place).bytes()).sum();
            if is_large(bytes, by_hash.len()) {
                let shard = hamt::build(&self.entries, &by_hash, form, self.attributes, out);
                return shard.ok_or_else(|| TreeError::SameHash(path.to_owned()));
            }
        }
        // What comes later takes the place of what had its name.
        let links: BTreeMap<&str, Entry> =
            self.entries.iter().map(|(_, packed)| (packed.name, packed.entry())).collect();
        let link = |(name, entry): (&str, Entry)| Link { cid: entry.cid, name: name.to_owned(), tsize: entry.tsize };
        let links = links.into_iter().map(link).collect();
        let unixfs = UnixFs { attributes: self.attributes, ..UnixFs::new(Kind::Directory) };
        Ok(node(Node { links, data: unixfs.encode() }, form.naming, out))
    }
}

fn node(node: Node, naming: Naming, out: &mut dyn FnMut(Block)) -> Entry {
    let data = node.encode();
    let cid = naming.cid(DAG_PB, &data);
    let tsize = data.len() as u64 + node.links.iter().map(|link| link.tsize).sum::<u64>();
    out(Block { cid, data });
    Entry { cid, tsize }
}

/// A symbolic link. As Kubo, it says when it was modified, and has no mode.
pub fn symlink(target: &str, mtime: Option<(i64, u32)>, naming: Naming, out: &mut dyn FnMut(Block)) -> Entry {
    let (data, attributes) = (Bytes::copy_from_slice(target.as_bytes()), Attributes { mode: 0, mtime });
    let unixfs = UnixFs { data, attributes, ..UnixFs::new(Kind::Symlink) };
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
        assert!(tree.directories.is_empty(), "what is refused leaves nothing");
    }

    fn entry(text: &str) -> Entry {
        Entry { cid: Naming::default().cid(DAG_PB, text.as_bytes()), tsize: text.len() as u64 }
    }

    fn finished(tree: Directory) -> Result<Entry, TreeError> {
        tree.finish("", Naming::default(), &mut |_| {}, &mut |_, _| {})
    }

    /// Large enough to be cut into shards, and small.
    #[test]
    fn what_comes_last_has_the_name_and_order_does_not_matter() {
        for count in [10, 10_000] {
            let (mut once, mut again) = (Directory::default(), Directory::default());
            for number in 0..count {
                once.put(&format!("d/{number}"), entry(&number.to_string())).expect("put");
                again.put(&format!("d/{}", count - 1 - number), entry("else")).expect("put");
            }
            for number in 0..count {
                again.put(&format!("d/{number}"), entry(&number.to_string())).expect("put");
            }
            assert_eq!(finished(once), finished(again), "{count}");
        }
    }

    #[test]
    fn a_file_holds_no_entries() {
        for paths in [["d/a", "d/a/b"], ["d/a/b", "d/a"]] {
            let mut tree = Directory::default();
            paths.iter().for_each(|path| tree.put(path, entry(path)).expect("put"));
            assert_eq!(finished(tree), Err(TreeError::NotADirectory("d/a".into())));
        }
        let mut tree = Directory::default();
        tree.put("a", entry("a")).expect("put");
        tree.make("a").expect("made");
        let top = tree.finish_entry("a", Naming::default(), &mut |_| {}, &mut |_, _| {});
        assert_eq!(top, Err(TreeError::NotADirectory("a".into())));
    }
}
