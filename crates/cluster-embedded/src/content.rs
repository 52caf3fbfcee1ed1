//! Reading content: paths, listings, ranges of files, CAR files. Each is a machine of `dag` that is given the blocks it
//! asks for.

use crate::fetch::{Shelf, blocking};
use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::PageStream;
use cluster_component::content::{CarScope, Content, ContentBytes, ContentEntry, ContentKind, Duplicates, Resolved};
use cluster_component::errors::ConnectorError;
use cluster_types::Cid;
use dag::links::{LinksError, Walk};
use dag::read::{self, FileReader, List, ReadError, Resolve};
use futures::{StreamExt, stream};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Bytes after which no more is read from the disk before it is taken: it may be exceeded by a block.
const READ: usize = 512 << 10;

pub(crate) struct EmbeddedContent {
    shelf: Arc<Shelf>,
}

impl EmbeddedContent {
    pub(crate) fn new(shelf: Arc<Shelf>) -> Self {
        Self { shelf }
    }
}

fn unreadable(error: ReadError) -> ConnectorError {
    let text = error.to_string();
    match error {
        ReadError::NoLink { .. } => ConnectorError::NotFound(text),
        ReadError::WithinBlock(_) => ConnectorError::Forbidden(text),
        _ => ConnectorError::Invalid(text),
    }
}

impl Shelf {
    /// Follows names below a root.
    pub(crate) async fn follow(self: &Arc<Self>, root: Cid, names: &str) -> Result<Resolved, ConnectorError> {
        self.follow_seeing(root, names, &mut |_, _| {}).await
    }

    /// Follows names below a root; what is on the way is shown.
    async fn follow_seeing(
        self: &Arc<Self>,
        root: Cid,
        names: &str,
        see: &mut (dyn FnMut(Cid, &Bytes) + Send),
    ) -> Result<Resolved, ConnectorError> {
        let mut resolve = Resolve::new(*root, names);
        while let Some(cid) = resolve.need() {
            let data = self.read_block(Cid(cid)).await?;
            see(Cid(cid), &data);
            resolve.supply(&data).map_err(unreadable)?;
        }
        Ok(Resolved { cid: Cid(resolve.here()), passed: resolve.passed().iter().copied().map(Cid).collect() })
    }

    async fn kind(self: &Arc<Self>, cid: Cid) -> Result<ContentKind, ConnectorError> {
        let data = self.read_block(cid).await?;
        Ok(match read::content_of(&cid, &data).map_err(unreadable)? {
            read::Content::File { size } => ContentKind::File(size),
            read::Content::Directory => ContentKind::Directory,
            read::Content::Symlink(target) => ContentKind::Symlink(target),
            read::Content::Data => ContentKind::Data,
        })
    }
}

#[async_trait]
impl Content for EmbeddedContent {
    async fn resolve(&self, root: &Cid, names: &str) -> Result<Resolved, ConnectorError> {
        self.shelf.follow(*root, names).await
    }

    async fn kind(&self, cid: &Cid) -> Result<ContentKind, ConnectorError> {
        self.shelf.kind(*cid).await
    }

    async fn block(&self, cid: &Cid) -> Result<Bytes, ConnectorError> {
        self.shelf.read_block(*cid).await
    }

    async fn has(&self, cid: &Cid) -> Result<bool, ConnectorError> {
        Ok(self.shelf.store.present(cid)?.is_some())
    }

    fn list(self: Arc<Self>, directory: Cid) -> PageStream<ContentEntry, ConnectorError> {
        let shelf = Arc::clone(&self.shelf);
        let pages = stream::try_unfold(List::new(*directory), move |mut list| {
            let shelf = Arc::clone(&shelf);
            async move {
                let Some(cid) = list.need() else { return Ok(None) };
                let data = shelf.read_block(Cid(cid)).await?;
                let entries = list.supply(&data).map_err(unreadable)?;
                let entry = |e: read::ListedEntry| ContentEntry { name: e.name, cid: Cid(e.cid), size: e.tsize };
                Ok(Some((entries.into_iter().map(entry).collect::<Vec<_>>(), list)))
            }
        });
        pages.filter(|page| std::future::ready(!matches!(page, Ok(page) if page.is_empty()))).boxed()
    }

    fn read(self: Arc<Self>, file: Cid, range: Range<u64>) -> ContentBytes {
        pump(Arc::clone(&self.shelf), Machine::File(FileReader::new(*file, range)), Output::Content)
    }

    fn car(self: Arc<Self>, root: Cid, names: String, scope: CarScope, duplicates: Duplicates) -> ContentBytes {
        let shelf = Arc::clone(&self.shelf);
        let begin = async move {
            let mut way = Vec::new();
            let resolved = shelf.follow_seeing(root, &names, &mut |cid, data| way.extend(section(&cid, data))).await?;
            let machine = shelf.car_machine(resolved.cid, scope, duplicates).await?;
            way.insert(0, dag::car::header(&resolved.cid));
            let sent = (duplicates == Duplicates::LeftOut).then(HashSet::new);
            let rest = pump(shelf, machine, Output::Sections(sent));
            Ok(stream::iter([Ok(Bytes::from(way.concat()))]).chain(rest))
        };
        stream::once(begin)
            .map(|begun| match begun {
                Ok(rest) => rest.boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .flatten()
            .boxed()
    }
}

impl Shelf {
    async fn car_machine(
        self: &Arc<Self>,
        root: Cid,
        scope: CarScope,
        duplicates: Duplicates,
    ) -> Result<Machine, ConnectorError> {
        let bytes = match (scope, duplicates) {
            (CarScope::All, Duplicates::LeftOut) => return Ok(Machine::Walk { walk: Walk::new(*root), now: None }),
            (CarScope::All, Duplicates::Sent) => {
                return Ok(Machine::Walk { walk: Walk::with_duplicates(*root), now: None });
            }
            (CarScope::Block, _) => return Ok(Machine::Block(Some(root))),
            (CarScope::Entity(bytes), _) => bytes,
        };
        Ok(match self.kind(root).await? {
            ContentKind::File(size) => {
                let range = bytes.map_or(0..u64::MAX, |bytes| bytes.of(size));
                Machine::File(FileReader::new(*root, range))
            }
            ContentKind::Directory => Machine::List(List::new(*root)),
            ContentKind::Symlink(_) | ContentKind::Data => Machine::Block(Some(root)),
        })
    }
}

/// A section of a CAR file. What a name holds in itself has none.
fn section(cid: &Cid, data: &Bytes) -> Option<Bytes> {
    (cid.hash().code() != 0).then(|| dag::car::section(cid, data))
}

/// What asks for blocks.
enum Machine {
    File(FileReader),
    List(List),
    Walk { walk: Walk, now: Option<cid::Cid> },
    Block(Option<Cid>),
}

impl Machine {
    fn need(&mut self) -> Option<Cid> {
        match self {
            Self::File(file) => file.need().map(Cid),
            Self::List(list) => list.need().map(Cid),
            Self::Walk { walk, now } => {
                *now = now.or_else(|| walk.next());
                now.map(Cid)
            }
            Self::Block(cid) => *cid,
        }
    }

    /// Gives it the block that it needs; a file gives back its bytes.
    fn supply(&mut self, data: &Bytes) -> Result<Bytes, ConnectorError> {
        let none = Bytes::new();
        match self {
            Self::File(file) => file.supply(data).map_err(unreadable),
            Self::List(list) => list.supply(data).map(|_| none).map_err(unreadable),
            Self::Walk { walk, now } => {
                let supplied = now.take().map_or(Ok(()), |cid| walk.supply(&cid, data));
                supplied.map(|()| none).map_err(|e: LinksError| ConnectorError::Invalid(e.to_string()))
            }
            Self::Block(cid) => {
                *cid = None;
                Ok(none)
            }
        }
    }
}

/// What is made of the blocks.
enum Output {
    Content,
    /// Sections of a CAR file; each block once, if what was sent is remembered.
    Sections(Option<HashSet<Cid>>),
}

/// A machine that is being fed from the disk.
struct Pump {
    shelf: Arc<Shelf>,
    machine: Machine,
    output: Output,
}

/// What was read, and the block that is not here.
type Read = (Pump, Vec<u8>, Option<Cid>);

impl Pump {
    /// Takes one block in.
    fn take(&mut self, cid: Cid, data: &Bytes, out: &mut Vec<u8>) -> Result<(), ConnectorError> {
        let bytes = self.machine.supply(data)?;
        match &mut self.output {
            Output::Content => out.extend_from_slice(&bytes),
            Output::Sections(sent) => {
                if sent.as_mut().is_none_or(|sent| sent.insert(cid)) {
                    section(&cid, data).iter().for_each(|section| out.extend_from_slice(section));
                }
            }
        }
        Ok(())
    }

    /// Reads on from the disk.
    fn read(mut self) -> Result<Read, ConnectorError> {
        let mut out = Vec::new();
        while out.len() < READ {
            let Some(cid) = self.machine.need() else { break };
            let Some(data) = self.shelf.store.get(&cid)? else { return Ok((self, out, Some(cid))) };
            self.take(cid, &data, &mut out)?;
        }
        Ok((self, out, None))
    }
}

fn pump(shelf: Arc<Shelf>, machine: Machine, output: Output) -> ContentBytes {
    let pump = Pump { shelf, machine, output };
    let pieces = stream::try_unfold(pump, |pump| async move {
        let (mut pump, mut out, missing) = blocking(move || pump.read()).await?;
        if let Some(cid) = missing {
            let data = pump.shelf.read_block(cid).await?;
            pump.take(cid, &data, &mut out)?;
        }
        let ended = out.is_empty() && pump.machine.need().is_none();
        Ok((!ended).then(|| (Bytes::from(out), pump)))
    });
    pieces.filter(|piece| std::future::ready(!matches!(piece, Ok(piece) if piece.is_empty()))).boxed()
}
