//! A file, pushed in pieces: cut into leaves, which are gathered under nodes of at most 174 links, all leaves at the
//! same depth (Kubo's balanced layout), or ever deeper (`trickle`). Memory is bounded by the height of the tree.

use crate::chunk::Splitter;
use crate::hash::Naming;
use crate::leaf;
use crate::options::{Chunker, Layout};
use crate::pb::{Attributes, Kind, Link, Node, UnixFs};
use crate::trickle::Trickle;
use crate::{Block, DAG_PB, RAW};
use bytes::{Bytes, BytesMut};
use cid::Cid;

/// Links of a node. As Kubo: `helpers.DefaultLinksPerBlock`.
pub(crate) const LINKS_MAX: usize = 174;

/// How files are made into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How they are cut.
    pub chunker: Chunker,
    /// Whether leaves are bare bytes.
    pub raw_leaves: bool,
    /// How blocks are named.
    pub naming: Naming,
    /// How they are put under the root.
    pub layout: Layout,
    /// Links of a node, two or more. Default: 174.
    pub links_max: usize,
    /// What the root says besides its bytes. A bare leaf says nothing: then `raw_leaves` must be off.
    pub attributes: Attributes,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            chunker: Chunker::default(),
            raw_leaves: false,
            naming: Naming::default(),
            layout: Layout::default(),
            links_max: LINKS_MAX,
            attributes: Attributes::NONE,
        }
    }
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
    /// The bytes of the next leaf, behind room for what is written before them.
    chunk: BytesMut,
    /// Bytes of that room: none where bytes are moved before they are a leaf, or nothing is written before them.
    room: usize,
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
            Layout::Balanced => Tree::Balanced(Balanced { levels: Vec::new(), links_max: options.links_max }),
            Layout::Trickle => Tree::Trickle(Trickle::new(options.links_max)),
        };
        let splitter = Splitter::new(options.chunker);
        let room = if options.raw_leaves || !splitter.is_by_size() { 0 } else { leaf::ROOM };
        Self { options, splitter, chunk: BytesMut::new(), room, begun: false, tree }
    }

    /// Adds bytes. Blocks that are done go out. Cut by size, each byte is copied once, into the block that it ends in.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut dyn FnMut(Block)) {
        let most = self.splitter.most();
        while !bytes.is_empty() {
            self.begin_chunk(most, bytes.len());
            let free = self.room + most - self.chunk.len();
            let (now, later) = bytes.split_at(free.min(bytes.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            while let Some(end) = self.splitter.end(&self.chunk[self.room..]) {
                let end = self.room + end;
                // As a whole, so that what is written behind the bytes has its room.
                let whole = self.chunk.len() == end;
                let chunk = if whole { std::mem::take(&mut self.chunk) } else { self.chunk.split_to(end) };
                self.leaf(chunk, out);
                if self.chunk.is_empty() {
                    break;
                }
            }
        }
    }

    fn begin_chunk(&mut self, most: usize, coming: usize) {
        if self.chunk.is_empty() {
            // A small file takes no more room than it needs.
            let bytes = if self.begun { most } else { most.min(coming) };
            self.chunk.reserve(self.room + bytes + leaf::TAIL);
            self.chunk.resize(self.room, 0);
        }
    }

    /// Ends the file. An empty one is a single empty leaf, or an empty root.
    pub fn finish(mut self, out: &mut dyn FnMut(Block)) -> FileRoot {
        let chunk = std::mem::take(&mut self.chunk);
        let only = matches!(&self.tree, Tree::Balanced(tree) if tree.is_empty());
        if only && self.options.attributes != Attributes::NONE {
            return self.only_leaf(&chunk[self.room.min(chunk.len())..], out);
        }
        if chunk.len() > self.room {
            self.leaf(chunk, out);
        } else if only {
            self.leaf(BytesMut::zeroed(self.room), out);
        }
        let Options { naming, attributes, .. } = self.options;
        match self.tree {
            Tree::Balanced(tree) => tree.finish(naming, attributes, out),
            Tree::Trickle(tree) => tree.finish(naming, attributes, out),
        }
    }

    /// A leaf that is the root, and says more than its bytes.
    fn only_leaf(&self, bytes: &[u8], out: &mut dyn FnMut(Block)) -> FileRoot {
        let file_size = bytes.len() as u64;
        let (data, attributes) = (Bytes::copy_from_slice(bytes), self.options.attributes);
        let unixfs = UnixFs { data, file_size: Some(file_size), attributes, ..UnixFs::new(Kind::File) };
        let data = Node { links: Vec::new(), data: unixfs.encode() }.encode();
        let (cid, tsize) = (self.options.naming.cid(DAG_PB, &data), data.len() as u64);
        out(Block { cid, data });
        FileRoot { cid, tsize, file_size }
    }

    /// Makes a leaf of what is behind the room.
    fn leaf(&mut self, chunk: BytesMut, out: &mut dyn FnMut(Block)) {
        self.begun = true;
        let file_size = (chunk.len() - self.room) as u64;
        let (codec, data) = if self.options.raw_leaves {
            (RAW, chunk.freeze())
        } else {
            // As Kubo: leaves are files where they could stand alone.
            let kind = if self.options.layout == Layout::Balanced { Kind::File } else { Kind::Raw };
            (DAG_PB, if self.room > 0 { leaf::wrapped(kind, chunk) } else { leaf::around(kind, &chunk) })
        };
        let cid = self.options.naming.cid(codec, &data);
        let root = FileRoot { cid, tsize: data.len() as u64, file_size };
        out(Block { cid, data });
        self.tree.add(root, self.options.naming, out);
    }
}

/// Nodes that are not finished, all leaves at the same depth.
#[derive(Debug)]
struct Balanced {
    /// Leaves' parents first.
    levels: Vec<Vec<FileRoot>>,
    links_max: usize,
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
        if self.levels[level].len() == self.links_max {
            let full = std::mem::take(&mut self.levels[level]);
            self.add(level + 1, gathered(&full, naming, Attributes::NONE, out), naming, out);
        }
        self.levels[level].push(root);
    }

    /// The root. There must be a leaf.
    fn finish(mut self, naming: Naming, attributes: Attributes, out: &mut dyn FnMut(Block)) -> FileRoot {
        let mut level = 0;
        loop {
            let roots = std::mem::take(&mut self.levels[level]);
            let top = level + 1 == self.levels.len();
            match (top, roots.as_slice()) {
                (true, [root]) if level == 0 => return *root,
                (true, roots) => return gathered(roots, naming, attributes, out),
                (_, []) => {}
                (_, roots) => self.add(level + 1, gathered(roots, naming, Attributes::NONE, out), naming, out),
            }
            level += 1;
        }
    }
}

/// A node over these.
pub(crate) fn gathered(
    children: &[FileRoot],
    naming: Naming,
    attributes: Attributes,
    out: &mut dyn FnMut(Block),
) -> FileRoot {
    let file_size = children.iter().map(|child| child.file_size).sum();
    let block_sizes = children.iter().map(|child| child.file_size).collect();
    let unixfs = UnixFs { file_size: Some(file_size), block_sizes, attributes, ..UnixFs::new(Kind::File) };
    let link = |child: &FileRoot| Link { cid: child.cid, name: String::new(), tsize: child.tsize };
    let data = Node { links: children.iter().map(link).collect(), data: unixfs.encode() }.encode();
    let cid = naming.cid(DAG_PB, &data);
    let tsize = data.len() as u64 + children.iter().map(|child| child.tsize).sum::<u64>();
    out(Block { cid, data });
    FileRoot { cid, tsize, file_size }
}
