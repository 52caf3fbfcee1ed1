//! What was asked for and what was acknowledged.

use cluster_testkit::invariant::Expected;
use cluster_types::{Cid, PeerId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// One CID, which one peer alone changes.
struct Entry {
    peer: PeerId,
    expected: Expected,
    pending: u32,
    /// More than one order was under way at a time: nobody knows which came last.
    overlapped: bool,
    /// Others may unpin it: it expires.
    expires: bool,
}

/// The ledger. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<BTreeMap<Cid, Entry>>>);

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<Cid, Entry>> {
        self.0.lock().expect("no panic holds it")
    }

    /// An order goes out.
    pub(super) fn ask(&self, cid: Cid, peer: PeerId, expires: bool) {
        let mut entries = self.entries();
        let fresh = Entry { peer, expected: Expected::Unknown, pending: 0, overlapped: false, expires: false };
        let entry = entries.entry(cid).or_insert(fresh);
        entry.overlapped |= entry.pending > 0;
        entry.pending += 1;
        entry.expires |= expires;
        entry.expected = Expected::Unknown;
    }

    /// It was answered; `None`: with an error.
    pub(super) fn answer(&self, cid: &Cid, acknowledged: Option<Expected>) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(cid) else { return };
        entry.pending -= 1;
        if let (Some(expected), false, false) = (acknowledged, entry.overlapped, entry.expires) {
            entry.expected = expected;
        }
        if entry.pending == 0 {
            entry.overlapped = false;
        }
    }

    /// A peer never comes back: what it alone had acknowledged may be nowhere else.
    pub(super) fn forget(&self, peer: &PeerId) {
        let mut entries = self.entries();
        entries.values_mut().filter(|entry| entry.peer == *peer).for_each(|entry| entry.expected = Expected::Unknown);
    }

    /// What must be true now. Where peers move pins of each other, such a move can bring back what is unpinned at the
    /// same moment.
    pub(super) fn expected(&self, others_change_pins: bool) -> BTreeMap<Cid, (PeerId, Expected)> {
        let known = |entry: &Entry| match entry.expected {
            Expected::Gone if others_change_pins => Expected::Unknown,
            expected => expected,
        };
        self.entries().iter().map(|(cid, entry)| (*cid, (entry.peer, known(entry)))).collect()
    }
}
