//! Where the blocks of a sharded add go: each shard to peers of its own. Nothing is pinned before everything is stored; then
//! the shards are, the DAG of their nodes at every peer, and the root as what stands for them all:
//!
//! ```text
//! meta-pin(root) ─reference→ clusterdag-pin ─links→ shard-pin k ─links→ blocks
//!        ↑────reference────────────┘         shard-pin k ─reference→ shard-pin k-1
//! ```

use super::destinations::Destinations;
use cluster_component::errors::ClusterError;
use cluster_component::ports::Block;
use cluster_component::rpc::{Cluster as ClusterRpc, Rpc, Target};
use cluster_types::{AddParams, Added, Cid, PeerId, Pin, PinMode, PinOptions, PinType};
use dag::shard::LINKS_MAX;
use std::collections::HashSet;
use tokio::task::JoinSet;

/// Bytes of a shard if nothing is said. As the reference: `DefaultShardSize`.
const SHARD_SIZE: u64 = 100 << 20;

/// Blocks that are remembered, so that none is in two shards: 48 MiB at most. Later ones can be.
const SEEN_MAX: usize = 1 << 20;

/// The shards of one add.
pub(super) struct Shards {
    rpc: Rpc,
    options: PinOptions,
    limit: u64,
    /// Halves of hashes: enough to tell blocks apart.
    seen: HashSet<u128>,
    open: Option<Shard>,
    done: Vec<Pin>,
}

/// A shard that takes more blocks.
struct Shard {
    allocations: Vec<PeerId>,
    blocks: Destinations,
    /// Carries the blocks; ends with the shard.
    stored: JoinSet<Result<(), ClusterError>>,
    links: Vec<Cid>,
    size: u64,
}

impl Shard {
    async fn open(rpc: &Rpc, options: &PinOptions) -> Result<Self, ClusterError> {
        let pin = Pin::new(Cid(Default::default()), options.clone());
        let allocations = rpc.call::<ClusterRpc::BlockAllocate>(Target::Local, pin).await?;
        Ok(Self::to(rpc, allocations))
    }

    fn to(rpc: &Rpc, allocations: Vec<PeerId>) -> Self {
        let (blocks, stored) = Destinations::open(rpc, &allocations);
        let stored = JoinSet::from_iter([stored]);
        Self { allocations, blocks, stored, links: Vec::new(), size: 0 }
    }

    async fn send(&mut self, block: Block) -> Result<(), ClusterError> {
        match self.blocks.send(block).await {
            Ok(()) => Ok(()),
            // Daemons that have ended the exchange early say why.
            Err(error) => ended(&mut self.stored).await.and(Err(error)),
        }
    }

    /// Ends it with its node. Returns that.
    async fn finish(mut self) -> Result<(Cid, Vec<PeerId>), ClusterError> {
        let links: Vec<_> = self.links.iter().map(|cid| **cid).collect();
        let node = dag::shard::node(&links);
        let top = Cid(node.cid);
        self.send(Block::verified(top, node.data)).await?;
        let Self { allocations, blocks, mut stored, .. } = self;
        drop(blocks);
        ended(&mut stored).await?;
        Ok((top, allocations))
    }
}

/// How the streams to a shard's peers have ended. Whoever has asked before has given up then.
async fn ended(stored: &mut JoinSet<Result<(), ClusterError>>) -> Result<(), ClusterError> {
    match stored.join_next().await {
        Some(ended) => ended.map_err(|_| ClusterError::Shutdown)?,
        None => Err(ClusterError::Shutdown),
    }
}

impl Shards {
    pub(super) fn new(rpc: Rpc, params: &AddParams) -> Self {
        let options = PinOptions { mode: PinMode::Recursive, ..params.pin.clone() };
        let limit = if options.shard_size == 0 { SHARD_SIZE } else { options.shard_size };
        Self { rpc, options, limit, seen: HashSet::new(), open: None, done: Vec::new() }
    }

    /// Who holds what comes in now.
    pub(super) fn allocations(&self) -> &[PeerId] {
        self.open.as_ref().map_or(&[], |shard| &shard.allocations)
    }

    /// Sends a block. What is told if it begins another shard.
    ///
    /// # Errors
    /// When it fits into no shard, or no peer takes it.
    pub(super) async fn send(&mut self, block: Block) -> Result<Option<Added>, ClusterError> {
        if !self.is_new(&block.cid) {
            return Ok(None);
        }
        let size = block.data.len() as u64;
        if size >= self.limit {
            let text = "block doesn't fit in empty shard: shard size too small?";
            return Err(ClusterError::Invalid(text.into()));
        }
        // A node of nodes would be pinned without what is below: a shard ends before it needs one.
        let full = self.open.take_if(|shard| shard.size + size >= self.limit || shard.links.len() == LINKS_MAX);
        let told = match full {
            Some(shard) => Some(self.close(shard).await?),
            None => None,
        };
        let shard = match &mut self.open {
            Some(shard) => shard,
            open => open.insert(Shard::open(&self.rpc, &self.options).await?),
        };
        shard.size += size;
        shard.links.push(block.cid);
        shard.send(block).await?;
        Ok(told)
    }

    fn is_new(&mut self, cid: &Cid) -> bool {
        let digest = cid.hash().digest();
        let Some(half) = digest.get(..16).and_then(|half| <[u8; 16]>::try_from(half).ok()) else { return true };
        let half = u128::from_le_bytes(half);
        if self.seen.len() == SEEN_MAX {
            return !self.seen.contains(&half);
        }
        self.seen.insert(half)
    }

    async fn close(&mut self, shard: Shard) -> Result<Added, ClusterError> {
        let (number, size) = (self.done.len(), shard.size);
        if number == LINKS_MAX {
            let text = format!("more than {LINKS_MAX} shards: add with a shard-size of more than {} bytes", self.limit);
            return Err(ClusterError::Invalid(text));
        }
        let (cid, allocations) = shard.finish().await?;
        let name = format!("{}-shard-{number}", self.options.name);
        let mut pin = Pin::new(cid, PinOptions { name, shard_size: size, ..self.options.clone() });
        pin.kind = PinType::Shard;
        pin.max_depth = 1;
        pin.allocations.clone_from(&allocations);
        pin.reference = self.done.last().map(|before| before.cid);
        self.done.push(pin);
        Ok(Added { name: format!("shard-{number}"), cid: Some(cid), bytes: 0, size, allocations })
    }

    /// Has nobody take half of the blocks for all of them.
    pub(super) async fn fail(&self, error: &ClusterError) {
        if let Some(shard) = &self.open {
            shard.blocks.fail(error).await;
        }
    }

    /// Ends the last shard, and stores the DAG of all of them here. What is told of both, and what is to be pinned.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be stored.
    pub(super) async fn finish(mut self, root: Cid) -> Result<(Vec<Added>, Vec<Pin>), ClusterError> {
        let Some(last) = self.open.take() else {
            return Err(ClusterError::Body("there is nothing to shard: all of it is in names".into()));
        };
        let shard = self.close(last).await?;
        let mut top = Shard::to(&self.rpc, vec![self.rpc.me()]);
        top.links = self.done.iter().map(|pin| pin.cid).collect();
        let (cid, _) = top.finish().await?;
        let name = format!("{}-clusterDAG", self.options.name);
        let size = self.done.iter().map(|pin| pin.options.shard_size).sum();
        let told = Added { name: name.clone(), cid: Some(cid), size, ..Added::default() };

        let direct = PinOptions { mode: PinMode::Direct, ..self.options };
        let everywhere = PinOptions { name, replication_factor_min: -1, replication_factor_max: -1, ..direct.clone() };
        let mut pins = self.done;
        for (cid, options, kind, reference) in
            [(cid, everywhere, PinType::ClusterDag, root), (root, direct, PinType::Meta, cid)]
        {
            let mut pin = Pin::new(cid, options);
            pin.kind = kind;
            pin.max_depth = 0;
            pin.reference = Some(reference);
            pins.push(pin);
        }
        Ok((vec![shard, told], pins))
    }
}
