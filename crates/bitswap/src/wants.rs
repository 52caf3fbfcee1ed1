//! What is wanted, and of whom it is asked: a machine that takes the time and what peers say, and tells what to ask.
//!
//! The peer that gave the last block is asked for the block itself; others that gave some of late are asked whether they
//! have it, and one that says so is asked for it when the first refused, or let us wait. When none of them has it, and when
//! nobody gave any, everybody is asked: a long file is a matter of those who have it.

use crate::message::{Entry, Want};
use cid::Cid;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Peers that are asked for one block at a time: more than a host is connected to, as a rule.
const ASKED_MAX: usize = 256;

/// Peers that gave the last blocks and are asked for the next ones, before all others.
const GIVERS_ASKED: usize = 8;

/// After what silence of the peer that was asked for a block another one is asked too.
const PATIENCE: Duration = Duration::from_millis(500);

/// After what time everybody is asked again, whatever they have said before.
const AGAIN: Duration = Duration::from_secs(10);

/// Something that a peer is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask<P> {
    pub(crate) peer: P,
    pub(crate) entry: Entry,
}

/// What is wanted.
#[derive(Debug)]
pub(crate) struct Wants<P> {
    wants: BTreeMap<Cid, Wanted<P>>,
    /// Who is connected.
    peers: BTreeSet<P>,
    /// Who gave the last block, and before that; the latest last.
    givers: Vec<P>,
    /// Falls with each want: what was wanted first is most urgent.
    priority: i32,
}

impl<P> Default for Wants<P> {
    fn default() -> Self {
        Self { wants: BTreeMap::new(), peers: BTreeSet::new(), givers: Vec::new(), priority: i32::MAX }
    }
}

#[derive(Debug)]
struct Wanted<P> {
    priority: i32,
    /// Who was asked for what.
    asked: BTreeMap<P, Want>,
    /// Who said that it has the block, and was not asked for it yet.
    have: Vec<P>,
    /// Whom we wait for, and since when.
    waiting: Option<(P, Duration)>,
    /// When it was begun with.
    since: Duration,
    /// Whether everybody was asked.
    broad: bool,
}

impl<P: Copy + Ord> Wants<P> {
    /// Whether nothing is wanted.
    pub(crate) fn is_empty(&self) -> bool {
        self.wants.is_empty()
    }

    /// Who gave the last blocks.
    pub(crate) fn givers(&self) -> &[P] {
        &self.givers
    }

    /// How much is wanted.
    pub(crate) fn len(&self) -> usize {
        self.wants.len()
    }

    /// Says who is connected. Who is new is asked for everything; who is gone is waited for no longer.
    pub(crate) fn connected(&mut self, peers: BTreeSet<P>, now: Duration, asks: &mut Vec<Ask<P>>) {
        for gone in self.peers.difference(&peers).copied().collect::<Vec<_>>() {
            self.lost(gone, now, asks);
        }
        let new: Vec<P> = peers.difference(&self.peers).copied().collect();
        self.peers = peers;
        if new.is_empty() {
            return;
        }
        for (cid, wanted) in &mut self.wants {
            for peer in &new {
                wanted.make_room(*cid, asks);
                wanted.ask(*cid, *peer, Want::Have, asks);
            }
        }
    }

    /// What a peer was asked never reached it, or it went away.
    pub(crate) fn lost(&mut self, peer: P, now: Duration, asks: &mut Vec<Ask<P>>) {
        self.givers.retain(|giver| *giver != peer);
        self.peers.remove(&peer);
        for (cid, wanted) in &mut self.wants {
            wanted.asked.remove(&peer);
            wanted.have.retain(|other| *other != peer);
            if wanted.waiting.is_some_and(|(other, _)| other == peer) {
                wanted.waiting = None;
                wanted.next(*cid, &self.peers, now, asks);
            }
        }
    }

    /// Wants a block.
    pub(crate) fn want(&mut self, cid: Cid, now: Duration, asks: &mut Vec<Ask<P>>) {
        if self.wants.contains_key(&cid) {
            return;
        }
        self.priority = if self.priority == i32::MIN + 1 { i32::MAX } else { self.priority - 1 };
        let mut wanted = Wanted {
            priority: self.priority,
            asked: BTreeMap::new(),
            have: Vec::new(),
            waiting: None,
            since: now,
            broad: false,
        };
        wanted.ask_givers(cid, &self.peers, &self.givers, now, asks);
        self.wants.insert(cid, wanted);
    }

    /// A block is no longer wanted; those who were asked are told.
    pub(crate) fn cancel(&mut self, cid: &Cid, asks: &mut Vec<Ask<P>>) {
        let Some(wanted) = self.wants.remove(cid) else { return };
        let told = wanted.asked.into_keys().map(|peer| Ask { peer, entry: cancellation(*cid) });
        asks.extend(told);
    }

    /// A peer gave a block; tells whether it was wanted.
    pub(crate) fn block(&mut self, peer: P, cid: &Cid, asks: &mut Vec<Ask<P>>) -> bool {
        let Some(wanted) = self.wants.remove(cid) else { return false };
        self.givers.retain(|giver| *giver != peer);
        self.givers.push(peer);
        if self.givers.len() > ASKED_MAX {
            self.givers.remove(0);
        }
        // Whoever gave it knows; the others are told.
        let others = wanted.asked.into_keys().filter(|other| *other != peer);
        asks.extend(others.map(|peer| Ask { peer, entry: cancellation(*cid) }));
        true
    }

    /// A peer says that it has a block.
    pub(crate) fn have(&mut self, peer: P, cid: &Cid, now: Duration, asks: &mut Vec<Ask<P>>) {
        let Some(wanted) = self.wants.get_mut(cid) else { return };
        // Who was not asked does not count: it could name itself without end.
        if wanted.asked.get(&peer) == Some(&Want::Have) && !wanted.have.contains(&peer) {
            wanted.have.push(peer);
            if wanted.waiting.is_none() {
                wanted.next(*cid, &self.peers, now, asks);
            }
        }
    }

    /// A peer says that it does not have a block.
    pub(crate) fn dont_have(&mut self, peer: P, cid: &Cid, now: Duration, asks: &mut Vec<Ask<P>>) {
        let Some(wanted) = self.wants.get_mut(cid) else { return };
        wanted.have.retain(|other| *other != peer);
        if wanted.waiting.is_some_and(|(other, _)| other == peer) {
            wanted.waiting = None;
            wanted.next(*cid, &self.peers, now, asks);
        }
    }

    /// Time has passed: who lets us wait is overtaken, and after long silence everybody is asked again.
    pub(crate) fn tick(&mut self, now: Duration, asks: &mut Vec<Ask<P>>) {
        for (cid, wanted) in &mut self.wants {
            if now.saturating_sub(wanted.since) >= AGAIN {
                wanted.asked.clear();
                wanted.have.clear();
                wanted.waiting = None;
                wanted.since = now;
                wanted.ask_givers(*cid, &self.peers, &self.givers, now, asks);
                wanted.ask_everybody(*cid, &self.peers, asks);
            } else if wanted.waiting.is_some_and(|(_, since)| now.saturating_sub(since) >= PATIENCE) {
                wanted.next(*cid, &self.peers, now, asks);
            }
        }
    }
}

impl<P: Copy + Ord> Wanted<P> {
    /// Asks those who gave blocks of late, the latest for the block itself; everybody, if none of them is there.
    fn ask_givers(&mut self, cid: Cid, peers: &BTreeSet<P>, givers: &[P], now: Duration, asks: &mut Vec<Ask<P>>) {
        let mut givers = givers.iter().rev().filter(|giver| peers.contains(giver)).copied().take(GIVERS_ASKED);
        let Some(latest) = givers.next() else { return self.ask_everybody(cid, peers, asks) };
        self.ask(cid, latest, Want::Block, asks);
        self.waiting = Some((latest, now));
        givers.for_each(|giver| self.ask(cid, giver, Want::Have, asks));
    }

    /// Asks everybody who was not asked yet.
    fn ask_everybody(&mut self, cid: Cid, peers: &BTreeSet<P>, asks: &mut Vec<Ask<P>>) {
        self.broad = true;
        let others: Vec<P> = peers.iter().filter(|peer| !self.asked.contains_key(peer)).copied().collect();
        others.into_iter().for_each(|peer| self.ask(cid, peer, Want::Have, asks));
    }

    /// Lets go of one who was asked and said nothing good, if no more can be asked: who comes now may have been looked for
    /// because of this block.
    fn make_room(&mut self, cid: Cid, asks: &mut Vec<Ask<P>>) {
        if self.asked.len() < ASKED_MAX {
            return;
        }
        let useless = |(peer, want): &(&P, &Want)| **want == Want::Have && !self.have.contains(peer);
        if let Some(peer) = self.asked.iter().find(useless).map(|(peer, _)| *peer) {
            self.asked.remove(&peer);
            asks.push(Ask { peer, entry: cancellation(cid) });
        }
    }

    fn ask(&mut self, cid: Cid, peer: P, want: Want, asks: &mut Vec<Ask<P>>) {
        if self.asked.len() < ASKED_MAX || self.asked.contains_key(&peer) {
            self.asked.insert(peer, want);
            let entry = Entry { cid, priority: self.priority, cancel: false, want, send_dont_have: true };
            asks.push(Ask { peer, entry });
        }
    }

    /// Asks the next one who said that it has the block; everybody, if there is none.
    fn next(&mut self, cid: Cid, peers: &BTreeSet<P>, now: Duration, asks: &mut Vec<Ask<P>>) {
        if !self.have.is_empty() {
            let peer = self.have.remove(0);
            self.ask(cid, peer, Want::Block, asks);
            self.waiting = Some((peer, now));
        } else if !self.broad {
            // The first who has it is asked at once; whoever was waited for may still come first.
            self.waiting = None;
            self.ask_everybody(cid, peers, asks);
        }
    }
}

fn cancellation(cid: Cid) -> Entry {
    Entry { cid, priority: 0, cancel: true, want: Want::Block, send_dont_have: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multihash_codetable::{Code, MultihashDigest};

    const NOW: Duration = Duration::ZERO;

    fn cid(text: &str) -> Cid {
        Cid::new_v1(0x55, Code::Sha2_256.digest(text.as_bytes()))
    }

    fn told(asks: &mut Vec<Ask<u8>>) -> Vec<(u8, char)> {
        let letter = |entry: Entry| match (entry.cancel, entry.want) {
            (true, _) => 'c',
            (false, Want::Block) => 'b',
            (false, Want::Have) => 'h',
        };
        asks.drain(..).map(|ask| (ask.peer, letter(ask.entry))).collect()
    }

    fn wants_of(peers: &[u8]) -> (Wants<u8>, Vec<Ask<u8>>) {
        let (mut wants, mut asks) = (Wants::default(), Vec::new());
        wants.connected(peers.iter().copied().collect(), NOW, &mut asks);
        (wants, asks)
    }

    #[test]
    fn everybody_is_asked_and_who_has_it_is_asked_for_it() {
        let (mut wants, mut asks) = wants_of(&[1, 2, 3]);
        let (first, second) = (cid("first"), cid("second"));

        wants.want(first, NOW, &mut asks);
        assert_eq!(told(&mut asks), [(1, 'h'), (2, 'h'), (3, 'h')]);
        wants.dont_have(1, &first, NOW, &mut asks);
        wants.have(3, &first, NOW, &mut asks);
        wants.have(2, &first, NOW, &mut asks);
        assert_eq!(told(&mut asks), [(3, 'b')]);
        assert!(wants.block(3, &first, &mut asks));
        assert_eq!(told(&mut asks), [(1, 'c'), (2, 'c')]);
        assert!(!wants.block(3, &first, &mut asks) && wants.is_empty());

        // Who gave one is asked for the next at once, and alone.
        wants.want(second, NOW, &mut asks);
        assert_eq!(told(&mut asks), [(3, 'b')]);
    }

    #[test]
    fn others_are_asked_when_those_who_gave_blocks_do_not_have_the_next() {
        let (mut wants, mut asks) = wants_of(&[1, 2, 3, 4]);
        for (giver, text) in [(1, "one"), (2, "two")] {
            wants.want(cid(text), NOW, &mut asks);
            assert!(wants.block(giver, &cid(text), &mut asks));
        }
        asks.clear();

        // One that says so makes room at once, one that is silent after a while.
        let (refused, awaited) = (cid("refused"), cid("awaited"));
        wants.want(refused, NOW, &mut asks);
        assert_eq!(told(&mut asks), [(2, 'b'), (1, 'h')]);
        wants.dont_have(2, &refused, NOW, &mut asks);
        assert_eq!(told(&mut asks), [(3, 'h'), (4, 'h')]);
        wants.have(4, &refused, NOW, &mut asks);
        assert_eq!(told(&mut asks), [(4, 'b')]);
        wants.cancel(&refused, &mut asks);
        asks.clear();

        wants.want(awaited, NOW, &mut asks);
        assert_eq!(told(&mut asks), [(2, 'b'), (1, 'h')]);
        wants.tick(PATIENCE, &mut asks);
        assert_eq!(told(&mut asks), [(3, 'h'), (4, 'h')]);
        wants.have(3, &awaited, PATIENCE, &mut asks);
        assert_eq!(told(&mut asks), [(3, 'b')]);
        assert!(wants.block(2, &awaited, &mut asks));

        // A giver that goes away before it gave.
        asks.clear();
        let gone = cid("gone");
        wants.want(gone, PATIENCE, &mut asks);
        assert_eq!(told(&mut asks), [(2, 'b'), (1, 'h')]);
        wants.connected([3, 4].into(), PATIENCE, &mut asks);
        assert_eq!(told(&mut asks), [(3, 'h'), (4, 'h')]);
    }

    #[test]
    fn who_refuses_or_is_slow_or_goes_away_is_replaced() {
        let (mut wants, mut asks) = wants_of(&[1, 2, 3, 4]);
        let wanted = cid("wanted");
        wants.want(wanted, NOW, &mut asks);
        for peer in [1, 2, 3, 4] {
            wants.have(peer, &wanted, NOW, &mut asks);
        }
        asks.retain(|ask| ask.entry.want == Want::Block);
        assert_eq!(told(&mut asks), [(1, 'b')]);

        wants.dont_have(1, &wanted, NOW, &mut asks);
        assert_eq!(told(&mut asks), [(2, 'b')]);
        wants.tick(PATIENCE, &mut asks);
        assert_eq!(told(&mut asks), [(3, 'b')]);
        wants.connected([1, 2, 4].into(), PATIENCE, &mut asks);
        assert_eq!(told(&mut asks), [(4, 'b')]);
        wants.tick(AGAIN, &mut asks);
        assert_eq!(told(&mut asks), [(1, 'h'), (2, 'h'), (4, 'h')]);
    }

    #[test]
    fn who_comes_later_is_asked_too_and_who_was_not_asked_is_not_believed() {
        let (mut wants, mut asks) = wants_of(&[]);
        let wanted = cid("wanted");
        wants.want(wanted, NOW, &mut asks);
        assert_eq!(told(&mut asks), []);

        wants.have(9, &wanted, NOW, &mut asks);
        assert_eq!(told(&mut asks), []);
        wants.connected([7].into(), NOW, &mut asks);
        assert_eq!(told(&mut asks), [(7, 'h')]);
        wants.cancel(&wanted, &mut asks);
        assert_eq!(told(&mut asks), [(7, 'c')]);
    }

    #[test]
    fn no_more_than_so_many_are_asked_and_who_comes_later_is() {
        let (mut wants, mut asks) = (Wants::<usize>::default(), Vec::new());
        wants.connected((0..ASKED_MAX + 50).collect(), NOW, &mut asks);

        wants.want(cid("wanted"), NOW, &mut asks);
        assert_eq!(asks.len(), ASKED_MAX);

        // Who comes now is asked in place of one who has said nothing good.
        asks.clear();
        wants.have(0, &cid("wanted"), NOW, &mut asks);
        wants.connected((0..ASKED_MAX + 51).collect(), NOW, &mut asks);
        let told: Vec<_> = asks.iter().map(|ask| (ask.peer, ask.entry.cancel, ask.entry.want)).collect();
        assert_eq!(told, [(0, false, Want::Block), (1, true, Want::Block), (ASKED_MAX + 50, false, Want::Have)]);
    }
}
