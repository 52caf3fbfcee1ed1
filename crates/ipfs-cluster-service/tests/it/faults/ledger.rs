//! Items that one client pins and unpins, each once: what must be in the pinset, what must not, and what may.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was to be pinned, and that was not answered.
    MaybePinned,
    Pinned,
    /// It was to be unpinned, and that was not answered.
    MaybeGone,
    Gone,
}

/// What was asked for, and what was answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    items: BTreeMap<u64, Fate>,
}

impl Ledger {
    /// A number for an item that is about to be pinned.
    pub(super) fn begin(&mut self) -> u64 {
        let item = self.items.last_key_value().map_or(1, |(last, _)| last + 1);
        self.items.insert(item, Fate::MaybePinned);
        item
    }

    pub(super) fn pinned(&mut self, item: u64) {
        self.items.insert(item, Fate::Pinned);
    }

    pub(super) fn unpinning(&mut self, item: u64) {
        self.items.insert(item, Fate::MaybeGone);
    }

    pub(super) fn gone(&mut self, item: u64) {
        self.items.insert(item, Fate::Gone);
    }

    /// What is wrong with a pinset that has these of our items.
    pub(super) fn objections(&self, there: &BTreeSet<u64>) -> Vec<String> {
        let wrong = self.items.iter().filter_map(|(item, fate)| match (fate, there.contains(item)) {
            (Fate::Pinned, false) => Some(format!("{item} was pinned and is lost")),
            (Fate::Gone, true) => Some(format!("{item} was unpinned and is back")),
            _ => None,
        });
        let strange = there.iter().filter(|item| !self.items.contains_key(item));
        wrong.chain(strange.map(|item| format!("{item} is nobody's"))).collect()
    }

    /// Takes from a pinset that all peers have what cannot change any more: a pin that is there stays, and one whose
    /// removal was asked for and that is not there does not come back.
    pub(super) fn learn(&mut self, there: &BTreeSet<u64>) {
        for (item, fate) in &mut self.items {
            match (*fate, there.contains(item)) {
                (Fate::MaybePinned, true) => *fate = Fate::Pinned,
                (Fate::MaybeGone, false) => *fate = Fate::Gone,
                _ => {}
            }
        }
    }

    /// One that must be there.
    pub(super) fn any_pinned(&self) -> Option<u64> {
        self.items.iter().find(|(_, fate)| **fate == Fate::Pinned).map(|(item, _)| *item)
    }

    /// All that are pinned for certain.
    pub(super) fn all_pinned(&self) -> Vec<u64> {
        self.items.iter().filter(|(_, fate)| **fate == Fate::Pinned).map(|(item, _)| *item).collect()
    }
}

#[test]
fn what_is_lost_or_back_is_noticed_and_what_may_be_is_not() {
    let mut ledger = Ledger::default();
    let [pinned, maybe, gone, leaving] = [(); 4].map(|()| ledger.begin());
    ledger.pinned(pinned);
    ledger.gone(gone);
    ledger.unpinning(leaving);

    assert_eq!(ledger.objections(&[pinned].into()), Vec::<String>::new());
    assert_eq!(ledger.objections(&[pinned, maybe, leaving].into()), Vec::<String>::new());
    assert_eq!(ledger.objections(&[maybe].into()), [format!("{pinned} was pinned and is lost")]);
    assert_eq!(ledger.objections(&[pinned, gone].into()), [format!("{gone} was unpinned and is back")]);
    assert_eq!(ledger.objections(&[pinned, 77].into()), ["77 is nobody's"]);
    ledger.learn(&[pinned, maybe].into());
    assert_eq!(ledger.objections(&[pinned].into()), [format!("{maybe} was pinned and is lost")]);
    assert_eq!(ledger.objections(&[pinned, maybe, leaving].into()), [format!("{leaving} was unpinned and is back")]);
}
