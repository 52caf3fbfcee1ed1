//! Bringing a DAG here: a walk over what is stored, which waits for each block that is missing.

use crate::config::EmbeddedConfig;
use crate::pins::Pins;
use crate::sources::Sources;
use crate::store::{BlockError, Blockstore};
use crate::swarm::Purpose;
use bytes::Bytes;
use cluster_component::component::{PinProgress, ProgressSink};
use cluster_component::errors::ConnectorError;
use cluster_component::ports::{Clock, sleep};
use cluster_types::{Cid, Pin};
use dag::links::{LinksError, Walk};
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;
use std::time::Duration;

/// Blocks that are walked over between two reports, on a thread that may wait for the disk.
const STEP_BLOCKS: usize = 2_048;

/// Blocks that are asked for at a time: at most 64 MiB are on their way with the largest blocks.
const FETCHES_AT_ONCE: usize = 16;

/// What the parts of the node share.
pub(crate) struct Shelf {
    pub(crate) config: EmbeddedConfig,
    pub(crate) store: Arc<Blockstore>,
    pub(crate) pins: Pins,
    pub(crate) sources: Sources,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Runs work that waits for the disk off the async threads.
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, ConnectorError>
where
    T: Send + 'static,
    E: Into<ConnectorError> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    let cut = |e| ConnectorError::Unavailable(format!("the embedded IPFS node is stopping: {e}"));
    done.map_err(cut)?.map_err(Into::into)
}

pub(crate) fn unwalkable(error: &LinksError) -> ConnectorError {
    ConnectorError::Invalid(error.to_string())
}

/// How far a step of a walk came.
struct Step {
    walk: Walk,
    done: PinProgress,
    missing: Vec<Cid>,
    ended: bool,
}

impl Shelf {
    /// Walks on until enough is done or missing.
    fn step(&self, mut walk: Walk) -> Result<Step, ConnectorError> {
        let (mut done, mut missing) = (PinProgress::default(), Vec::new());
        for _ in 0..STEP_BLOCKS {
            let Some(cid) = walk.next() else { return Ok(Step { walk, done, missing, ended: true }) };
            let Some(present) = self.store.present(&cid)? else {
                missing.push(Cid(cid));
                if missing.len() == FETCHES_AT_ONCE {
                    break;
                }
                continue;
            };
            if !present.leaf && cid.codec() != dag::RAW {
                let data = self.store.get(&cid)?.ok_or(BlockError::Damaged(cid))?;
                walk.supply(&cid, &data).map_err(|e| unwalkable(&e))?;
            }
            done.blocks += 1;
            done.bytes += present.length;
        }
        Ok(Step { walk, done, missing, ended: false })
    }

    /// Makes sure that the pin's blocks are here, and holds them.
    pub(crate) async fn hold(
        self: &Arc<Self>,
        pin: &Pin,
        progress: Option<ProgressSink>,
    ) -> Result<(), ConnectorError> {
        let (cid, max_depth) = (pin.cid, pin.max_depth);
        let lease = self.store.lease();
        if max_depth == 0 {
            self.wait_for(cid, cid).await?;
        } else {
            self.bring(cid, progress).await?;
        }
        let shelf = Arc::clone(self);
        blocking(move || {
            shelf.store.commit(&lease)?;
            shelf.pins.set(&cid, max_depth).map_err(BlockError::from)
        })
        .await?;
        if let Some(host) = &self.sources.outside {
            host.holds(cid);
        }
        Ok(())
    }

    async fn bring(self: &Arc<Self>, root: Cid, progress: Option<ProgressSink>) -> Result<(), ConnectorError> {
        let (mut walk, mut total) = (Walk::new(*root), PinProgress::default());
        loop {
            let shelf = Arc::clone(self);
            let step = blocking(move || shelf.step(walk)).await?;
            walk = step.walk;
            total.blocks += step.done.blocks;
            total.bytes += step.done.bytes;
            let ended = step.ended && step.missing.is_empty();
            let wait = |cid| async move { self.wait_for(root, cid).await.map(|data| (cid, data)) };
            let waits = step.missing.into_iter().map(wait);
            let mut came = stream::iter(waits).buffer_unordered(FETCHES_AT_ONCE);
            while let Some((cid, data)) = came.try_next().await? {
                total.blocks += 1;
                total.bytes += data.len() as u64;
                walk.supply(&cid, &data).map_err(|e| unwalkable(&e))?;
            }
            if let Some(progress) = &progress {
                progress(total);
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// A block for a pin: from here, from the network, or put by somebody meanwhile.
    async fn wait_for(self: &Arc<Self>, root: Cid, cid: Cid) -> Result<Bytes, ConnectorError> {
        let span = self.config.pin_timeout.get();
        let mut arrivals = self.store.arrivals();
        let here = async {
            loop {
                if let Some(data) = self.local(cid).await? {
                    return Ok(data);
                }
                // The sender lives as long as the store.
                let _never_closed = arrivals.changed().await;
            }
        };
        // Order: what is here before what comes, and either before the end of the time for it.
        tokio::select! {
            biased;
            data = here => data,
            data = self.from_network(cid, Purpose::Pin) => data,
            () = sleep(&*self.clock, span) => Err(self.stalled(root, cid, span)),
        }
    }

    /// A block from the network, stored; never returns when nobody has it.
    async fn from_network(self: &Arc<Self>, cid: Cid, purpose: Purpose) -> Result<Bytes, ConnectorError> {
        let block = self.sources.get(&cid, purpose, &*self.clock).await;
        self.keep(cid, block.data).await
    }

    async fn keep(self: &Arc<Self>, cid: Cid, data: Bytes) -> Result<Bytes, ConnectorError> {
        let shelf = Arc::clone(self);
        blocking(move || shelf.store.put(&[(*cid, data.clone())]).map(|()| data)).await
    }

    fn stalled(&self, root: Cid, cid: Cid, span: Duration) -> ConnectorError {
        let why = if self.sources.is_empty() {
            "this node has no connection to others: add the content here"
        } else {
            "no peer that was asked has it"
        };
        let secs = span.as_secs();
        ConnectorError::Stalled(format!("{root} cannot be pinned: block {cid} did not come within {secs} s ({why})"))
    }

    /// A block that is here.
    pub(crate) async fn local(self: &Arc<Self>, cid: Cid) -> Result<Option<Bytes>, ConnectorError> {
        let shelf = Arc::clone(self);
        blocking(move || shelf.store.get(&cid)).await
    }

    /// A block for a reader, who waits no longer than for a request.
    pub(crate) async fn read_block(self: &Arc<Self>, cid: Cid) -> Result<Bytes, ConnectorError> {
        if let Some(data) = self.local(cid).await? {
            return Ok(data);
        }
        if self.sources.is_empty() {
            // As Kubo's words for a node without connections.
            let text = format!("block was not found locally (offline): ipld: could not find {cid}");
            return Err(ConnectorError::NotFound(text));
        }
        let span = self.config.ipfs_request_timeout.get();
        // Order: a block before the end of the time for it.
        tokio::select! {
            biased;
            data = self.from_network(cid, Purpose::Read) => data,
            () = sleep(&*self.clock, span) => {
                let text = format!("block {cid} did not come within {} s", span.as_secs());
                Err(ConnectorError::Stalled(text))
            }
        }
    }
}
