//! The machine: takes what the pinset wants, what the daemon did and what time it is; says what to start and to stop.
//!
//! An item that waits has a row in the attention index, which stays until the work is done: what a crash cut is begun
//! again. Items in flight are known only here.

use super::row::{Class, Row, read_attention_key, replace};
use cluster_types::store::{Batch, Change, DatastoreRead, StoreError, Table};
use cluster_types::{Cid, Timestamp, TrackerStatus};
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::time::Duration;

/// Rows that are read from the attention index at a time.
const WINDOW: usize = 1_000;

/// The longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(10 * 60);

/// The wait after the first failure.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// Limits and rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Pins in flight at a time.
    pub concurrent_pins: usize,
    /// Unpins in flight at a time.
    pub concurrent_unpins: usize,
    /// For so long after it was made a pin goes before older ones.
    pub priority_max_age: Duration,
    /// So often it may fail and still go before older ones.
    pub priority_max_retries: u32,
}

/// Names one piece of work, so that a late answer is told from a current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// What the daemon is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pin.
    Pin,
    /// Unpin.
    Unpin,
}

/// What the pinset wants of an item at this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// Hold it. The moment is when the cluster took the pin.
    Pinned(Timestamp),
    /// Others hold it.
    Remote,
    /// Its shards are held, not it.
    Sharded,
    /// Nobody holds it.
    Gone,
}

/// How work failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the daemon said.
    pub message: String,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The pinset wants this.
    Track(Cid, Aim),
    /// The same, found by comparing: nothing is done about an item that stands like that already.
    Compare(Cid, Aim),
    /// Work came to an end.
    Done(OpId, Result<(), Failure>),
    /// Somebody wants it tried again now.
    Recover(Cid),
    /// The daemon was asked: whether it holds the item as it should.
    Observed(Cid, bool),
    /// The daemon holds, as it should, an item that nothing is known of: it is at rest.
    Held(Cid),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write this. Need not be durable at once: what is lost is found again by comparing.
    Record(Batch),
    /// Make durable what was recorded, before the starts that follow: a daemon must not hold what nobody would remember
    /// after a power cut. If that fails they are failures, and [`Tracker::not_durable`] is told.
    Sync,
    /// Begin this work.
    Start(OpId, Kind, Cid),
    /// Give this work up; its answer will be ignored.
    Abort(OpId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flight {
    cid: Cid,
    kind: Kind,
    since: Timestamp,
}

/// The machine.
#[derive(Debug)]
pub struct Tracker {
    config: Config,
    next_op: u64,
    flights: BTreeMap<OpId, Flight>,
    by_cid: BTreeMap<Cid, OpId>,
    /// Per class: rows read ahead, and the key behind which to read on.
    windows: BTreeMap<Class, Window>,
    /// Due times only rise, and no two items get the same, so that nothing new sorts before what was read already.
    last_due: u64,
    /// Rows of items that are to be pinned are durable up to this due time.
    durable_to: u64,
}

#[derive(Debug)]
struct Window {
    ahead: VecDeque<(u64, Cid)>,
    behind: Vec<u8>,
    /// Nothing behind that key is due before this moment: the index is not read earlier. A store steps over what was
    /// deleted there one by one, so that a look for nothing is dear.
    next_due: u64,
}

impl Window {
    /// At the start nothing is known.
    fn new() -> Self {
        Self { ahead: VecDeque::new(), behind: Vec::new(), next_due: 0 }
    }
}

impl Tracker {
    /// A machine with nothing in flight. What the store says is waiting is begun with the first event.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let windows = Class::ALL.into_iter().map(|class| (class, Window::new())).collect();
        Self {
            config,
            next_op: 0,
            flights: BTreeMap::new(),
            by_cid: BTreeMap::new(),
            windows,
            last_due: 0,
            durable_to: 0,
        }
    }

    /// Reads the attention index from its beginning again. Nothing should be missed without it; but what is, is found.
    pub fn rescan(&mut self) {
        for window in self.windows.values_mut().filter(|window| window.ahead.is_empty()) {
            *window = Window::new();
        }
    }

    /// What was to be made durable is not.
    pub fn not_durable(&mut self) {
        self.durable_to = 0;
    }

    /// What is being done about an item at this moment, and since when.
    #[must_use]
    pub fn in_flight(&self, cid: &Cid) -> Option<(Kind, Timestamp)> {
        let flight = self.flights.get(self.by_cid.get(cid)?)?;
        Some((flight.kind, flight.since))
    }

    /// The item whose row an event is about; `None` for an answer that comes too late.
    #[must_use]
    pub fn item_of(&self, event: &Event) -> Option<Cid> {
        match event {
            Event::Track(cid, _) | Event::Compare(cid, _) | Event::Recover(cid) => Some(*cid),
            Event::Observed(cid, _) | Event::Held(cid) => Some(*cid),
            Event::Done(op, _) => self.flights.get(op).map(|flight| flight.cid),
        }
    }

    /// Takes an event. `jitter` is any number, by which waits are spread.
    ///
    /// # Errors
    /// When the store cannot be read; the event may be given again.
    pub fn step(
        &mut self,
        now: Timestamp,
        jitter: u64,
        event: Event,
        store: &dyn DatastoreRead,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        match event {
            Event::Track(cid, aim) => self.track(now, cid, aim, true, store, &mut batch, effects)?,
            Event::Compare(cid, aim) => self.track(now, cid, aim, false, store, &mut batch, effects)?,
            Event::Done(op, result) => self.done(now, jitter, op, result, store, &mut batch)?,
            Event::Recover(cid) => self.recover(now, cid, store, &mut batch)?,
            Event::Observed(cid, held) => self.observed(now, cid, held, store, &mut batch)?,
            Event::Held(cid) if read(store, &cid)?.is_none() && !self.by_cid.contains_key(&cid) => {
                replace(&mut batch, &cid, None, Some(&at_rest(TrackerStatus::PINNED, now)));
            }
            Event::Held(_) => {}
        }
        if !batch.is_empty() {
            self.note_queued(&batch);
            effects.push(Effect::Record(batch));
        }
        Ok(())
    }

    /// Begins work while there is room for it. Called after the records of a step were written, and now and then,
    /// because what was put off becomes due.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn begin(
        &mut self,
        now: Timestamp,
        store: &dyn DatastoreRead,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StoreError> {
        for class in Class::ALL {
            let (kind, room) = match class {
                Class::Unpin => (Kind::Unpin, self.config.concurrent_unpins),
                Class::Priority | Class::Normal => (Kind::Pin, self.config.concurrent_pins),
            };
            while self.count(kind) < room {
                let Some((due, cid)) = self.next_of(class, micros(now), store)? else { break };
                if kind == Kind::Pin && due > self.durable_to {
                    // Once for all that wait, not for each.
                    self.durable_to = self.last_due.max(due);
                    effects.push(Effect::Sync);
                }
                let op = OpId(self.next_op);
                self.next_op += 1;
                self.flights.insert(op, Flight { cid, kind, since: now });
                self.by_cid.insert(cid, op);
                effects.push(Effect::Start(op, kind, cid));
            }
        }
        Ok(())
    }

    /// Remembers when the classes have something new.
    fn note_queued(&mut self, batch: &Batch) {
        for change in &batch.changes {
            if let Change::Put { table: Table::Attention, key, .. } = change
                && let Some((class, due, _)) = read_attention_key(key)
                && let Some(window) = self.windows.get_mut(&class)
            {
                window.next_due = window.next_due.min(due);
            }
        }
    }

    fn count(&self, kind: Kind) -> usize {
        self.flights.values().filter(|flight| flight.kind == kind).count()
    }

    /// The next item of a class that is due, still waits like that, and is not in flight.
    fn next_of(&mut self, class: Class, now: u64, store: &dyn DatastoreRead) -> Result<Option<(u64, Cid)>, StoreError> {
        loop {
            let Some(window) = self.windows.get_mut(&class) else { return Ok(None) };
            let Some((due, cid)) = window.ahead.front().copied() else {
                if window.next_due > now || refill(window, class, now, store)? == 0 {
                    return Ok(None);
                }
                // What was put off, or waits since before a crash, may be due in this very moment.
                self.last_due = window.ahead.back().map_or(0, |(due, _)| *due).max(self.last_due);
                continue;
            };
            window.ahead.pop_front();
            let waits = read(store, &cid)?.and_then(|row| row.waiting) == Some((class, due));
            if waits && !self.by_cid.contains_key(&cid) {
                return Ok(Some((due, cid)));
            }
        }
    }

    /// When an item that is put into the queue now becomes due.
    fn due(&mut self, now: Timestamp) -> u64 {
        self.last_due = (self.last_due + 1).max(micros(now));
        self.last_due
    }

    fn abort(&mut self, cid: &Cid, effects: &mut Vec<Effect>) {
        if let Some(op) = self.by_cid.remove(cid) {
            self.flights.remove(&op);
            effects.push(Effect::Abort(op));
        }
    }

    #[allow(clippy::too_many_arguments)] // The parts of one step, spread so that each borrow stands by itself.
    fn track(
        &mut self,
        now: Timestamp,
        cid: Cid,
        aim: Aim,
        changed: bool,
        store: &dyn DatastoreRead,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StoreError> {
        let before = read(store, &cid)?;
        let flying = self.in_flight(&cid).map(|(kind, _)| kind);
        let held = before.as_ref().is_some_and(may_be_held) || flying.is_some();
        let wanted = match aim {
            Aim::Pinned(_) => Kind::Pin,
            _ => Kind::Unpin,
        };
        if flying.is_some_and(|kind| kind != wanted) {
            self.abort(&cid, effects);
        }
        let stands = stands_as(before.as_ref(), aim);
        let after = match (aim, &before) {
            _ if !changed && stands && flying.is_none_or(|kind| kind == wanted) => return Ok(()),
            (Aim::Pinned(_), Some(_)) if flying == Some(Kind::Pin) => return Ok(()),
            (Aim::Pinned(made), _) => {
                let attempts = before.as_ref().filter(|row| is_pin(row.status)).map_or(0, |row| row.attempts);
                let class = self.class(now, made, attempts);
                self.queued(now, TrackerStatus::PIN_QUEUED, class, attempts, &before)
            }
            (Aim::Remote | Aim::Sharded, _) if held => self.queued(now, settled(aim), Class::Unpin, 0, &before),
            (Aim::Remote | Aim::Sharded, _) => Some(at_rest(settled(aim), now)),
            (Aim::Gone, None) if flying.is_none() => return Ok(()),
            (Aim::Gone, _) if held => self.queued(now, TrackerStatus::UNPIN_QUEUED, Class::Unpin, 0, &before),
            (Aim::Gone, _) => None,
        };
        replace(batch, &cid, before.as_ref(), after.as_ref());
        Ok(())
    }

    fn class(&self, now: Timestamp, made: Timestamp, attempts: u32) -> Class {
        let young = now < made.saturating_add(self.config.priority_max_age);
        if young && attempts <= self.config.priority_max_retries { Class::Priority } else { Class::Normal }
    }

    /// A row that waits from now on. One that waits already keeps its place.
    fn queued(
        &mut self,
        now: Timestamp,
        status: TrackerStatus,
        class: Class,
        attempts: u32,
        before: &Option<Row>,
    ) -> Option<Row> {
        let place = before.as_ref().filter(|row| row.status == status).and_then(|row| row.waiting);
        let waiting = place.filter(|(old, _)| *old == class).or_else(|| Some((class, self.due(now))));
        Some(Row { status, since: now, attempts, waiting, error: String::new() })
    }

    fn done(
        &mut self,
        now: Timestamp,
        jitter: u64,
        op: OpId,
        result: Result<(), Failure>,
        store: &dyn DatastoreRead,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        // An answer to what was given up is ignored.
        let Some(flight) = self.flights.remove(&op) else { return Ok(()) };
        self.by_cid.remove(&flight.cid);
        let Some(before) = read(store, &flight.cid)? else { return Ok(()) };
        let after = match (flight.kind, result) {
            (Kind::Pin, Ok(())) => Some(Row { attempts: before.attempts + 1, ..at_rest(TrackerStatus::PINNED, now) }),
            (Kind::Unpin, Ok(())) => match before.status {
                TrackerStatus::REMOTE | TrackerStatus::SHARDED => Some(at_rest(before.status, now)),
                _ => None,
            },
            (kind, Err(failure)) => Some(self.failed(now, jitter, kind, &before, failure)),
        };
        replace(batch, &flight.cid, Some(&before), after.as_ref());
        Ok(())
    }

    fn failed(&mut self, now: Timestamp, jitter: u64, kind: Kind, before: &Row, failure: Failure) -> Row {
        let attempts = before.attempts.saturating_add(1);
        let status = match (kind, before.status) {
            (Kind::Pin, _) => TrackerStatus::PIN_ERROR,
            // As the reference: an item that belongs to others stays `remote`, with its error.
            (Kind::Unpin, TrackerStatus::REMOTE | TrackerStatus::SHARDED) => before.status,
            (Kind::Unpin, _) => TrackerStatus::UNPIN_ERROR,
        };
        let due = self.due(now) + backoff(attempts, jitter);
        let class = match before.waiting {
            Some((Class::Priority, _)) if attempts > self.config.priority_max_retries => Class::Normal,
            Some((class, _)) => class,
            None => Class::Normal,
        };
        Row { status, since: now, attempts, waiting: Some((class, due)), error: failure.message }
    }

    fn recover(
        &mut self,
        now: Timestamp,
        cid: Cid,
        store: &dyn DatastoreRead,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let Some(before) = read(store, &cid)? else { return Ok(()) };
        let status = match before.status {
            TrackerStatus::PIN_ERROR | TrackerStatus::UNEXPECTEDLY_UNPINNED => TrackerStatus::PIN_QUEUED,
            TrackerStatus::UNPIN_ERROR => TrackerStatus::UNPIN_QUEUED,
            _ => return Ok(()),
        };
        let class = before.waiting.map_or(Class::Normal, |(class, _)| class);
        let after =
            Row { status, since: now, waiting: Some((class, self.due(now))), error: String::new(), ..before.clone() };
        replace(batch, &cid, Some(&before), Some(&after));
        Ok(())
    }

    fn observed(
        &mut self,
        now: Timestamp,
        cid: Cid,
        held: bool,
        store: &dyn DatastoreRead,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let Some(before) = read(store, &cid)? else { return Ok(()) };
        if self.by_cid.contains_key(&cid) {
            return Ok(());
        }
        if !is_news(&before, held) {
            return Ok(());
        }
        let after = match held {
            true => at_rest(TrackerStatus::PINNED, now),
            false => Row {
                status: TrackerStatus::UNEXPECTEDLY_UNPINNED,
                since: now,
                attempts: 0,
                waiting: Some((Class::Normal, self.due(now))),
                error: "the item should be pinned but it is not".into(),
            },
        };
        replace(batch, &cid, Some(&before), Some(&after));
        Ok(())
    }
}

/// Reads on in a class, as far as it is due, and notes when it is worth to read on.
fn refill(window: &mut Window, class: Class, now: u64, store: &dyn DatastoreRead) -> Result<usize, StoreError> {
    let from = if window.behind.is_empty() { vec![class as u8] } else { window.behind.clone() };
    let (mut behind, mut ahead, mut next_due) = (from.clone(), VecDeque::new(), u64::MAX);
    store.scan(Table::Attention, Bound::Excluded(&from), Bound::Excluded(&[class as u8 + 1]), &mut |key, _| {
        let Some((_, due, cid)) = read_attention_key(key) else { return ControlFlow::Continue(()) };
        if due > now || ahead.len() == WINDOW {
            next_due = due;
            return ControlFlow::Break(());
        }
        behind = key.to_vec();
        ahead.push_back((due, cid));
        ControlFlow::Continue(())
    })?;
    *window = Window { ahead, behind, next_due };
    Ok(window.ahead.len())
}

/// How an item stands, as the store has it.
///
/// # Errors
/// When the store cannot be read. A damaged row counts as none: comparing writes it anew.
pub fn read(store: &dyn DatastoreRead, cid: &Cid) -> Result<Option<Row>, StoreError> {
    Ok(store.get(Table::Status, &cid.sort_key())?.and_then(|row| Row::decode(&row)))
}

/// Whether an item that stands like this stands as it shall, or is on its way there: comparing changes nothing then.
#[must_use]
pub fn stands_as(row: Option<&Row>, aim: Aim) -> bool {
    match (aim, row) {
        (Aim::Gone, None) => true,
        (_, None) => false,
        (Aim::Pinned(_), Some(row)) => is_pin(row.status),
        (Aim::Remote | Aim::Sharded, Some(row)) => row.status == settled(aim),
        (Aim::Gone, Some(row)) => is_unpin(row.status),
    }
}

/// Whether it changes anything that the daemon holds, or does not hold, an item that stands like this.
#[must_use]
pub fn is_news(row: &Row, held: bool) -> bool {
    row.status == if held { TrackerStatus::UNEXPECTEDLY_UNPINNED } else { TrackerStatus::PINNED }
}

fn at_rest(status: TrackerStatus, now: Timestamp) -> Row {
    Row { status, since: now, attempts: 0, waiting: None, error: String::new() }
}

fn settled(aim: Aim) -> TrackerStatus {
    if aim == Aim::Sharded { TrackerStatus::SHARDED } else { TrackerStatus::REMOTE }
}

fn is_pin(status: TrackerStatus) -> bool {
    let pin = TrackerStatus::PINNED
        | TrackerStatus::PIN_QUEUED
        | TrackerStatus::PIN_ERROR
        | TrackerStatus::UNEXPECTEDLY_UNPINNED;
    status.intersects(pin)
}

fn is_unpin(status: TrackerStatus) -> bool {
    status.intersects(TrackerStatus::UNPIN_QUEUED | TrackerStatus::UNPIN_ERROR)
}

/// Whether the daemon may hold an item that stands like this: also one that is remote and waits to be unpinned here.
fn may_be_held(row: &Row) -> bool {
    is_pin(row.status) || is_unpin(row.status) || row.waiting.is_some()
}

fn micros(now: Timestamp) -> u64 {
    u64::try_from(now.unix_nanos() / 1_000).unwrap_or(0)
}

/// Microseconds to wait after so many failures: doubling, bounded, spread by up to a quarter.
fn backoff(attempts: u32, jitter: u64) -> u64 {
    let doubled = (BACKOFF_MIN.as_micros() as u64) << attempts.saturating_sub(1).min(16);
    let wait = doubled.min(BACKOFF_MAX.as_micros() as u64);
    wait + jitter % (wait / 4).max(1)
}
