//! The replica as a machine: local changes become nodes, announced heads are walked down to what is known, and each
//! step leaves one batch to be written.
//!
//! As go-ds-crdt 0.6.8, with one difference on disk: what a walk still wants is stored with each step, so that a walk
//! that a crash cut goes on at the next start, where go-ds-crdt forgets it.

use super::delta::{self, Delta, Element, Node};
use super::keys::{VERSION, cid_of_row_key, element_value, key_of_cid};
use super::set::{Merge, SetChange};
use crate::pinset::digest;
use bytes::Bytes;
use cluster_types::store::{Batch, DatastoreRead, DatastoreReadExt, StoreError, Table};
use cluster_types::{Cid, PinsetDigest};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

/// A delta is closed once it is so large; it can exceed this by one change. As the reference: blocks of its DAG pass
/// through bitswap, which takes 2 MiB.
pub const DELTA_BYTES_MAX: usize = 1 << 20;

/// Most blocks that walks may want at a time; announcements beyond that wait for the next one.
const WANTED_MAX: usize = 100_000;

/// Blocks that one answer may bring of a walk that has come far; a walk begins with one, since most end there.
const BELOW_MAX: u32 = 2_000;

/// Blocks that one answer may bring of a walk that a stop has cut: it was not there for nothing.
const BELOW_RESUMED: u32 = 64;

/// Walks that have ended and are still remembered, besides two for each block that is wanted.
const WALKS_ENDED_MAX: usize = 1_000;

const KEY_VERSION: &[u8] = b"version";
const KEY_NEXT: &[u8] = b"next";
const KEY_COUNT: &[u8] = b"count";
const KEY_DIGEST: &[u8] = b"digest";
const PREFIX_HEAD: &[u8] = b"h";
const PREFIX_WANTED: &[u8] = b"w";

/// A change that is made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalChange {
    /// Pin: the CID and its stored form.
    Put(Cid, Vec<u8>),
    /// Unpin.
    Remove(Cid),
}

/// What happens to a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Changes made here, in order. They share deltas.
    Local(Vec<LocalChange>),
    /// Another peer announced its heads.
    Heads(Vec<Cid>),
    /// Blocks have come, each verified against its CID, parents before children. Those that nobody wants are left out.
    Blocks(Vec<(Cid, Bytes)>),
    /// It is time to announce heads again: those that nobody else announced since the last time.
    Rebroadcast,
    /// Somebody came who has heard of none: announce all heads.
    Greet,
    /// Look for blocks that are missing below the heads.
    Repair,
}

/// What a replica wants done. A [`Effect::Write`] comes first. It must be durable before local changes are acknowledged
/// and before anything is announced or told to have changed; blocks may be fetched before that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write this, whole.
    Write(Batch),
    /// The pinset changed.
    Changed(Vec<Change>),
    /// Announce these heads.
    Announce(Vec<Cid>),
    /// Get a block.
    Fetch(Wanted),
    /// A block made no sense and was dropped.
    Refused(Cid, String),
}

/// A block that a walk wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub cid: Cid,
    /// How many blocks may come at a time: this one, and what is below it.
    pub most: u32,
}

/// A change of the pinset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The pin has this stored form now.
    Put(Cid, Vec<u8>),
    /// The pin is gone.
    Removed(Cid),
}

/// Why a replica cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store was written by a version that this one does not know.
    #[error(
        "the pinset was written in version {0} of the layout, and this program knows version {VERSION}: use the program that wrote it, or export the state with it and import it here"
    )]
    UnknownVersion(u8),
}

/// A replica: what it must remember between steps. Everything else is in the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replica {
    heads: BTreeMap<Cid, u64>,
    next_number: u64,
    count: u64,
    digest: PinsetDigest,
    /// Block → the announced head it was reached from, and that head's height (0 until the head itself is here).
    wanted: BTreeMap<Cid, (Cid, u64)>,
    /// How many blocks each walk has brought, by its root: the further it has come, the more are asked for at a time.
    walks: BTreeMap<Cid, u32>,
    /// Heads heard of since the last round of announcements, our own among them.
    seen: BTreeSet<Cid>,
}

impl Replica {
    /// Takes up what the store has.
    ///
    /// # Errors
    /// When it cannot be read, or is of another version.
    pub fn load(store: &dyn DatastoreRead) -> Result<Self, ReplicaError> {
        if let Some(version) = store.get(Table::CrdtMeta, KEY_VERSION)? {
            match version.first() {
                Some(&VERSION) => {}
                other => return Err(ReplicaError::UnknownVersion(other.copied().unwrap_or(0))),
            }
        }
        let mut replica = Self {
            next_number: number(store, KEY_NEXT)?,
            count: number(store, KEY_COUNT)?,
            digest: pin_digest(store)?,
            ..Self::default()
        };
        for_each(store, PREFIX_HEAD, |cid, value| {
            replica.heads.extend(u64_of(value).map(|height| (cid, height)));
        })?;
        for_each(store, PREFIX_WANTED, |cid, value| {
            let Some((height, root)) = value.split_first_chunk::<8>() else { return };
            let root = Cid::from_bytes(root).map(|root| (cid, (root, u64::from_be_bytes(*height))));
            replica.wanted.extend(root.ok());
        })?;
        Ok(replica)
    }

    /// The heads and their heights.
    #[must_use]
    pub fn heads(&self) -> &BTreeMap<Cid, u64> {
        &self.heads
    }

    /// How many pins are listed.
    #[must_use]
    pub fn pin_count(&self) -> u64 {
        self.count
    }

    /// What stands for them all.
    #[must_use]
    pub fn pin_digest(&self) -> PinsetDigest {
        self.digest
    }

    /// Blocks that walks want; to be asked for again after a start.
    #[must_use]
    pub fn wanted(&self) -> Vec<Wanted> {
        self.wanted.keys().map(|cid| Wanted { cid: *cid, most: BELOW_RESUMED }).collect()
    }

    /// Whether blocks are on their way.
    #[must_use]
    pub fn is_walking(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Whether this block is on its way.
    #[must_use]
    pub fn wants(&self, cid: &Cid) -> bool {
        self.wanted.contains_key(cid)
    }

    /// The announced heads below which blocks are on their way.
    #[must_use]
    pub fn roots(&self) -> BTreeSet<Cid> {
        self.wanted.values().map(|(root, _)| *root).collect()
    }

    /// Takes an event; tells what is to be done. On an error, and when its batch could not be written, the replica
    /// must be loaded again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn step(
        &mut self,
        event: Event,
        store: &dyn DatastoreRead,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReplicaError> {
        let mut step = Step::begin(self, store);
        match event {
            Event::Local(changes) => step.local(changes)?,
            Event::Heads(heads) => step.announced(&heads)?,
            Event::Blocks(blocks) => step.blocks(blocks)?,
            Event::Rebroadcast => step.rebroadcast(),
            Event::Greet => step.announce = step.replica.heads.keys().copied().collect(),
            Event::Repair => step.repair()?,
        }
        step.end(effects);
        Ok(())
    }
}

/// One step: the replica, and what the step has changed.
struct Step<'a> {
    replica: &'a mut Replica,
    store: &'a dyn DatastoreRead,
    merge: Merge<'a>,
    before: (BTreeMap<Cid, u64>, BTreeMap<Cid, (Cid, u64)>),
    merged: bool,
    changes: Vec<Change>,
    announce: Vec<Cid>,
    fetch: Vec<Wanted>,
    refused: Vec<(Cid, String)>,
}

impl<'a> Step<'a> {
    fn begin(replica: &'a mut Replica, store: &'a dyn DatastoreRead) -> Self {
        let before = (replica.heads.clone(), replica.wanted.clone());
        let merge = Merge::new(store, replica.next_number);
        Self {
            replica,
            store,
            merge,
            before,
            merged: false,
            changes: Vec::new(),
            announce: Vec::new(),
            fetch: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn local(&mut self, changes: Vec<LocalChange>) -> Result<(), StoreError> {
        let mut pending = Pending::default();
        for change in changes {
            match change {
                LocalChange::Put(cid, value) => pending.put(key_of_cid(&cid), value),
                LocalChange::Remove(cid) => {
                    let key = key_of_cid(&cid);
                    let tombstones = self.merge.tombstones_for(&key)?;
                    pending.remove(key, tombstones);
                }
            }
            if pending.bytes >= DELTA_BYTES_MAX {
                self.publish(std::mem::take(&mut pending))?;
            }
        }
        self.publish(pending)
    }

    /// Makes a node of what is pending, on top of all heads.
    fn publish(&mut self, pending: Pending) -> Result<(), StoreError> {
        let Some(mut delta) = pending.into_delta() else { return Ok(()) };
        delta.priority = self.replica.heads.values().max().copied().unwrap_or(0) + 1;
        let node = Node { delta, links: self.replica.heads.keys().copied().collect() };
        let block = node.encode();
        let cid = delta::cid_of(&block);
        self.take_in(&cid, block, &node.delta)?;
        self.replica.heads.clear();
        self.replica.heads.insert(cid, node.delta.priority);
        self.replica.seen.insert(cid);
        self.announce = vec![cid];
        Ok(())
    }

    fn take_in(&mut self, cid: &Cid, block: Vec<u8>, delta: &Delta) -> Result<(), StoreError> {
        let changed = self.merge.node(&cid.hash().to_bytes(), block, delta)?;
        self.merged = true;
        self.changes.extend(changed.into_iter().filter_map(pinset_change));
        Ok(())
    }

    fn announced(&mut self, heads: &[Cid]) -> Result<(), StoreError> {
        for head in heads {
            self.replica.seen.insert(*head);
            if !self.is_processed(head)? && !self.replica.wanted.contains_key(head) {
                self.want(*head, *head, 0);
            }
        }
        Ok(())
    }

    fn is_processed(&mut self, cid: &Cid) -> Result<bool, StoreError> {
        let known = self.merge.number_of(&cid.hash().to_bytes())?;
        Ok(known.is_some_and(|(_, processed)| processed))
    }

    fn want(&mut self, cid: Cid, root: Cid, height: u64) {
        if self.replica.wanted.len() < WANTED_MAX {
            self.replica.wanted.insert(cid, (root, height));
            let brought = self.replica.walks.get(&root).copied().unwrap_or(0);
            self.fetch.push(Wanted { cid, most: brought.saturating_mul(4).saturating_add(1).min(BELOW_MAX) });
        }
    }

    fn blocks(&mut self, blocks: Vec<(Cid, Bytes)>) -> Result<(), StoreError> {
        for (cid, block) in blocks {
            self.arrived(cid, &block)?;
        }
        // What was wanted on the way down may have come in the same breath.
        let wanted = &self.replica.wanted;
        self.fetch.retain(|fetch| wanted.contains_key(&fetch.cid));
        self.forget_ended_walks();
        Ok(())
    }

    /// Looks through what is wanted only when it pays: half of the walks, and more, have ended then.
    fn forget_ended_walks(&mut self) {
        let Replica { wanted, walks, .. } = &mut *self.replica;
        if wanted.is_empty() {
            walks.clear();
        } else if walks.len() > WALKS_ENDED_MAX + 2 * wanted.len() {
            let under_way: BTreeSet<Cid> = wanted.values().map(|(root, _)| *root).collect();
            walks.retain(|root, _| under_way.contains(root));
        }
    }

    fn arrived(&mut self, cid: Cid, block: &Bytes) -> Result<(), StoreError> {
        // What was not asked for is not taken.
        let Some((root, root_height)) = self.replica.wanted.remove(&cid) else { return Ok(()) };
        if self.is_processed(&cid)? {
            return Ok(());
        }
        let node = match Node::decode(block) {
            Ok(node) => node,
            Err(error) => {
                self.refused.push((cid, error.to_string()));
                return Ok(());
            }
        };
        self.take_in(&cid, block.to_vec(), &node.delta)?;
        let brought = self.replica.walks.entry(root).or_insert(0);
        *brought = brought.saturating_add(1);
        let root_height = if cid == root { node.delta.priority } else { root_height };
        if cid == root && self.replica.heads.is_empty() {
            // As go-ds-crdt: on an empty store what is announced becomes a head at once.
            self.replica.heads.insert(root, root_height);
        }
        if node.links.is_empty() {
            self.replica.heads.insert(root, root_height);
        }
        for child in node.links {
            self.descend(child, root, root_height)?;
        }
        Ok(())
    }

    /// Goes on below a node. Where the walk meets what is known, its root becomes a head.
    fn descend(&mut self, child: Cid, root: Cid, root_height: u64) -> Result<(), StoreError> {
        let processed = self.is_processed(&child)?;
        if self.replica.heads.contains_key(&child) && child != root {
            self.replica.heads.remove(&child);
            self.replica.heads.insert(root, root_height);
        } else if processed || self.replica.wanted.contains_key(&child) {
            self.replica.heads.insert(root, root_height);
            return Ok(());
        }
        if !processed {
            self.want(child, root, root_height);
        }
        Ok(())
    }

    fn rebroadcast(&mut self) {
        let seen = std::mem::take(&mut self.replica.seen);
        self.announce = self.replica.heads.keys().filter(|head| !seen.contains(head)).copied().collect();
    }

    /// Walks the whole DAG from the heads; wants every node that is not processed.
    fn repair(&mut self) -> Result<(), StoreError> {
        let heads: Vec<(Cid, u64)> = self.replica.heads.iter().map(|(cid, height)| (*cid, *height)).collect();
        let mut visited = BTreeSet::new();
        for (head, height) in heads {
            let mut stack = vec![head];
            while let Some(cid) = stack.pop() {
                match self.merge.number_of(&cid.hash().to_bytes())? {
                    Some((number, true)) => {
                        if !visited.insert(number) {
                            continue;
                        }
                        let block = self.store.get(Table::CrdtBlocks, &number.to_be_bytes())?;
                        let node = block.and_then(|block| Node::decode(&block).ok());
                        stack.extend(node.map(|node| node.links).unwrap_or_default());
                    }
                    _ if self.replica.wanted.contains_key(&cid) => {}
                    _ => self.want(cid, head, height),
                }
            }
        }
        Ok(())
    }

    fn end(self, effects: &mut Vec<Effect>) {
        let next_number = self.merge.next_number();
        let count = self.replica.count.saturating_add_signed(self.merge.count_change);
        let digest = self.replica.digest.and(self.merge.digest_change);
        let mut batch = self.merge.into_batch();
        if self.merged {
            batch.put(Table::CrdtMeta, KEY_VERSION, vec![VERSION]);
            batch.put(Table::CrdtMeta, KEY_NEXT, next_number.to_be_bytes().to_vec());
            batch.put(Table::CrdtMeta, KEY_COUNT, count.to_be_bytes().to_vec());
            self.replica.next_number = next_number;
            batch.put(Table::CrdtMeta, KEY_DIGEST, digest.to_bytes().to_vec());
            self.replica.count = count;
            self.replica.digest = digest;
        }
        let (heads, wanted) = &self.before;
        write_difference(&mut batch, PREFIX_HEAD, heads, &self.replica.heads, |height| height.to_be_bytes().to_vec());
        write_difference(&mut batch, PREFIX_WANTED, wanted, &self.replica.wanted, |(root, height)| {
            [height.to_be_bytes().as_slice(), &root.to_bytes()].concat()
        });
        if !batch.is_empty() {
            effects.push(Effect::Write(batch));
        }
        if !self.changes.is_empty() {
            effects.push(Effect::Changed(self.changes));
        }
        if !self.announce.is_empty() {
            effects.push(Effect::Announce(self.announce));
        }
        effects.extend(self.fetch.into_iter().map(Effect::Fetch));
        effects.extend(self.refused.into_iter().map(|(cid, reason)| Effect::Refused(cid, reason)));
    }
}

/// Local changes that go into the next delta.
#[derive(Default)]
struct Pending {
    delta: Delta,
    /// Where each key stands among the additions.
    keys: BTreeMap<String, usize>,
    removed: BTreeSet<String>,
    bytes: usize,
    /// Whether anything ever was pending: then even a delta that came to nothing is published, as go-ds-crdt does.
    touched: bool,
}

impl Pending {
    /// A key stands in a delta once. go-ds-crdt keeps every addition of a batch, and then two of its replicas can
    /// end up with different values: the last listed where they were merged, the greatest where that was recomputed.
    fn put(&mut self, key: String, value: Vec<u8>) {
        self.touched = true;
        if let Some(at) = self.keys.get(&key) {
            self.delta.elements[*at].value = value;
            return;
        }
        let element = Element { key: key.clone(), id: String::new(), value };
        self.bytes += element.encoded_len();
        self.keys.insert(key, self.delta.elements.len());
        self.delta.elements.push(element);
    }

    /// As go-ds-crdt: a removal drops what is pending of the same key, and names what the store has of it.
    fn remove(&mut self, key: String, tombstones: Vec<Element>) {
        if let Some(at) = self.keys.remove(&key) {
            self.delta.elements.remove(at);
            self.keys.values_mut().filter(|other| **other > at).for_each(|other| *other -= 1);
        }
        self.touched |= !tombstones.is_empty();
        if self.removed.insert(key) {
            self.bytes += tombstones.iter().map(Element::encoded_len).sum::<usize>();
            self.delta.tombstones.extend(tombstones);
        }
    }

    fn into_delta(self) -> Option<Delta> {
        self.touched.then_some(self.delta)
    }
}

fn pinset_change(change: SetChange) -> Option<Change> {
    match change {
        SetChange::Put { key, value } => Some(Change::Put(cid_of_row_key(&key)?, value)),
        SetChange::Removed { key } => Some(Change::Removed(cid_of_row_key(&key)?)),
    }
}

fn number(store: &dyn DatastoreRead, key: &[u8]) -> Result<u64, StoreError> {
    Ok(store.get(Table::CrdtMeta, key)?.as_deref().and_then(u64_of).unwrap_or(0))
}

/// How many pins a store lists; what a state answers without counting.
///
/// # Errors
/// When the store cannot be read.
pub fn pin_count(store: &dyn DatastoreRead) -> Result<u64, StoreError> {
    number(store, KEY_COUNT)
}

/// What stands for the pins that a store lists. A store of before there were digests is read once, until its next change.
///
/// # Errors
/// When the store cannot be read.
pub fn pin_digest(store: &dyn DatastoreRead) -> Result<PinsetDigest, StoreError> {
    let stored = store.get(Table::CrdtMeta, KEY_DIGEST)?;
    match stored.as_deref().and_then(|bytes| bytes.try_into().ok()) {
        Some(bytes) => Ok(PinsetDigest::from_bytes(bytes)),
        None => read_digest(store),
    }
}

/// The same, from the rows themselves: what [`pin_digest`] must be.
///
/// # Errors
/// When the store cannot be read.
pub fn read_digest(store: &dyn DatastoreRead) -> Result<PinsetDigest, StoreError> {
    let mut found = PinsetDigest::default();
    store.scan(Table::CrdtElements, Bound::Unbounded, Bound::Unbounded, &mut |key, row| {
        if let (Some(_), Some(value)) = (cid_of_row_key(key), element_value(row)) {
            found.add(&digest::of_pin(key, value));
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn u64_of(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn for_each(store: &dyn DatastoreRead, prefix: &[u8], mut each: impl FnMut(Cid, &[u8])) -> Result<(), StoreError> {
    store.scan_prefix(Table::CrdtMeta, prefix, &mut |key, value| {
        if let Ok(cid) = Cid::from_bytes(&key[prefix.len()..]) {
            each(cid, value);
        }
        ControlFlow::Continue(())
    })
}

fn write_difference<V: PartialEq>(
    batch: &mut Batch,
    prefix: &[u8],
    before: &BTreeMap<Cid, V>,
    after: &BTreeMap<Cid, V>,
    encode: impl Fn(&V) -> Vec<u8>,
) {
    let key = |cid: &Cid| [prefix, &cid.to_bytes()].concat();
    for cid in before.keys().filter(|cid| !after.contains_key(cid)) {
        batch.delete(Table::CrdtMeta, key(cid));
    }
    for (cid, value) in after {
        if before.get(cid) != Some(value) {
            batch.put(Table::CrdtMeta, key(cid), encode(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_datastore::MemoryStore;
    use cluster_types::store::Datastore;

    fn step(replica: &mut Replica, store: &MemoryStore, event: Event) {
        let mut effects = Vec::new();
        replica.step(event, store, &mut effects).expect("stepped");
        for effect in effects {
            if let Effect::Write(batch) = effect {
                store.write(batch).expect("written");
            }
        }
    }

    /// One block that nobody has kept every walk that came after it in memory.
    #[test]
    fn walks_that_have_ended_are_forgotten_while_another_one_never_does() {
        let store = MemoryStore::default();
        let mut replica = Replica::default();
        step(&mut replica, &store, Event::Heads(vec![delta::cid_of(b"nobody has this")]));

        let mut links = Vec::new();
        for number in 1..=3_000_u64 {
            let block = Node { delta: Delta { priority: number, ..Delta::default() }, links }.encode();
            let cid = delta::cid_of(&block);
            links = vec![cid];
            step(&mut replica, &store, Event::Heads(vec![cid]));
            step(&mut replica, &store, Event::Blocks(vec![(cid, block.into())]));
        }

        assert!(replica.is_walking());
        assert!(replica.walks.len() <= WALKS_ENDED_MAX + 2, "{} walks are remembered", replica.walks.len());
    }

    /// Heads that were announced a moment ago are not announced again in the next round; a newcomer has not heard them.
    #[test]
    fn newcomers_are_told_of_heads_that_others_have_heard() {
        let (store, mut replica) = (MemoryStore::default(), Replica::default());
        let cid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN".parse().expect("a CID");
        step(&mut replica, &store, Event::Local(vec![LocalChange::Put(cid, Vec::new())]));
        let heads: Vec<Cid> = replica.heads().keys().copied().collect();
        step(&mut replica, &store, Event::Heads(heads.clone()));
        let mut announced = |event| {
            let mut effects = Vec::new();
            replica.step(event, &store, &mut effects).expect("stepped");
            effects
        };

        assert_eq!(announced(Event::Greet), [Effect::Announce(heads.clone())]);
        assert_eq!(announced(Event::Rebroadcast), []);
        assert_eq!(announced(Event::Greet), [Effect::Announce(heads)]);
    }
}
