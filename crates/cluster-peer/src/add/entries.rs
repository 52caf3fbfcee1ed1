//! Entries becoming blocks: files are cut, directories are put together, blocks go where they are held, and each entry is
//! told when it is done.

use super::destinations::Destinations;
use super::sharded::Shards;
use bytes::Bytes;
use cluster_component::component::{Part, PartKind};
use cluster_component::errors::ClusterError;
use cluster_component::ports::Block;
use cluster_types::{AddFormat, AddParams, Added, Cid, PeerId, Timestamp};
use dag::file::{FileBuilder, FileRoot, Options};
use dag::pb::Attributes;
use dag::tree::{Directory, Entry, Form, TreeError, symlink};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What of a mode is kept: permissions, and the bits before them.
const MODE_BITS: u32 = 0o7777;

/// Progress is told after so many bytes.
const PROGRESS_BYTES: u64 = 262_144;

/// Blocks of directories that are made and wait to be sent.
const DIRECTORIES_AHEAD: usize = 16;

/// Bytes that are cut and hashed at a time on another thread, while the next are read; less is cut where it is read.
const CUT_BYTES: usize = 1 << 20;

/// A file being cut. Large ones are cut on a thread of their own, one part behind what is read.
struct Cutter {
    /// `None` while it is on the other thread.
    builder: Option<FileBuilder>,
    working: Option<JoinHandle<Cut>>,
    pieces: Vec<Bytes>,
    bytes: usize,
}

/// The builder, and the blocks that it has made.
type Cut = (FileBuilder, Vec<dag::Block>);

fn cut(mut builder: FileBuilder, pieces: Vec<Bytes>) -> Cut {
    let mut made = Vec::new();
    pieces.iter().for_each(|piece| builder.push(piece, &mut |block| made.push(block)));
    (builder, made)
}

impl Cutter {
    fn new(options: Options) -> Self {
        Self { builder: Some(FileBuilder::new(options)), working: None, pieces: Vec::new(), bytes: 0 }
    }

    /// Takes bytes in. Returns the blocks that are done.
    async fn push(&mut self, piece: Bytes) -> Result<Vec<dag::Block>, ClusterError> {
        self.bytes += piece.len();
        self.pieces.push(piece);
        if self.bytes < CUT_BYTES {
            return Ok(Vec::new());
        }
        let (builder, made) = self.worked().await?;
        let pieces = std::mem::take(&mut self.pieces);
        self.bytes = 0;
        self.working = Some(tokio::task::spawn_blocking(move || cut(builder, pieces)));
        Ok(made)
    }

    /// Waits for the other thread.
    async fn worked(&mut self) -> Result<Cut, ClusterError> {
        if let Some(working) = self.working.take() {
            return working.await.map_err(|_| ClusterError::Shutdown);
        }
        // Without work under way it is here.
        self.builder.take().map(|builder| (builder, Vec::new())).ok_or(ClusterError::Shutdown)
    }

    async fn finish(mut self) -> Result<(FileRoot, Vec<dag::Block>), ClusterError> {
        let (builder, mut made) = self.worked().await?;
        let (builder, last) = cut(builder, self.pieces);
        made.extend(last);
        let file = builder.finish(&mut |block| made.push(block));
        Ok((file, made))
    }
}

/// What comes of making directories, in order.
enum Made {
    Block(dag::Block),
    /// All blocks of the directory at this path are made.
    Directory(String, Entry),
}

/// Where blocks go.
pub(super) enum Sink<'a> {
    /// All of them to each of these peers.
    Whole(Destinations, &'a [PeerId]),
    /// Each to the peers of its shard.
    Sharded(&'a mut Shards),
}

/// Entries becoming blocks.
pub(super) struct Entries<'a> {
    params: &'a AddParams,
    options: Options,
    form: Form,
    sink: Sink<'a>,
    told: &'a mpsc::Sender<Result<Added, ClusterError>>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(
        params: &'a AddParams,
        (options, form): (Options, Form),
        sink: Sink<'a>,
        told: &'a mpsc::Sender<Result<Added, ClusterError>>,
    ) -> Self {
        Self { params, options, form, sink, told }
    }

    /// Whether no peer takes blocks any more.
    pub(super) fn have_ended(&self) -> bool {
        matches!(&self.sink, Sink::Whole(blocks, _) if blocks.have_ended())
    }

    /// Reads everything; returns the roots. Peers are told when it fails.
    pub(super) async fn read(
        &mut self,
        parts: BoxStream<'static, Result<Part, ClusterError>>,
    ) -> Result<Vec<Cid>, ClusterError> {
        let roots = match self.params.format {
            AddFormat::Car => self.cars(parts).await,
            _ => self.all(parts).await,
        };
        if let Err(error) = &roots {
            match &self.sink {
                Sink::Whole(blocks, _) => blocks.fail(error).await,
                Sink::Sharded(shards) => shards.fail(error).await,
            }
        }
        roots
    }

    /// Reads every entry; returns what is to be pinned: the wrapping directory, or every entry at the top.
    async fn all(
        &mut self,
        mut parts: BoxStream<'static, Result<Part, ClusterError>>,
    ) -> Result<Vec<Cid>, ClusterError> {
        let (mut tree, mut roots, mut top) = (Directory::default(), Vec::new(), None::<String>);
        while let Some(part) = parts.next().await {
            let part = part?;
            let name = part.path.split('/').next().unwrap_or("").to_owned();
            if top.as_ref().is_some_and(|top| *top != name) && !self.params.wrap {
                roots.extend(self.finish_entry(&mut tree, top.take()).await?);
            }
            top = Some(name);
            if let Some(root) = self.part(part, &mut tree).await? {
                roots.push(root);
                top = None;
            }
        }
        if self.params.wrap {
            return Ok(vec![self.finish_all(tree).await?]);
        }
        roots.extend(self.finish_entry(&mut tree, top).await?);
        Ok(roots)
    }

    /// Takes in one entry. Returns its CID if it has no name, and so no place in the tree.
    async fn part(&mut self, part: Part, tree: &mut Directory) -> Result<Option<Cid>, ClusterError> {
        let body = |e: TreeError| ClusterError::Body(e.to_string());
        let attributes = self.attributes(part.mode, part.mtime);
        let entry = match part.kind {
            PartKind::Directory => {
                tree.make(&part.path).map_err(body)?.set_attributes(attributes);
                return Ok(None);
            }
            PartKind::Symlink(target) => {
                let mut made = Vec::new();
                let entry = symlink(&target, attributes.mtime, self.options.naming, &mut |block| made.push(block));
                self.send(made).await?;
                entry
            }
            PartKind::File(bytes) => self.file(&part.path, attributes, bytes).await?,
        };
        self.tell(&part.path, entry).await?;
        if part.path.is_empty() && !self.params.wrap {
            return Ok(Some(Cid(entry.cid)));
        }
        // As Kubo: in a directory, what has no name is named by its CID.
        let path = if part.path.is_empty() { entry.cid.to_string() } else { part.path };
        tree.put(&path, entry).map_err(body)?;
        Ok(None)
    }

    /// What an entry says besides its bytes: what came with it where that is to be kept, else what holds for all.
    fn attributes(&self, mode: Option<u32>, mtime: Option<Timestamp>) -> Attributes {
        let beyond = &self.params.beyond;
        let mode = if beyond.preserve_mode { mode } else { beyond.mode };
        let came = || mtime.filter(|time| !time.is_zero()).map(|time| (time.unix_secs(), time.subsec_nanos()));
        let mtime = if beyond.preserve_mtime { came() } else { beyond.mtime };
        Attributes { mode: mode.unwrap_or(0) & MODE_BITS, mtime }
    }

    async fn file(
        &mut self,
        path: &str,
        attributes: Attributes,
        mut bytes: BoxStream<'static, Result<Bytes, ClusterError>>,
    ) -> Result<Entry, ClusterError> {
        let mut cutter = Cutter::new(Options { attributes, ..self.options });
        let (mut read, mut told) = (0, 0);
        while let Some(piece) = bytes.next().await {
            let piece = piece?;
            read += piece.len() as u64;
            self.send(cutter.push(piece).await?).await?;
            if self.params.progress && read - told >= PROGRESS_BYTES {
                told = read;
                self.progress(path, read).await?;
            }
        }
        let (file, made) = cutter.finish().await?;
        self.send(made).await?;
        if self.params.progress && read != told {
            self.progress(path, read).await?;
        }
        Ok(Entry { cid: file.cid, tsize: file.tsize })
    }

    pub(super) async fn send(&mut self, blocks: Vec<dag::Block>) -> Result<(), ClusterError> {
        for block in blocks {
            let block = Block::verified(Cid(block.cid), block.data);
            let told = match &mut self.sink {
                Sink::Whole(blocks, _) => blocks.send(block).await.map(|()| None)?,
                Sink::Sharded(shards) => shards.send(block).await?,
            };
            if let Some(told) = told {
                self.line(told).await?;
            }
        }
        Ok(())
    }

    /// Within an entry the path is that below it, as the reference tells progress.
    async fn progress(&self, path: &str, bytes: u64) -> Result<(), ClusterError> {
        let name = path.split_once('/').map_or("", |(_, below)| below).to_owned();
        self.line(Added { name, bytes, ..Added::default() }).await
    }

    async fn tell(&self, path: &str, entry: Entry) -> Result<(), ClusterError> {
        self.tell_of(path, Cid(entry.cid), 0, entry.tsize).await
    }

    pub(super) async fn tell_of(&self, path: &str, cid: Cid, bytes: u64, size: u64) -> Result<(), ClusterError> {
        let allocations = match &self.sink {
            Sink::Whole(_, allocations) => allocations.to_vec(),
            Sink::Sharded(shards) => shards.allocations().to_vec(),
        };
        self.line(Added { name: path.to_owned(), cid: Some(cid), bytes, size, allocations }).await
    }

    async fn line(&self, line: Added) -> Result<(), ClusterError> {
        self.told.send(Ok(line)).await.map_err(|_| gone())
    }

    async fn finish_entry(&mut self, tree: &mut Directory, name: Option<String>) -> Result<Option<Cid>, ClusterError> {
        let Some(name) = name else { return Ok(None) };
        let (mut tree, form) = (std::mem::take(tree), self.form);
        let made = self.directories(move |out, told| tree.finish_entry(&name, form, out, told));
        Ok(made.await?.map(|root| Cid(root.cid)))
    }

    async fn finish_all(&mut self, mut tree: Directory) -> Result<Cid, ClusterError> {
        let form = self.form;
        // Nothing comes with the directory around all: what holds for all holds for it.
        tree.set_attributes(self.attributes(None, None));
        Ok(Cid(self.directories(move |out, told| tree.finish("", form, out, told)).await?.cid))
    }

    /// Makes directories on another thread. What is made goes on meanwhile: the blocks of large ones are many.
    async fn directories<T: Send + 'static>(
        &mut self,
        make: impl FnOnce(&mut dyn FnMut(dag::Block), &mut dyn FnMut(&str, Entry)) -> Result<T, TreeError> + Send + 'static,
    ) -> Result<T, ClusterError> {
        let (sender, mut made) = mpsc::channel(DIRECTORIES_AHEAD);
        let work = tokio::task::spawn_blocking(move || {
            // Nobody takes them when the add has failed.
            let mut out = |block| drop(sender.blocking_send(Made::Block(block)));
            let mut told = |path: &str, entry| drop(sender.blocking_send(Made::Directory(path.to_owned(), entry)));
            make(&mut out, &mut told)
        });
        while let Some(made) = made.recv().await {
            match made {
                Made::Block(block) => self.send(vec![block]).await?,
                Made::Directory(path, entry) => self.tell(&path, entry).await?,
            }
        }
        work.await.map_err(|_| ClusterError::Shutdown)?.map_err(|error| ClusterError::Body(error.to_string()))
    }
}

/// Nobody reads what is told any more.
pub(super) fn gone() -> ClusterError {
    ClusterError::Body("the client is gone".into())
}
