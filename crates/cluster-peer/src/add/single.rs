//! The adder: makes blocks of what comes in, sends them to the peers that will hold them while more comes in, and pins.
//!
//! An add has three parts that run together: the entries are read and cut (here; CAR files in `car.rs`), their blocks go
//! through bounded channels to the peers (`destinations.rs`; those of shards in `sharded.rs`), and what is done is told.
//! Only when all blocks are stored is anything pinned; whatever ends an add before that leaves blocks that garbage
//! collection removes.

use super::destinations::Destinations;
use super::sharded::Shards;
use bytes::Bytes;
use cluster_component::component::{Adder, IpfsConnector, Part, PartKind};
use cluster_component::errors::ClusterError;
use cluster_component::ports::Block;
use cluster_component::rpc::{Cluster as ClusterRpc, Rpc, Target};
use cluster_types::{AddFormat, AddLayout, AddParams, Added, Cid, PeerId, Pin};
use dag::file::{FileBuilder, FileRoot, Options};
use dag::hash::{HashFunction, Naming};
use dag::options::{Chunker, Layout};
use dag::tree::{Directory, Entry, TreeError, symlink};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::fmt;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Lines that wait to be told.
const LINES_AHEAD: usize = 1_024;

/// Bytes that are cut and hashed at a time on another thread, while the next are read; less is cut where it is read.
const CUT_BYTES: usize = 1 << 20;

/// Blocks of directories that are made and wait to be sent.
const DIRECTORIES_AHEAD: usize = 16;

/// Progress is told after so many bytes.
const PROGRESS_BYTES: u64 = 262_144;

/// The adder.
pub struct SingleAdder {
    rpc: Rpc,
    connector: Arc<dyn IpfsConnector>,
}

impl fmt::Debug for SingleAdder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SingleAdder")
    }
}

impl SingleAdder {
    /// Asks the main component for peers and pins, and peers to store. The connector keeps blocks that are stored here
    /// until they are pinned.
    #[must_use]
    pub fn new(rpc: Rpc, connector: Arc<dyn IpfsConnector>) -> Self {
        Self { rpc, connector }
    }

    async fn run(
        &self,
        params: AddParams,
        parts: BoxStream<'static, Result<Part, ClusterError>>,
        told: mpsc::Sender<Result<Added, ClusterError>>,
    ) -> Result<(), ClusterError> {
        let options = options(&params)?;
        if params.shard {
            return self.sharded(&params, options, parts, &told).await;
        }
        let allocations = self.allocate(&params).await?;
        let _lease = self.connector.lease();
        let me = [self.rpc.me()];
        let to = if params.local { &me[..] } else { &allocations };
        let (blocks, stored) = Destinations::open(&self.rpc, to);
        let sink = Sink::Whole(blocks, &allocations);
        let mut cutting = Cutting { params: &params, options, sink, told: &told };
        let cut = async move {
            let roots = cutting.read(parts).await;
            let have_ended = matches!(&cutting.sink, Sink::Whole(blocks, _) if blocks.have_ended());
            (roots, have_ended)
        };
        let ((roots, have_ended), stored) = futures::join!(cut, stored);
        // Daemons that have ended the exchange early say why.
        if have_ended {
            stored.clone()?;
        }
        let roots = roots?;
        stored?;
        if !params.no_pin {
            for root in roots {
                self.pin(&params, root, &allocations).await?;
            }
        }
        Ok(())
    }

    /// The same in shards, each of which has peers of its own; `local` has no meaning then.
    async fn sharded(
        &self,
        params: &AddParams,
        options: Options,
        parts: BoxStream<'static, Result<Part, ClusterError>>,
        told: &mpsc::Sender<Result<Added, ClusterError>>,
    ) -> Result<(), ClusterError> {
        let _lease = self.connector.lease();
        let sink = Sink::Sharded(Box::new(Shards::new(self.rpc.clone(), params)));
        let mut cutting = Cutting { params, options, sink, told };
        let roots = cutting.read(parts).await?;
        let [root] = roots[..] else {
            let text = format!("a sharded add has one root, not {}: add with wrap-with-directory=true", roots.len());
            return Err(ClusterError::Body(text));
        };
        let Sink::Sharded(shards) = cutting.sink else { return Err(ClusterError::Shutdown) };
        let (lines, pins) = shards.finish(root).await?;
        for line in lines {
            told.send(Ok(line)).await.map_err(|_| gone())?;
        }
        if !params.no_pin {
            for pin in pins {
                self.rpc.call::<ClusterRpc::Pin>(Target::Local, pin).await?;
            }
        }
        Ok(())
    }

    /// The peers that will hold what is added. As the reference, a local add takes the place of the last of them, unless
    /// the client has chosen them.
    async fn allocate(&self, params: &AddParams) -> Result<Vec<PeerId>, ClusterError> {
        let pin = Pin::new(Cid(Default::default()), params.pin.clone());
        let mut peers = self.rpc.call::<ClusterRpc::BlockAllocate>(Target::Local, pin).await?;
        let me = self.rpc.me();
        if params.local
            && !peers.contains(&me)
            && params.pin.user_allocations.is_none()
            && let Some(last) = peers.last_mut()
        {
            *last = me;
        }
        Ok(peers)
    }

    async fn pin(&self, params: &AddParams, root: Cid, allocations: &[PeerId]) -> Result<(), ClusterError> {
        let mut pin = Pin::new(root, params.pin.clone());
        pin.options.mode = cluster_types::PinMode::Recursive;
        pin.max_depth = -1;
        pin.allocations = allocations.to_vec();
        Ok(self.rpc.call::<ClusterRpc::Pin>(Target::Local, pin).await.map(drop)?)
    }
}

impl Adder for SingleAdder {
    fn add(
        self: Arc<Self>,
        params: AddParams,
        parts: BoxStream<'static, Result<Part, ClusterError>>,
    ) -> BoxStream<'static, Result<Added, ClusterError>> {
        let (sender, receiver) = mpsc::channel(LINES_AHEAD);
        let work = async move {
            if let Err(error) = self.run(params, parts, sender.clone()).await {
                let _nobody_reads = sender.send(Err(error)).await;
            }
            None
        };
        // The work is driven by whoever reads the lines: dropped with them, it gives up.
        let lines = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|line| (Some(line), receiver))
        });
        let work = futures::stream::once(work);
        futures::stream::select(lines, work).filter_map(std::future::ready).boxed()
    }
}

fn gone() -> ClusterError {
    ClusterError::Body("the client is gone".into())
}

/// What the parameters mean; what cannot be done is refused before anything is read.
fn options(params: &AddParams) -> Result<Options, ClusterError> {
    let refuse = |text: &str| Err(ClusterError::Invalid(text.to_owned()));
    if params.nocopy {
        return refuse("adds that leave content in place are not available: add without nocopy=true");
    }
    if params.format == AddFormat::Car && params.wrap {
        return refuse("cannot wrap a CAR file upload");
    }
    if params.cid_version > 1 {
        let version = params.cid_version;
        return refuse(&format!("bad CID Version: unknown CID version: {version}"));
    }
    let Some(hash) = HashFunction::by_name(&params.hash) else { return refuse("hash function name not known") };
    let version_1 = params.cid_version == 1;
    if !version_1 && hash != HashFunction::Sha2_256 {
        return refuse("invalid cid: invalid v0 prefix");
    }
    Ok(Options {
        chunker: Chunker::parse(&params.chunker).map_err(|e| ClusterError::Invalid(e.to_string()))?,
        raw_leaves: params.raw_leaves.unwrap_or(version_1),
        naming: Naming { version_1, hash },
        layout: match params.layout {
            AddLayout::Trickle => Layout::Trickle,
            _ => Layout::Balanced,
        },
    })
}

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
enum Sink<'a> {
    Whole(Destinations, &'a [PeerId]),
    Sharded(Box<Shards>),
}

/// Entries becoming blocks.
pub(super) struct Cutting<'a> {
    params: &'a AddParams,
    options: Options,
    sink: Sink<'a>,
    told: &'a mpsc::Sender<Result<Added, ClusterError>>,
}

impl Cutting<'_> {
    /// Reads everything; returns the roots. Peers are told when it fails.
    async fn read(&mut self, parts: BoxStream<'static, Result<Part, ClusterError>>) -> Result<Vec<Cid>, ClusterError> {
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
        let entry = match part.kind {
            PartKind::Directory => {
                tree.make(&part.path).map_err(body)?;
                return Ok(None);
            }
            PartKind::Symlink(target) => {
                let mut made = Vec::new();
                let entry = symlink(&target, self.options.naming, &mut |block| made.push(block));
                self.send(made).await?;
                entry
            }
            PartKind::File(bytes) => self.file(&part.path, bytes).await?,
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

    async fn file(
        &mut self,
        path: &str,
        mut bytes: BoxStream<'static, Result<Bytes, ClusterError>>,
    ) -> Result<Entry, ClusterError> {
        let mut cutter = Cutter::new(self.options);
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
            let block = Block { cid: Cid(block.cid), data: block.data };
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
        let (mut tree, naming) = (std::mem::take(tree), self.options.naming);
        let made = self.directories(move |out, told| tree.finish_entry(&name, naming, out, told));
        Ok(made.await?.map(|root| Cid(root.cid)))
    }

    async fn finish_all(&mut self, tree: Directory) -> Result<Cid, ClusterError> {
        let naming = self.options.naming;
        Ok(Cid(self.directories(move |out, told| tree.finish("", naming, out, told)).await?.cid))
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
