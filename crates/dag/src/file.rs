//! A file, pushed in pieces: cut into leaves, which are gathered under nodes of at most 174 links, all leaves at the
//! same depth (Kubo's balanced layout). Memory is bounded by the height of the tree.

use crate::hash::Naming;
use crate::options::Chunker;
use crate::pb::{Kind, Link, Node, UnixFs};
use crate::{Block, DAG_PB, RAW};
use bytes::{Bytes, BytesMut};
use cid::Cid;

/// Links of a node. As Kubo: `helpers.DefaultLinksPerBlock`.
const LINKS_MAX: usize = 174;

/// How files are made into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// How they are cut.
    pub chunker: Chunker,
    /// Whether leaves are bare bytes.
    pub raw_leaves: bool,
    /// How blocks are named.
    pub naming: Naming,
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
    chunk: BytesMut,
    /// Unfinished nodes: leaves' parents first.
    levels: Vec<Vec<FileRoot>>,
    leaves: u64,
}

impl FileBuilder {
    /// An empty file.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, chunk: BytesMut::new(), levels: vec![Vec::new()], leaves: 0 }
    }

    fn chunk_size(&self) -> usize {
        let Chunker::Size(size) = self.options.chunker;
        size
    }

    /// Adds bytes. Blocks that are done go out.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut dyn FnMut(Block)) {
        let size = self.chunk_size();
        while !bytes.is_empty() {
            let room = size - self.chunk.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if self.chunk.is_empty() {
                self.chunk.reserve(size);
            }
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() == size {
                let chunk = std::mem::take(&mut self.chunk).freeze();
                self.leaf(chunk, out);
            }
        }
    }

    /// Ends the file. An empty one is a single empty leaf.
    pub fn finish(mut self, out: &mut dyn FnMut(Block)) -> FileRoot {
        if !self.chunk.is_empty() || self.leaves == 0 {
            let chunk = std::mem::take(&mut self.chunk).freeze();
            self.leaf(chunk, out);
        }
        let mut level = 0;
        loop {
            let roots = std::mem::take(&mut self.levels[level]);
            let top = level + 1 == self.levels.len();
            match (top, roots.as_slice()) {
                (true, [root]) => return *root,
                (_, []) => {}
                _ => self.gather(level, &roots, out),
            }
            level += 1;
        }
    }

    fn leaf(&mut self, data: Bytes, out: &mut dyn FnMut(Block)) {
        self.leaves += 1;
        let file_size = data.len() as u64;
        let (codec, data) = if self.options.raw_leaves {
            (RAW, data)
        } else {
            let unixfs = UnixFs { data, file_size: Some(file_size), ..UnixFs::new(Kind::File) };
            (DAG_PB, Node { links: Vec::new(), data: unixfs.encode() }.encode())
        };
        let cid = self.options.naming.cid(codec, &data);
        let root = FileRoot { cid, tsize: data.len() as u64, file_size };
        out(Block { cid, data });
        self.add(0, root, out);
    }

    fn add(&mut self, level: usize, root: FileRoot, out: &mut dyn FnMut(Block)) {
        // A full node goes up only when another child comes: a file that just fills one has no level above it.
        if self.levels[level].len() == LINKS_MAX {
            let full = std::mem::take(&mut self.levels[level]);
            self.gather(level, &full, out);
        }
        self.levels[level].push(root);
    }

    fn gather(&mut self, level: usize, children: &[FileRoot], out: &mut dyn FnMut(Block)) {
        let file_size = children.iter().map(|child| child.file_size).sum();
        let block_sizes = children.iter().map(|child| child.file_size).collect();
        let unixfs = UnixFs { file_size: Some(file_size), block_sizes, ..UnixFs::new(Kind::File) };
        let link = |child: &FileRoot| Link { cid: child.cid, name: String::new(), tsize: child.tsize };
        let data = Node { links: children.iter().map(link).collect(), data: unixfs.encode() }.encode();
        let cid = self.options.naming.cid(DAG_PB, &data);
        let tsize = data.len() as u64 + children.iter().map(|child| child.tsize).sum::<u64>();
        out(Block { cid, data });
        if self.levels.len() == level + 1 {
            self.levels.push(Vec::new());
        }
        self.add(level + 1, FileRoot { cid, tsize, file_size }, out);
    }
}
