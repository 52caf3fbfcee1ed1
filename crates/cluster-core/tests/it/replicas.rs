//! Replicas in a simulated world: messages are late, lost, doubled and out of order, peers are cut off and crash with
//! the loss of what was not synced. In the end all hold the same pins, and those are the ones a plain model says.

use crate::chance::{Chance, seeds};
use bytes::Bytes;
use cluster_core::crdt::keys::{cid_of_row_key, element_value};
use cluster_core::crdt::replica::{pin_digest, read_digest};
use cluster_core::crdt::{Effect, Event, LocalChange, Node, Replica};
use cluster_datastore::MemoryStore;
use cluster_types::Cid;
use cluster_types::store::{Batch, Datastore, DatastoreRead, DatastoreReadExt, Table};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, ControlFlow};

const PEERS: usize = 3;

/// What a world gets wrong on purpose, to see that it is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// Acknowledges before the sync.
    NoSync,
    /// Drops announcements for good: heads are never announced again.
    NoRebroadcast,
    /// Forgets an unpin that it was told.
    LosesRemovals,
}

struct Peer {
    store: MemoryStore,
    replica: Replica,
    wanted: BTreeSet<Cid>,
    cut_off: bool,
}

enum Message {
    Heads(Vec<Cid>),
    Block(Cid),
}

struct World {
    chance: Chance,
    fault: Fault,
    peers: Vec<Peer>,
    /// (due, order) → to whom and what.
    mail: BTreeMap<(u64, u64), (usize, Message)>,
    now: u64,
    sent: u64,
    /// Acknowledged: CID → whether it is pinned after the last acknowledged change, if only one peer changes it.
    model: BTreeMap<Cid, bool>,
    trace: u64,
}

fn cid(peer: usize, number: u64) -> Cid {
    let digest: Vec<u8> = (0..32).map(|i| if i == 0 { peer as u8 } else { (number >> (i % 8)) as u8 }).collect();
    format!("f01551220{}", hex::encode(digest)).parse().expect("a CID")
}

impl World {
    fn new(seed: u64, fault: Fault) -> Self {
        let peer = |_| {
            let store = MemoryStore::new();
            Peer { replica: Replica::load(&store).expect("empty"), store, wanted: BTreeSet::new(), cut_off: false }
        };
        Self {
            chance: Chance::new(seed),
            fault,
            peers: (0..PEERS).map(peer).collect(),
            mail: BTreeMap::new(),
            now: 0,
            sent: 0,
            model: BTreeMap::new(),
            trace: 0,
        }
    }

    fn send(&mut self, to: usize, message: Message, safe: bool) {
        self.sent += 1;
        let delay = 1 + self.chance.below(20);
        let lost = !safe && self.chance.one_in(4);
        if !lost {
            self.mail.insert((self.now + delay, self.sent), (to, message));
        }
    }

    fn step(&mut self, at: usize, event: Event, calm: bool) {
        let peer = &mut self.peers[at];
        let mut effects = Vec::new();
        peer.replica.step(event, &peer.store, &mut effects).expect("stepped");
        let mut announce = Vec::new();
        for effect in effects {
            match effect {
                Effect::Write(batch) => {
                    self.trace = self.trace.rotate_left(7) ^ batch.len() as u64;
                    peer.store.write(batch).expect("written");
                    if self.fault != Fault::NoSync {
                        peer.store.sync().expect("synced");
                    }
                }
                Effect::Fetch(wanted) => {
                    peer.wanted.insert(wanted.cid);
                }
                Effect::Announce(heads) => announce = heads,
                Effect::Changed(_) => {}
                Effect::Refused(cid, reason) => panic!("{cid} was refused: {reason}"),
            }
        }
        for to in (0..PEERS).filter(|to| *to != at) {
            if !announce.is_empty() && (calm || !(self.peers[at].cut_off || self.peers[to].cut_off)) {
                self.send(to, Message::Heads(announce.clone()), calm);
            }
        }
    }

    fn change(&mut self, at: usize) {
        let mut changes = Vec::new();
        for _ in 0..1 + self.chance.below(4) {
            let (own, number) = (cid(at, self.chance.below(12)), self.chance.below(6));
            let shared = cid(PEERS, number);
            let target = if self.chance.one_in(3) { shared } else { own };
            let remove = self.chance.one_in(3);
            if target == own {
                self.model.insert(own, !remove);
            }
            if remove && self.fault == Fault::LosesRemovals {
                continue;
            }
            changes.push(match remove {
                true => LocalChange::Remove(target),
                false => LocalChange::Put(target, self.chance.next().to_be_bytes().to_vec()),
            });
        }
        self.step(at, Event::Local(changes), false);
    }

    fn deliver(&mut self, calm: bool) {
        while let Some(entry) = self.mail.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            let (to, message) = entry.remove();
            if self.peers[to].cut_off && !calm {
                continue;
            }
            match message {
                Message::Heads(heads) => self.step(to, Event::Heads(heads), calm),
                Message::Block(cid) => {
                    let most = 1 + self.chance.below(6);
                    let blocks = self.below(cid, most);
                    if !blocks.is_empty() {
                        let came: BTreeSet<Cid> = blocks.iter().map(|(cid, _)| *cid).collect();
                        self.peers[to].wanted.retain(|cid| !came.contains(cid));
                        self.step(to, Event::Blocks(blocks), calm);
                    }
                }
            }
        }
    }

    /// A block and what is below it, up to so many.
    fn below(&self, cid: Cid, most: u64) -> Vec<(Cid, Bytes)> {
        let (mut blocks, mut waiting) = (Vec::new(), VecDeque::from([cid]));
        while (blocks.len() as u64) < most
            && let Some(cid) = waiting.pop_front()
        {
            if let Some(block) = self.peers.iter().find_map(|peer| block_of(&peer.store, &cid)) {
                waiting.extend(Node::decode(&block).expect("a node").links);
                blocks.push((cid, block));
            }
        }
        blocks
    }

    /// Each peer asks again for what it wants.
    fn ask(&mut self, calm: bool) {
        for at in 0..PEERS {
            for cid in self.peers[at].wanted.clone() {
                if calm || self.chance.one_in(2) {
                    self.send(at, Message::Block(cid), calm);
                }
            }
        }
    }

    fn crash(&mut self, at: usize) {
        let store = self.peers[at].store.crash();
        let replica = Replica::load(&store).expect("loaded");
        let wanted = replica.wanted().into_iter().map(|wanted| wanted.cid).collect();
        self.peers[at] = Peer { store, replica, wanted, cut_off: false };
    }

    fn rebroadcast(&mut self, calm: bool) {
        if self.fault == Fault::NoRebroadcast {
            return;
        }
        for at in 0..PEERS {
            // Twice, since heads that were heard of are left out once.
            self.step(at, Event::Rebroadcast, calm);
            self.step(at, Event::Rebroadcast, calm);
        }
    }

    fn run(mut self) -> Result<u64, String> {
        for round in 0..60 {
            self.now += 1 + self.chance.below(5);
            let at = self.chance.below(PEERS as u64) as usize;
            match self.chance.below(12) {
                0 => self.peers[at].cut_off ^= true,
                1 => self.crash(at),
                2 if round % 4 == 0 => self.rebroadcast(false),
                3..7 => self.change(at),
                _ => self.ask(false),
            }
            self.deliver(false);
        }
        for _ in 0..40 {
            self.now += 50;
            self.rebroadcast(true);
            self.ask(true);
            self.now += 50;
            self.deliver(true);
        }
        self.check()
    }

    fn check(&self) -> Result<u64, String> {
        let pinsets: Vec<_> = self.peers.iter().map(|peer| pinset(&peer.store)).collect();
        if pinsets.iter().any(|pinset| *pinset != pinsets[0]) {
            return Err("the peers hold different pins".into());
        }
        for (cid, pinned) in &self.model {
            if pinsets[0].contains_key(cid) != *pinned {
                return Err(format!(
                    "{cid} was acknowledged as {} and is not",
                    if *pinned { "pinned" } else { "unpinned" }
                ));
            }
        }
        for peer in &self.peers {
            if peer.replica.pin_count() != pinsets[0].len() as u64 {
                return Err(format!("{} pins are counted, {} are there", peer.replica.pin_count(), pinsets[0].len()));
            }
            check_digest(&peer.replica, &peer.store)?;
        }
        Ok(self.trace ^ self.sent)
    }
}

/// What was kept with each change is what the rows say.
fn check_digest(replica: &Replica, store: &MemoryStore) -> Result<(), String> {
    let (kept, read) = (replica.pin_digest(), read_digest(store).expect("read"));
    if kept == read { Ok(()) } else { Err(format!("the digest is kept as {kept} and is {read}")) }
}

fn block_of(store: &MemoryStore, cid: &Cid) -> Option<bytes::Bytes> {
    let row = store.get(Table::CrdtIndex, &cid.hash().to_bytes()).expect("read")?;
    store.get(Table::CrdtBlocks, &row[..8]).expect("read")
}

fn pinset(store: &MemoryStore) -> BTreeMap<Cid, Vec<u8>> {
    let mut pins = BTreeMap::new();
    let rows = store.scan(Table::CrdtElements, Bound::Unbounded, Bound::Unbounded, &mut |key, row| {
        let cid = cid_of_row_key(key).expect("a CID");
        pins.insert(cid, element_value(row).expect("a row").to_vec());
        ControlFlow::Continue(())
    });
    rows.expect("scanned");
    let _page = store.page(Table::CrdtElements, Bound::Unbounded, 1).expect("readable");
    pins
}

#[test]
fn sim_replicas_converge_on_what_was_acknowledged() {
    let count = seeds(300);
    for seed in 0..count {
        if let Err(wrong) = World::new(seed, Fault::None).run() {
            panic!("seed {seed}: {wrong}");
        }
    }
    println!("{count} seeds of replicas converged");
}

#[test]
fn sim_the_same_seed_has_the_same_history() {
    let histories: Vec<_> = (0..20).map(|seed| World::new(seed, Fault::None).run()).collect();
    let again: Vec<_> = (0..20).map(|seed| World::new(seed, Fault::None).run()).collect();
    assert_eq!(histories, again);
    assert_ne!(histories[0], histories[1]);
}

#[test]
fn sim_planted_faults_are_noticed() {
    for fault in [Fault::NoSync, Fault::NoRebroadcast, Fault::LosesRemovals] {
        let noticed = (0..100).any(|seed| World::new(seed, fault).run().is_err());
        assert!(noticed, "{fault:?} goes unnoticed");
    }
}

#[test]
fn a_digest_that_is_not_that_of_its_rows_is_noticed_and_one_that_is_missing_is_read() {
    let (store, mut replica) = (MemoryStore::new(), Replica::default());
    let mut effects = Vec::new();
    let changes = (0..5).map(|number| LocalChange::Put(cid(0, number << 8), vec![1])).collect();
    replica.step(Event::Local(changes), &store, &mut effects).expect("stepped");
    for effect in effects {
        if let Effect::Write(batch) = effect {
            store.write(batch).expect("written");
        }
    }
    assert_eq!(check_digest(&replica, &store), Ok(()));

    // As a store of before there were digests.
    let digest = replica.pin_digest();
    let mut batch = Batch::new();
    batch.delete(Table::CrdtMeta, b"digest".to_vec());
    store.write(batch).expect("written");
    assert_eq!(pin_digest(&store), Ok(digest));
    assert_eq!(Replica::load(&store).map(|replica| replica.pin_digest()), Ok(digest));

    // A row is lost.
    let mut batch = Batch::new();
    batch.delete(Table::CrdtElements, cid(0, 3 << 8).sort_key());
    store.write(batch).expect("written");
    assert!(check_digest(&replica, &store).is_err());
}
