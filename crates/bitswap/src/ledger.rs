//! What one peer wants of us: a list with bounds, and what is still owed of it.

use crate::message::{Entry, Message, Presence, Want};
use cid::Cid;
use std::collections::{BTreeMap, VecDeque};

/// Wants of one peer that are remembered, as the reference: more are answered only if that can be done at once.
const UNMET_MAX: usize = 1_024;

/// Blocks that wait to be sent to one peer. What does not fit is asked for again by those who want it.
const OWED_MAX: usize = 4_096;

/// Blocks up to this size are sent to who only asks whether they are here, as the reference: it saves a round.
const SMALL: usize = 1_024;

/// What one peer wants, and what it is owed.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// What it wants and we do not have.
    unmet: BTreeMap<Cid, Want>,
    /// Blocks that it shall get, in the order in which it asked.
    owed: VecDeque<Cid>,
    /// What it shall be told.
    told: BTreeMap<Cid, Presence>,
}

impl Ledger {
    /// Whether there is anything to tell.
    pub(crate) fn is_owed(&self) -> bool {
        !self.owed.is_empty() || !self.told.is_empty()
    }

    /// Whether anything is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.unmet.is_empty() && !self.is_owed()
    }

    /// What it wants and did not get.
    pub(crate) fn unmet(&self) -> Vec<(Cid, Want)> {
        self.unmet.iter().map(|(cid, want)| (*cid, *want)).collect()
    }

    /// Takes its wantlist. `size` tells the size of a block that is here.
    pub(crate) fn take(&mut self, message: &Message, size: impl Fn(&Cid) -> Option<usize>) {
        if message.full {
            self.unmet.clear();
            self.owed.clear();
            self.told.clear();
        }
        for entry in &message.wants {
            if entry.cancel {
                self.forget(&entry.cid);
            } else {
                self.wants(entry, size(&entry.cid));
            }
        }
    }

    fn forget(&mut self, cid: &Cid) {
        self.unmet.remove(cid);
        self.told.remove(cid);
        self.owed.retain(|other| other != cid);
    }

    fn wants(&mut self, entry: &Entry, size: Option<usize>) {
        if let Some(size) = size {
            self.meet(entry.cid, entry.want, size);
            return;
        }
        if entry.send_dont_have && self.told.len() < OWED_MAX {
            self.told.insert(entry.cid, Presence::DontHave);
        }
        if self.unmet.len() < UNMET_MAX || self.unmet.contains_key(&entry.cid) {
            self.unmet.insert(entry.cid, entry.want);
        }
    }

    /// A block that it wants is here.
    pub(crate) fn meet(&mut self, cid: Cid, want: Want, size: usize) {
        self.unmet.remove(&cid);
        self.told.remove(&cid);
        if want == Want::Block || size <= SMALL {
            if self.owed.len() < OWED_MAX && !self.owed.contains(&cid) {
                self.owed.push_back(cid);
            }
        } else if self.told.len() < OWED_MAX {
            self.told.insert(cid, Presence::Have);
        }
    }

    /// What to tell it next: everything that is short, and the first of the blocks up to `count` of them.
    pub(crate) fn next(&mut self, count: usize) -> (Vec<(Cid, Presence)>, Vec<Cid>) {
        let blocks = self.owed.drain(..count.min(self.owed.len())).collect();
        (std::mem::take(&mut self.told).into_iter().collect(), blocks)
    }

    /// Blocks that did not fit into a message go first into the next.
    pub(crate) fn put_back(&mut self, cids: Vec<Cid>) {
        cids.into_iter().rev().for_each(|cid| self.owed.push_front(cid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multihash_codetable::{Code, MultihashDigest};

    fn entry(name: &str, want: Want, send_dont_have: bool) -> Entry {
        let cid = Cid::new_v1(0x55, Code::Sha2_256.digest(name.as_bytes()));
        Entry { cid, priority: 1, cancel: false, want, send_dont_have }
    }

    fn message(wants: Vec<Entry>) -> Message {
        Message { wants, ..Message::default() }
    }

    #[test]
    fn small_blocks_are_sent_at_once_and_large_ones_are_told_of() {
        let mut ledger = Ledger::default();
        let (small, large) = (entry("small", Want::Have, false), entry("large", Want::Have, false));

        ledger.take(&message(vec![small, large]), |cid| Some(if *cid == small.cid { SMALL } else { SMALL + 1 }));
        assert_eq!(ledger.next(9), (vec![(large.cid, Presence::Have)], vec![small.cid]));
        ledger.take(&message(vec![Entry { want: Want::Block, ..large }]), |_| Some(SMALL + 1));
        assert_eq!(ledger.next(9), (vec![], vec![large.cid]));
        assert!(ledger.is_empty());
    }

    #[test]
    fn what_is_missing_is_told_if_that_is_asked_for_and_met_later() {
        let mut ledger = Ledger::default();
        let (loud, quiet) = (entry("loud", Want::Block, true), entry("quiet", Want::Have, false));

        ledger.take(&message(vec![loud, quiet]), |_| None);
        assert_eq!(ledger.next(9), (vec![(loud.cid, Presence::DontHave)], vec![]));
        assert_eq!(ledger.unmet().len(), 2);
        ledger.meet(loud.cid, Want::Block, 5_000);
        ledger.meet(quiet.cid, Want::Have, 5_000);
        assert_eq!(ledger.next(9), (vec![(quiet.cid, Presence::Have)], vec![loud.cid]));
    }

    #[test]
    fn cancellations_and_full_lists_take_back() {
        let mut ledger = Ledger::default();
        let (one, two) = (entry("one", Want::Block, true), entry("two", Want::Block, true));
        ledger.take(&message(vec![one, two]), |cid| (*cid == one.cid).then_some(10));

        ledger.take(&message(vec![Entry { cancel: true, ..one }]), |_| Some(10));
        assert_eq!(ledger.next(9), (vec![(two.cid, Presence::DontHave)], vec![]));
        ledger.take(&Message { full: true, ..Message::default() }, |_| None);
        assert!(ledger.is_empty());
    }

    #[test]
    fn a_peer_that_wants_everything_is_bounded() {
        let mut ledger = Ledger::default();
        let wants = |range: std::ops::Range<usize>| range.map(|n| entry(&n.to_string(), Want::Block, true)).collect();

        ledger.take(&message(wants(0..20_000)), |_| None);
        ledger.take(&message(wants(20_000..40_000)), |_| Some(1));

        assert_eq!((ledger.unmet.len(), ledger.told.len(), ledger.owed.len()), (UNMET_MAX, OWED_MAX, OWED_MAX));
    }
}
