//! Items that many clients write and read at the same time, and what they saw of each: whether that could have come from
//! one copy.

use cluster_testkit::Chance;
use cluster_testkit::history::{Event, Op, is_linearizable};
use std::collections::BTreeMap;

/// Items that are worked on at a time. Few, so that clients meet.
const AT_ONCE: usize = 4;

/// An item of which so much is known is left: the check is for short histories.
const EVENTS_MAX: usize = 60;

/// The first of their numbers.
pub(super) const FIRST: u64 = 1 << 40;

/// What was seen of them.
pub(super) struct Items {
    /// Worked on.
    open: Vec<u64>,
    next: u64,
    events: BTreeMap<u64, Vec<Event>>,
}

impl Items {
    pub(super) fn new() -> Self {
        let open: Vec<u64> = (FIRST..).take(AT_ONCE).collect();
        Self { next: FIRST + AT_ONCE as u64, open, events: BTreeMap::new() }
    }

    /// One to work on.
    pub(super) fn any(&mut self, chance: &Chance) -> u64 {
        let place = chance.place(self.open.len());
        if self.events.get(&self.open[place]).is_some_and(|events| events.len() >= EVENTS_MAX) {
            self.open[place] = self.next;
            self.next += 1;
        }
        self.open[place]
    }

    pub(super) fn note(&mut self, item: u64, event: Event) {
        self.events.entry(item).or_default().push(event);
    }

    /// All of which anything is known.
    pub(super) fn known(&self) -> Vec<u64> {
        self.events.keys().copied().collect()
    }

    /// Those that nobody works on any more.
    pub(super) fn take_left(&mut self) -> Vec<u64> {
        let left = self.known().into_iter().filter(|item| !self.open.contains(item)).collect::<Vec<_>>();
        left.iter().for_each(|item| drop(self.events.remove(item)));
        left
    }

    /// Whether all of it could have come from one copy; and whether the check sees what could not.
    pub(super) fn check(&self) -> Result<(), String> {
        for (item, events) in &self.events {
            let events = that_matter(events);
            if !is_linearizable(&events) {
                return Err(format!("item {}: no single copy can have said this: {events:#?}", item - FIRST));
            }
            let mut wrong = events.clone();
            if let Some(read) = wrong.iter_mut().rev().find(|event| matches!(event.op, Op::Read(_))) {
                read.op = Op::Read(Some(u64::MAX));
                assert!(!is_linearizable(&wrong), "what nobody wrote is noticed");
            }
        }
        Ok(())
    }
}

/// Without the writes of which nobody knows whether they were done, and whose value nobody read: they may be done never,
/// and the check is the quicker the fewer such there are.
fn that_matter(events: &[Event]) -> Vec<Event> {
    let read = |value| events.iter().any(|event| event.op == Op::Read(value));
    let matters = |event: &&Event| match event.op {
        Op::Write(value) => event.answered.is_some() || read(value),
        Op::Read(_) => true,
    };
    events.iter().filter(matters).copied().collect()
}
