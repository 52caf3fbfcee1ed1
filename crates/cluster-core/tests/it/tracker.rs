//! The tracker's machine in a simulated world: a daemon that is slow, fails, and loses pins; a pinset that changes its
//! mind; crashes that lose what the index had not synced. In the end the daemon holds what the pinset wants.

use crate::chance::{Chance, seeds};
use bytes::Bytes;
use cluster_core::tracker::machine::{Aim, Config, Effect, Event, Failure, Kind, OpId, Tracker, read};
use cluster_datastore::MemoryStore;
use cluster_types::store::{Change, Datastore, DatastoreRead, DatastoreReadExt, StoreError, Table, Visit};
use cluster_types::{Cid, Timestamp, TrackerStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a world gets wrong on purpose, to see that it is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// Failed work does not wait to be tried again.
    NoRetries,
    /// Nothing is compared after a crash.
    NoComparing,
}

const ITEMS: u64 = 40;

struct World {
    chance: Chance,
    fault: Fault,
    now: Timestamp,
    store: MemoryStore,
    machine: Tracker,
    wanted: BTreeMap<Cid, Aim>,
    held: BTreeSet<Cid>,
    /// Due → work.
    work: BTreeMap<(u64, u64), (OpId, Kind, Cid)>,
    aborted: BTreeSet<OpId>,
    faults: bool,
    steps: u64,
    trace: u64,
}

fn cid(number: u64) -> Cid {
    let digest: Vec<u8> = (0..32).map(|i| (number.wrapping_mul(0x9e37_79b9) >> (i % 24)) as u8).collect();
    format!("f01551220{}", hex::encode(digest)).parse().expect("a CID")
}

fn config() -> Config {
    Config {
        concurrent_pins: 3,
        concurrent_unpins: 1,
        priority_max_age: Duration::from_secs(60),
        priority_max_retries: 2,
    }
}

impl World {
    fn new(seed: u64, fault: Fault) -> Self {
        Self {
            chance: Chance::new(seed),
            fault,
            now: Timestamp::from_unix(1_000_000, 0),
            store: MemoryStore::new(),
            machine: Tracker::new(config()),
            wanted: BTreeMap::new(),
            held: BTreeSet::new(),
            work: BTreeMap::new(),
            aborted: BTreeSet::new(),
            faults: true,
            steps: 0,
            trace: 0,
        }
    }

    fn step(&mut self, event: Event) {
        self.steps += 1;
        let jitter = self.chance.next();
        let forgets = self.fault == Fault::NoRetries && matches!(event, Event::Done(_, Err(_)));
        let mut effects = Vec::new();
        self.machine.step(self.now, jitter, event, &self.store, &mut effects).expect("stepped");
        for effect in &mut effects {
            if let Effect::Record(batch) = effect {
                batch
                    .changes
                    .retain(|change| !forgets || !matches!(change, Change::Put { table: Table::Attention, .. }));
                self.trace = self.trace.rotate_left(5) ^ batch.len() as u64 ^ self.steps;
                self.store.write(batch.clone()).expect("written");
            }
        }
        self.begin(effects);
    }

    fn begin(&mut self, mut effects: Vec<Effect>) {
        self.machine.begin(self.now, &self.store, &mut effects).expect("begun");
        for effect in effects {
            match effect {
                Effect::Record(_) => {}
                Effect::Sync => self.store.sync().expect("synced"),
                Effect::Abort(op) => drop(self.aborted.insert(op)),
                Effect::Start(op, kind, cid) => {
                    let due = self.now.unix_nanos() as u64 + self.chance.below(3_000_000_000);
                    self.work.insert((due, op.0), (op, kind, cid));
                }
            }
        }
    }

    /// Work that has come to its end.
    fn finish_due(&mut self) {
        while let Some(entry) = self.work.first_entry() {
            if entry.key().0 > self.now.unix_nanos() as u64 {
                return;
            }
            let (op, kind, cid) = entry.remove();
            if self.aborted.remove(&op) {
                // Given up before it had an effect; its answer comes all the same, and must be ignored.
                self.step(Event::Done(op, Ok(())));
                continue;
            }
            let failed = self.faults && self.chance.one_in(3);
            if !failed {
                self.take_effect(kind, cid);
            }
            let result = if failed { Err(Failure { message: "no".into() }) } else { Ok(()) };
            self.step(Event::Done(op, result));
        }
    }

    fn take_effect(&mut self, kind: Kind, cid: Cid) {
        match kind {
            Kind::Pin => drop(self.held.insert(cid)),
            Kind::Unpin => drop(self.held.remove(&cid)),
        }
    }

    fn change(&mut self) {
        let cid = cid(self.chance.below(ITEMS));
        let aim = match self.chance.below(6) {
            0..4 => Aim::Pinned(self.now),
            4 => Aim::Remote,
            _ => Aim::Gone,
        };
        match aim {
            Aim::Gone => drop(self.wanted.remove(&cid)),
            aim => drop(self.wanted.insert(cid, aim)),
        }
        // A hint can be lost.
        if !self.chance.one_in(8) {
            self.step(Event::Track(cid, aim));
        }
    }

    fn compare(&mut self) {
        for (cid, aim) in self.wanted.clone() {
            self.step(Event::Compare(cid, aim));
        }
        for (key, _) in self.store.page(Table::Status, Bound::Unbounded, 10_000).expect("read") {
            let cid = Cid::from_sort_key(&key).expect("a CID");
            if !self.wanted.contains_key(&cid) {
                self.step(Event::Compare(cid, Aim::Gone));
            }
        }
        for (cid, aim) in self.wanted.clone() {
            if matches!(aim, Aim::Pinned(_)) {
                self.step(Event::Observed(cid, self.held.contains(&cid)));
            }
        }
    }

    fn crash(&mut self) {
        self.store = self.store.crash_keeping(self.chance.below(20) as usize);
        self.machine = Tracker::new(config());
        // Whatever was under way may have happened.
        for (_, kind, cid) in std::mem::take(&mut self.work).into_values() {
            if self.chance.one_in(2) {
                self.take_effect(kind, cid);
            }
        }
        self.aborted.clear();
    }

    fn run(mut self) -> Result<u64, String> {
        for _ in 0..150 {
            // Many events in one moment are the rule, not the exception.
            self.now = self.now.saturating_add(Duration::from_millis(self.chance.below(4) * 200));
            match self.chance.below(20) {
                0 => self.crash(),
                1 => drop(self.held.pop_first()),
                2 => self.store.sync().expect("synced"),
                3..6 => self.begin(Vec::new()),
                _ => self.change(),
            }
            self.finish_due();
        }
        self.faults = false;
        for _ in 0..6 {
            if self.fault != Fault::NoComparing {
                self.compare();
            }
            for _ in 0..60 {
                self.now = self.now.saturating_add(Duration::from_secs(20));
                self.begin(Vec::new());
                self.finish_due();
            }
        }
        self.check()
    }

    fn check(&self) -> Result<u64, String> {
        for (cid, aim) in &self.wanted {
            let row = read(&self.store, cid).expect("read").ok_or(format!("{cid} has no row"))?;
            let (held, pinned) = (self.held.contains(cid), matches!(aim, Aim::Pinned(_)));
            if pinned != (row.status == TrackerStatus::PINNED) {
                return Err(format!("{cid} should be {aim:?} and is {}", row.status));
            }
            if pinned && !held {
                return Err(format!("{cid} is called pinned and is not held"));
            }
        }
        let rows = self.store.page(Table::Status, Bound::Unbounded, 10_000).expect("read");
        if rows.len() != self.wanted.len() {
            return Err(format!("{} rows for {} items", rows.len(), self.wanted.len()));
        }
        let waiting = self.store.page(Table::Attention, Bound::Unbounded, 10_000).expect("read").len();
        if waiting > 0 {
            return Err(format!("{waiting} items wait for nothing"));
        }
        Ok(self.trace ^ self.steps)
    }
}

#[test]
fn sim_the_daemon_holds_what_the_pinset_wants() {
    let count = seeds(300);
    for seed in 0..count {
        if let Err(wrong) = World::new(seed, Fault::None).run() {
            panic!("seed {seed}: {wrong}");
        }
    }
    println!("{count} seeds of trackers came to rest");
}

#[test]
fn sim_the_same_seed_has_the_same_tracker() {
    let run = || (0..20).map(|seed| World::new(seed, Fault::None).run()).collect::<Vec<_>>();
    assert_eq!(run(), run());
}

#[test]
fn sim_planted_faults_of_trackers_are_noticed() {
    for fault in [Fault::NoRetries, Fault::NoComparing] {
        let noticed = (0..100).any(|seed| World::new(seed, fault).run().is_err());
        assert!(noticed, "{fault:?} goes unnoticed");
    }
}

/// What was found once: items that come in the same moment must not be passed over by what was read ahead.
#[test]
fn items_of_the_same_moment_are_all_begun() {
    let (store, now) = (MemoryStore::new(), Timestamp::from_unix(1_000_000, 0));
    let mut machine = Tracker::new(config());
    let (mut begun, mut effects) = (BTreeSet::new(), Vec::new());
    for number in 0..200 {
        machine.step(now, 0, Event::Track(cid(number), Aim::Pinned(now)), &store, &mut effects).expect("stepped");
        loop {
            let mut done = Vec::new();
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Record(batch) => store.write(batch).expect("written"),
                    Effect::Start(op, _, cid) => {
                        begun.insert(cid);
                        done.push(op);
                    }
                    Effect::Abort(_) | Effect::Sync => {}
                }
            }
            for op in done {
                machine.step(now, 0, Event::Done(op, Ok(())), &store, &mut effects).expect("stepped");
            }
            let later = now.saturating_add(Duration::from_millis(1));
            machine.begin(later, &store, &mut effects).expect("begun");
            if effects.is_empty() {
                break;
            }
        }
    }
    assert_eq!(begun.len(), 200);
}

/// What was found once: an item that is others' now, and that the daemon could not unpin yet, is unpinned: the daemon
/// must still let go of it.
#[test]
fn an_unpin_that_waits_outlives_a_change_of_mind() {
    for aim in [Aim::Gone, Aim::Remote] {
        let (store, now) = (MemoryStore::new(), Timestamp::from_unix(1_000_000, 0));
        let mut machine = Tracker::new(config());
        let give = |machine: &mut Tracker, event| {
            let mut effects = Vec::new();
            machine.step(now, 0, event, &store, &mut effects).expect("stepped");
            for effect in effects.extract_if(.., |effect| matches!(effect, Effect::Record(_))) {
                if let Effect::Record(batch) = effect {
                    store.write(batch).expect("written");
                }
            }
            machine.begin(now.saturating_add(Duration::from_secs(1)), &store, &mut effects).expect("begun");
            effects.into_iter().find_map(|effect| match effect {
                Effect::Start(op, kind, _) => Some((op, kind)),
                _ => None,
            })
        };
        let (op, _) = give(&mut machine, Event::Track(cid(1), Aim::Pinned(now))).expect("it is pinned");
        give(&mut machine, Event::Done(op, Ok(())));
        let (op, _) = give(&mut machine, Event::Track(cid(1), Aim::Remote)).expect("it is unpinned");
        let failed = Err(Failure { message: "the daemon is down".into() });
        give(&mut machine, Event::Done(op, failed));

        let begun = give(&mut machine, Event::Track(cid(1), aim));

        let row = read(&store, &cid(1)).expect("read").expect("not forgotten");
        assert!(row.waiting.is_some() || begun.is_some(), "{aim:?}: {row:?}");
    }
}

/// What was found once: power went while a daemon held what was neither in the pinset nor in the index any more. Nobody
/// let go of it ever again.
#[test]
fn rows_are_durable_before_their_pins_are_begun_once_for_all_that_wait() {
    let (store, now) = (MemoryStore::new(), Timestamp::from_unix(1_000_000, 0));
    let later = now.saturating_add(Duration::from_secs(1));
    let mut machine = Tracker::new(config());
    let mut effects = Vec::new();
    for number in 0..7 {
        machine.step(now, 0, Event::Track(cid(number), Aim::Pinned(now)), &store, &mut effects).expect("stepped");
    }
    for effect in effects.drain(..) {
        let Effect::Record(batch) = effect else { panic!("{effect:?}") };
        store.write(batch).expect("written");
    }
    let begin = |machine: &mut Tracker, done: &[OpId]| {
        let mut effects = Vec::new();
        for op in done {
            machine.step(later, 0, Event::Done(*op, Ok(())), &store, &mut Vec::new()).expect("stepped");
        }
        machine.begin(later, &store, &mut effects).expect("begun");
        effects
    };

    let first = begin(&mut machine, &[]);
    let ops: Vec<OpId> =
        first.iter().filter_map(|effect| if let Effect::Start(op, ..) = effect { Some(*op) } else { None }).collect();
    assert!(matches!(first[..], [Effect::Sync, Effect::Start(..), Effect::Start(..), Effect::Start(..)]), "{first:?}");

    // The sync was for those behind them too, until it is known to have failed.
    let second = begin(&mut machine, &ops[..1]);
    assert!(matches!(second[..], [Effect::Start(..)]), "{second:?}");
    machine.not_durable();
    let third = begin(&mut machine, &ops[1..2]);
    assert!(matches!(third[..], [Effect::Sync, Effect::Start(..)]), "{third:?}");
}

/// What was found once: a store steps over deleted rows one by one, and a peer that had pinned 200,000 items stepped
/// over them at every tick.
#[test]
fn the_index_is_read_only_when_something_in_it_is_due() {
    let (store, mut now) = (CountsScans::default(), Timestamp::from_unix(1_000_000, 0));
    let mut machine = Tracker::new(config());
    let mut give = |now, event: Option<Event>| {
        let mut effects = Vec::new();
        if let Some(event) = event {
            machine.step(now, 0, event, &store, &mut effects).expect("stepped");
        }
        for effect in effects.extract_if(.., |effect| matches!(effect, Effect::Record(_))) {
            let Effect::Record(batch) = effect else { continue };
            store.rows.write(batch).expect("written");
        }
        machine.begin(now, &store, &mut effects).expect("begun");
        let op =
            effects.into_iter().find_map(|effect| if let Effect::Start(op, ..) = effect { Some(op) } else { None });
        (op, store.scans.swap(0, Ordering::Relaxed))
    };
    for number in 0..10 {
        let (op, _) = give(now, Some(Event::Track(cid(number), Aim::Pinned(now))));
        give(now, Some(Event::Done(op.expect("begun"), Ok(()))));
        now = now.saturating_add(Duration::from_millis(1));
    }
    let (op, _) = give(now, Some(Event::Track(cid(10), Aim::Pinned(now))));
    give(now, Some(Event::Done(op.expect("begun"), Err(Failure { message: "the daemon is down".into() }))));

    let soon = now.saturating_add(Duration::from_millis(900));
    assert_eq!(give(soon, None), (None, 0), "nothing is due");
    let (again, _) = give(now.saturating_add(Duration::from_secs(2)), None);
    assert!(again.is_some(), "what failed is tried again");
}

#[derive(Default)]
struct CountsScans {
    rows: MemoryStore,
    scans: AtomicUsize,
}

impl DatastoreRead for CountsScans {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.rows.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), StoreError> {
        self.scans.fetch_add(1, Ordering::Relaxed);
        self.rows.scan(table, from, to, visit)
    }

    fn last(&self, table: Table) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.rows.last(table)
    }
}
