//! How deltas merge: an observed-remove set in which additions win, with one value for each key: that of the highest
//! node, and among equals the greatest bytes.
//!
//! As go-ds-crdt 0.6.8, `set.go`: tombstones before elements; each key of a delta is compared with the state before
//! the delta, and of two elements of one key in a delta the later counts.

use super::delta::{Delta, Element, Node};
use super::keys::{NodeNumber, block_key};
use super::keys::{Row, cid_of_row_key, is_pin, multihash_of_block_key, row_key, tomb_key};
use crate::pinset::digest;
use cluster_types::store::{Batch, DatastoreRead, StoreError, Table};
use cluster_types::{Cid, PinsetDigest};
use std::collections::{BTreeMap, BTreeSet};

/// What a merge changed for those who look at the pinset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetChange {
    /// The element has this value now.
    Put {
        /// Its row key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// The element is gone.
    Removed {
        /// Its row key.
        key: Vec<u8>,
    },
}

/// A merge in progress: reads the store below what it has changed itself, and leaves a batch behind.
pub struct Merge<'a> {
    store: &'a dyn DatastoreRead,
    rows: BTreeMap<Vec<u8>, Option<Row>>,
    tombs: BTreeSet<Vec<u8>>,
    numbers: BTreeMap<Vec<u8>, (NodeNumber, bool)>,
    blocks: BTreeMap<NodeNumber, Vec<u8>>,
    next_number: NodeNumber,
    /// How many more pins are listed than before; negative for fewer.
    pub count_change: i64,
    /// How their digest changes.
    pub digest_change: PinsetDigest,
}

impl std::fmt::Debug for Merge<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

impl<'a> Merge<'a> {
    /// Begins a merge on top of a store.
    #[must_use]
    pub fn new(store: &'a dyn DatastoreRead, next_number: NodeNumber) -> Self {
        Self {
            store,
            rows: BTreeMap::new(),
            tombs: BTreeSet::new(),
            numbers: BTreeMap::new(),
            blocks: BTreeMap::new(),
            next_number,
            count_change: 0,
            digest_change: PinsetDigest::default(),
        }
    }

    /// The number of the next node.
    #[must_use]
    pub fn next_number(&self) -> NodeNumber {
        self.next_number
    }

    /// The number of a node and whether it is processed; `None` if it was never heard of.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn number_of(&mut self, multihash: &[u8]) -> Result<Option<(NodeNumber, bool)>, StoreError> {
        if let Some(known) = self.numbers.get(multihash) {
            return Ok(Some(*known));
        }
        let row = self.store.get(Table::CrdtIndex, multihash)?;
        Ok(row.and_then(|row| {
            let (number, flag) = row.split_first_chunk::<8>()?;
            Some((NodeNumber::from_be_bytes(*number), flag == [1]))
        }))
    }

    /// Takes in a node: its block, its number, its changes. Tells what changed, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn node(&mut self, multihash: &[u8], block: Vec<u8>, delta: &Delta) -> Result<Vec<SetChange>, StoreError> {
        let number = match self.number_of(multihash)? {
            Some((number, _)) => number,
            None => {
                self.next_number += 1;
                self.next_number - 1
            }
        };
        self.numbers.insert(multihash.to_vec(), (number, true));
        self.blocks.insert(number, block);
        let mut changes = Vec::new();
        self.tombstones(delta, &mut changes)?;
        self.elements(multihash, number, delta, &mut changes)?;
        Ok(changes)
    }

    /// What a removal of an element must name: the block keys of all nodes that added it, as the store has it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn tombstones_for(&mut self, text: &str) -> Result<Vec<Element>, StoreError> {
        let Some(row) = self.row(&row_key(text))? else { return Ok(Vec::new()) };
        let mut tombs = Vec::with_capacity(row.adders.len());
        // Newest first, as the recorded history has it; readers do not care.
        for adder in row.adders.into_iter().rev() {
            if let Some(multihash) = self.multihash_of(adder)? {
                tombs.push(Element { key: text.to_owned(), id: block_key(&multihash), value: Vec::new() });
            }
        }
        Ok(tombs)
    }

    fn multihash_of(&self, number: NodeNumber) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some((multihash, _)) = self.numbers.iter().find(|(_, (n, _))| *n == number) {
            return Ok(Some(multihash.clone()));
        }
        Ok(self.store.get(Table::CrdtNodes, &number.to_be_bytes())?.map(|bytes| bytes.to_vec()))
    }

    fn row(&self, key: &[u8]) -> Result<Option<Row>, StoreError> {
        if let Some(row) = self.rows.get(key) {
            return Ok(row.clone());
        }
        match self.store.get(Table::CrdtElements, key)? {
            None => Ok(None),
            Some(bytes) => {
                let damaged = || StoreError::Corrupt(format!("the row of {:?}", cid_of_row_key(key)));
                Row::decode(&bytes).map(Some).ok_or_else(damaged)
            }
        }
    }

    fn set_row(&mut self, key: Vec<u8>, before: Option<&[u8]>, row: Option<Row>) {
        if is_pin(&key) {
            let after = row.as_ref().map(|row| row.value.as_slice());
            self.count_change += i64::from(after.is_some()) - i64::from(before.is_some());
            self.digest_change = self.digest_change.and(digest::change(&key, before, after));
        }
        self.rows.insert(key, row);
    }

    fn tombstones(&mut self, delta: &Delta, changes: &mut Vec<SetChange>) -> Result<(), StoreError> {
        let mut by_key: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
        let mut order = Vec::new();
        for tomb in &delta.tombstones {
            // As go-ds-crdt: a removal that names no block removes nothing.
            let Some(multihash) = multihash_of_block_key(&tomb.id) else { continue };
            let key = row_key(&tomb.key);
            if !by_key.contains_key(&key) {
                order.push((key.clone(), tomb.key.clone()));
            }
            by_key.entry(key).or_default().insert(multihash);
        }
        for (key, text) in order {
            let removed = by_key.remove(&key).unwrap_or_default();
            self.remove(key, &text, &removed, changes)?;
        }
        Ok(())
    }

    fn remove(
        &mut self,
        key: Vec<u8>,
        text: &str,
        removed: &BTreeSet<Vec<u8>>,
        changes: &mut Vec<SetChange>,
    ) -> Result<(), StoreError> {
        let mut gone = BTreeSet::new();
        for multihash in removed {
            self.tombs.insert(tomb_key(multihash, &key));
            gone.extend(self.number_of(multihash)?.map(|(number, _)| number));
        }
        let Some(mut row) = self.row(&key)? else { return Ok(()) };
        let adders = row.adders.len();
        row.adders.retain(|adder| !gone.contains(adder));
        if row.adders.len() == adders {
            return Ok(());
        }
        match self.best_of(&row.adders, text)? {
            Some((priority, value)) => {
                changes.push(SetChange::Put { key: key.clone(), value: value.clone() });
                self.set_row(key, Some(&row.value), Some(Row { priority, value, adders: row.adders }));
            }
            None => {
                changes.push(SetChange::Removed { key: key.clone() });
                self.set_row(key, Some(&row.value), None);
            }
        }
        Ok(())
    }

    /// The value that counts when only these nodes' additions are left.
    fn best_of(&self, adders: &[NodeNumber], text: &str) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let mut best = None;
        for adder in adders {
            let block = match self.blocks.get(adder) {
                Some(block) => Some(block.clone()),
                None => self.store.get(Table::CrdtBlocks, &adder.to_be_bytes())?.map(|b| b.to_vec()),
            };
            let missing = || StoreError::Corrupt(format!("the block of node {adder}"));
            let node = Node::decode(&block.ok_or_else(missing)?).map_err(|e| StoreError::Corrupt(e.to_string()))?;
            let values = node.delta.elements.into_iter().filter(|e| e.key == text).map(|e| e.value);
            best = best.max(values.max().map(|value| (node.delta.priority, value)));
        }
        Ok(best)
    }

    fn elements(
        &mut self,
        multihash: &[u8],
        number: NodeNumber,
        delta: &Delta,
        changes: &mut Vec<SetChange>,
    ) -> Result<(), StoreError> {
        // What counted before this delta, for keys that it holds more than once.
        let mut before: BTreeMap<Vec<u8>, Option<(u64, Vec<u8>)>> = BTreeMap::new();
        for element in &delta.elements {
            let key = row_key(&element.key);
            let tomb = tomb_key(multihash, &key);
            if self.tombs.contains(&tomb) || self.store.get(Table::CrdtTombs, &tomb)?.is_some() {
                continue;
            }
            let row = self.row(&key)?;
            let existed = row.as_ref().map(|row| row.value.clone());
            let current =
                before.entry(key.clone()).or_insert_with(|| row.as_ref().map(|r| (r.priority, r.value.clone())));
            let wins =
                current.as_ref().is_none_or(|(priority, value)| (delta.priority, &element.value) > (*priority, value));
            let mut row = row.unwrap_or_default();
            if let Err(at) = row.adders.binary_search(&number) {
                row.adders.insert(at, number);
            }
            if wins {
                row.priority = delta.priority;
                row.value.clone_from(&element.value);
                changes.push(SetChange::Put { key: key.clone(), value: element.value.clone() });
            }
            self.set_row(key, existed.as_deref(), Some(row));
        }
        Ok(())
    }

    /// Everything that this merge changed.
    #[must_use]
    pub fn into_batch(self) -> Batch {
        let mut batch = Batch::new();
        for (multihash, (number, processed)) in self.numbers {
            let index = [number.to_be_bytes().as_slice(), &[u8::from(processed)]].concat();
            batch.put(Table::CrdtNodes, number.to_be_bytes().to_vec(), multihash.clone());
            batch.put(Table::CrdtIndex, multihash, index);
        }
        for (number, block) in self.blocks {
            batch.put(Table::CrdtBlocks, number.to_be_bytes().to_vec(), block);
        }
        for (key, row) in self.rows {
            match row {
                Some(row) => batch.put(Table::CrdtElements, key, row.encode()),
                None => batch.delete(Table::CrdtElements, key),
            }
        }
        for tomb in self.tombs {
            batch.put(Table::CrdtTombs, tomb, Vec::new());
        }
        batch
    }
}

/// The pinned CID that a change is about, unless its element is none of ours.
#[must_use]
pub fn cid_of(change: &SetChange) -> Option<Cid> {
    match change {
        SetChange::Put { key, .. } | SetChange::Removed { key } => cid_of_row_key(key),
    }
}
