//! The adder: makes blocks of what comes in, sends them to the peers that will hold them while more comes in, and pins.
//!
//! An add has three parts that run together: the entries are read and cut (`entries.rs`; CAR files in `car.rs`), their blocks
//! go through bounded channels to the peers (`destinations.rs`; those of shards in `sharded.rs`), and what is done is told.
//! Only when all blocks are stored is anything pinned; whatever ends an add before that leaves blocks that garbage
//! collection removes.

use super::destinations::Destinations;
use super::entries::{Entries, Sink, gone};
use super::sharded::Shards;
use cluster_component::component::{Adder, IpfsConnector, Part};
use cluster_component::errors::ClusterError;
use cluster_component::rpc::{Cluster as ClusterRpc, Rpc, Target};
use cluster_types::{AddBeyond, AddFormat, AddLayout, AddParams, Added, Cid, PeerId, Pin};
use dag::file::Options;
use dag::hash::{HashFunction, INLINE_MAX, Naming};
use dag::options::{Chunker, Layout};
use dag::pb::Attributes;
use dag::tree::{Form, Width};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::fmt;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Lines that wait to be told.
const LINES_AHEAD: usize = 1_024;

/// The adder.
pub struct BlockAdder {
    rpc: Rpc,
    connector: Arc<dyn IpfsConnector>,
}

impl fmt::Debug for BlockAdder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockAdder")
    }
}

impl BlockAdder {
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
        let form = form(&params, options.naming)?;
        if params.shard {
            return self.sharded(&params, (options, form), parts, &told).await;
        }
        let allocations = self.allocate(&params).await?;
        let _lease = self.connector.lease();
        let me = [self.rpc.me()];
        let to = if params.local { &me[..] } else { &allocations };
        let (blocks, stored) = Destinations::open(&self.rpc, to);
        let mut entries = Entries::new(&params, (options, form), Sink::Whole(blocks, &allocations), &told);
        let cut = async move {
            let roots = entries.read(parts).await;
            (roots, entries.have_ended())
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
        options: (Options, Form),
        parts: BoxStream<'static, Result<Part, ClusterError>>,
        told: &mpsc::Sender<Result<Added, ClusterError>>,
    ) -> Result<(), ClusterError> {
        let _lease = self.connector.lease();
        let mut shards = Shards::new(self.rpc.clone(), params);
        let roots = Entries::new(params, options, Sink::Sharded(&mut shards), told).read(parts).await?;
        let [root] = roots[..] else {
            let text = format!("a sharded add has one root, not {}: add with wrap-with-directory=true", roots.len());
            return Err(ClusterError::Body(text));
        };
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

impl Adder for BlockAdder {
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
    let has_attributes = params.beyond.has_attributes();
    if has_attributes && params.raw_leaves == Some(true) {
        return refuse("raw-leaves can't be used with UnixFS metadata like mode or modification time");
    }
    if !version_1 && hash != HashFunction::Sha2_256 {
        return refuse("invalid cid: invalid v0 prefix");
    }
    Ok(Options {
        chunker: Chunker::parse(&params.chunker).map_err(|e| ClusterError::Invalid(e.to_string()))?,
        raw_leaves: params.raw_leaves.unwrap_or(version_1 && !has_attributes),
        naming: Naming { version_1, hash, inline: inline(&params.beyond)? },
        layout: match params.layout {
            AddLayout::Trickle => Layout::Trickle,
            _ => Layout::Balanced,
        },
        links_max: links_max(&params.beyond)?,
        attributes: Attributes::NONE,
    })
}

/// Links that a node of a file may have: below, nothing would be gathered; above, it could be too large for other peers.
const FILE_LINKS: std::ops::RangeInclusive<usize> = 2..=8_192;

fn links_max(beyond: &AddBeyond) -> Result<usize, ClusterError> {
    let links = beyond.file_links_max.unwrap_or(Options::default().links_max);
    let (least, most) = (FILE_LINKS.start(), FILE_LINKS.end());
    let refused = || ClusterError::Invalid(format!("max-file-links {links}: it must be between {least} and {most}"));
    FILE_LINKS.contains(&links).then_some(links).ok_or_else(refused)
}

fn inline(beyond: &AddBeyond) -> Result<Option<usize>, ClusterError> {
    match beyond.inline {
        Some(limit) if limit > INLINE_MAX => {
            let text = format!("inline-limit {limit} exceeds maximum allowed size of {INLINE_MAX} bytes");
            Err(ClusterError::Invalid(text))
        }
        limit => Ok(limit),
    }
}

/// How directories are written.
fn form(params: &AddParams, naming: Naming) -> Result<Form, ClusterError> {
    let width = match params.beyond.hamt_fanout {
        None => Width::default(),
        Some(fanout) => Width::new(fanout).ok_or_else(|| {
            let text = format!("max-hamt-fanout {fanout}: it must be a power of two between 8 and 1024");
            ClusterError::Invalid(text)
        })?,
    };
    Ok(Form { naming, links_max: params.beyond.directory_links_max, width })
}
