//! A file, pushed in pieces: cut into leaves, which are gathered under nodes of at most 174 links, all leaves at the
//! same depth (Kubo's balanced layout), or ever deeper (`trickle`). Memory is bounded by the height of the tree.

use crate::chunk::Splitter;
use crate::hash::Naming;
use crate::options::{Chunker, Layout};
use crate::pb::{Kind, Link, Node, UnixFs};
use crate::trickle::Trickle;
use crate::{Block, DAG_PB, RAW};
use bytes::{Bytes, BytesMut};
use cid::Cid;

/// Links of a node. As Kubo: `helpers.DefaultLinksPerBlock`.
pub(crate) const LINKS_MAX: usize = 174;

/// How files are made into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// How they are cut.
    pub chunker: Chunker,
    /// Whether leaves are bare bytes.
    pub raw_leaves: bool,
    /// How blocks are named.
    pub naming: Naming,
    /// How they are put under the root.
    pub layout: Layout,
}

/// What a file has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRoot {
    /// Its root.
    pub cid: Cid,
    /// Bytes of all its blocks.
    pub tsize: u64,
    /// Its own bytes.
    pub file_size: u64,
}

/// Makes a file.
#[derive(Debug)]
pub struct FileBuilder {
    options: Options,
    splitter: Splitter,
    chunk: BytesMut,
    /// A leaf has been made: more of full size are likely.
    begun: bool,
    tree: Tree,
}

/// The nodes above the leaves that are not finished.
#[derive(Debug)]
enum Tree {
    Balanced(Balanced),
    Trickle(Trickle),
}

impl Tree {
    fn add(&mut self, leaf: FileRoot, naming: Naming, out: &mut dyn FnMut(Block)) {
        match self {
            Self::Balanced(tree) => tree.add(0, leaf, naming, out),
            Self::Trickle(tree) => tree.add(leaf, naming, out),
        }
    }
}

impl FileBuilder {
    /// An empty file.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let tree = match options.layout {
            Layout::Balanced => Tree::Balanced(Balanced::default()),
            Layout::Trickle => Tree::Trickle(Trickle::default()),
        };
        Self { options, splitter: Splitter::new(options.chunker), chunk: BytesMut::new(), begun: false, tree }
    }

    /// Adds bytes. Blocks that are done go out.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut dyn FnMut(Block)) {
        let most = self.splitter.most();
        while !bytes.is_empty() {
            let room = most - self.chunk.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if self.chunk.is_empty() {
                // A small file takes no more room than it needs.
                self.chunk.reserve(if self.begun { most } else { now.len() });
            }
            self.chunk.extend_from_slice(now);
            bytes = later;
            while let Some(end) = self.splitter.end(&self.chunk) {
                let chunk = self.chunk.split_to(end).freeze();
                self.leaf(chunk, out);
            }
        }
    }

    /// Ends the file. An empty one is a single empty leaf, or an empty root.
    pub fn finish(mut self, out: &mut dyn FnMut(Block)) -> FileRoot {
        let chunk = std::mem::take(&mut self.chunk).freeze();
        if !chunk.is_empty() || matches!(&self.tree, Tree::Balanced(tree) if tree.is_empty()) {
            self.leaf(chunk, out);
        }
        match self.tree {
            Tree::Balanced(tree) => tree.finish(self.options.naming, out),
            Tree::Trickle(tree) => tree.finish(self.options.naming, out),
        }
    }

    fn leaf(&mut self, data: Bytes, out: &mut dyn FnMut(Block)) {
        self.begun = true;
        let file_size = data.len() as u64;
        let (codec, data) = if self.options.raw_leaves {
            (RAW, data)
        } else {
            // As Kubo: leaves are files where they could stand alone.
            let kind = if self.options.layout == Layout::Balanced { Kind::File } else { Kind::Raw };
            let unixfs = UnixFs { data, file_size: Some(file_size), ..UnixFs::new(kind) };
            (DAG_PB, Node { links: Vec::new(), data: unixfs.encode() }.encode())
        };
        let cid = self.options.naming.cid(codec, &data);
        let root = FileRoot { cid, tsize: data.len() as u64, file_size };
        out(Block { cid, data });
        self.tree.add(root, self.options.naming, out);
    }
}

/// Nodes that are not finished, all leaves at the same depth.
#[derive(Debug, Default)]
struct Balanced {
    /// Leaves' parents first.
    levels: Vec<Vec<FileRoot>>,
}

impl Balanced {
    fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    fn add(&mut self, level: usize, root: FileRoot, naming: Naming, out: &mut dyn FnMut(Block)) {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        // A full node goes up only when another child comes: a file that just fills one has no level above it.
        if self.levels[level].len() == LINKS_MAX {
            let full = std::mem::take(&mut self.levels[level]);
            self.add(level + 1, gathered(&full, naming, out), naming, out);
        }
        self.levels[level].push(root);
    }

    /// The root. There must be a leaf.
    fn finish(mut self, naming: Naming, out: &mut dyn FnMut(Block)) -> FileRoot {
        let mut level = 0;
        loop {
            let roots = std::mem::take(&mut self.levels[level]);
            let top = level + 1 == self.levels.len();
            match (top, roots.as_slice()) {
                (true, [root]) => return *root,
                (_, []) => {}
                _ => self.add(level + 1, gathered(&roots, naming, out), naming, out),
            }
            level += 1;
        }
    }
}

/// A node over these.
pub(crate) fn gathered(children: &[FileRoot], naming: Naming, out: &mut dyn FnMut(Block)) -> FileRoot {
    let file_size = children.iter().map(|child| child.file_size).sum();
    let block_sizes = children.iter().map(|child| child.file_size).collect();
    let unixfs = UnixFs { file_size: Some(file_size), block_sizes, ..UnixFs::new(Kind::File) };
    let link = |child: &FileRoot| Link { cid: child.cid, name: String::new(), tsize: child.tsize };
    let data = Node { links: children.iter().map(link).collect(), data: unixfs.encode() }.encode();
    let cid = naming.cid(DAG_PB, &data);
    let tsize = data.len() as u64 + children.iter().map(|child| child.tsize).sum::<u64>();
    out(Block { cid, data });
    FileRoot { cid, tsize, file_size }
}
