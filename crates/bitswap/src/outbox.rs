//! What one peer is still to be told: our wants, and what it is owed.

use crate::ledger::Ledger;
use crate::message::Entry;
use cid::Cid;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// What one peer is still to be told. Our wants are bounded by what is wanted in all, the rest by the ledger.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The latest of what is wanted, by block: what was taken back before it was sent is sent as taken back.
    entries: BTreeMap<Cid, Entry>,
    pub(crate) ledger: Ledger,
    /// Wakes the task that sends.
    pub(crate) wake: Arc<Notify>,
    /// Whether there is such a task.
    pub(crate) running: bool,
}

impl Outbox {
    /// Puts in a want, or takes one back.
    pub(crate) fn put(&mut self, entry: Entry) {
        self.entries.insert(entry.cid, entry);
    }

    /// Whether there is anything to tell.
    pub(crate) fn is_due(&self) -> bool {
        !self.entries.is_empty() || self.ledger.is_owed()
    }

    /// Takes out the wants, the most urgent first.
    pub(crate) fn take_entries(&mut self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = std::mem::take(&mut self.entries).into_values().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.priority));
        entries
    }
}
