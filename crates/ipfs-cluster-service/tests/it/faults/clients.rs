//! The clients: some pin and unpin items of their own, and under raft others meet at a few items, of which they read too.

use super::figures::Pause;
use super::items::{FIRST, Items};
use super::ledger::Ledger;
use crate::crash::cid;
use crate::peer::DEADLINE;
use crate::raft::named;
use cluster_client::{Client, ClientError};
use cluster_testkit::Chance;
use cluster_testkit::history::{Event, Op};
use cluster_types::{Cid, Pin, PinOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Longer than a peer takes to say that it cannot.
const ORDER_MAX: Duration = Duration::from_secs(10);

/// A barrier whose answer took so long may not show at the peer: raft says done when it is confirmed, and gives up
/// waiting to see it after `network_timeout`.
const BARRIER_MAX: Duration = Duration::from_secs(1);

/// Between two orders of a client: it is not the load that is to be found out.
const THINKS: Duration = Duration::from_millis(50);

/// A client unpins the first of its own items when it has so many.
const OWN_MAX: usize = 40;

/// Items that clients order only to read after it, by the number of the client.
const BARRIERS: u64 = FIRST << 1;

/// Everything that clients share.
struct Shared {
    clients: Vec<Client>,
    chance: Chance,
    began: Instant,
    ledger: Mutex<Ledger>,
    items: Mutex<Items>,
    /// Written next; each value is written once.
    next: Mutex<u64>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How an order ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    /// There was nothing to do, by what this peer knew.
    Nothing,
    /// Nobody knows.
    Unknown,
}

async fn end_of<T>(order: impl Future<Output = Result<T, ClientError>>) -> End {
    match tokio::time::timeout(ORDER_MAX, order).await {
        Ok(Ok(_)) => End::Done,
        Ok(Err(error)) if error.code() == 404 => End::Nothing,
        _ => End::Unknown,
    }
}

/// All clients of a run.
pub(super) struct Crowd {
    is_raft: bool,
    shared: Arc<Shared>,
}

impl Crowd {
    pub(super) fn new(consensus: &str, clients: Vec<Client>, seed: u64) -> Self {
        let (ledger, items, next) = (Mutex::default(), Mutex::new(Items::new()), Mutex::new(1));
        let shared = Shared { clients, chance: Chance::new(seed), began: Instant::now(), ledger, items, next };
        Self { is_raft: consensus == "raft", shared: Arc::new(shared) }
    }

    pub(super) fn is_raft(&self) -> bool {
        self.is_raft
    }

    /// Has them work until the handle is told to end it: at each peer one with items of its own, and one that meets others.
    pub(super) fn work(&self) -> Working {
        let (stop, stopped) = watch::channel(false);
        let told = watch::channel(Told { last: Instant::now(), pause: Pause::default() }).0;
        let mut tasks = Vec::new();
        for at in 0..self.shared.clients.len() {
            let worker =
                || Worker { at, shared: Arc::clone(&self.shared), stopped: stopped.clone(), told: told.clone() };
            tasks.push(tokio::spawn(worker().own_items()));
            if self.is_raft {
                tasks.push(tokio::spawn(worker().shared_items()));
            }
        }
        Working { stop, told, tasks }
    }

    /// Whether all is there and nothing else, at every peer, and under raft what was seen could have come from one copy.
    pub(super) async fn check(&self, pinsets: &[BTreeMap<Cid, Pin>]) -> Result<(), String> {
        for (peer, pinset) in pinsets.iter().enumerate() {
            let there: BTreeSet<u64> = pinset.keys().filter_map(number_of).filter(|number| *number < FIRST).collect();
            let mut ledger = lock(&self.shared.ledger);
            let objections = ledger.objections(&there);
            if !objections.is_empty() {
                return Err(format!("peer{}: {}", peer + 1, objections.join(", ")));
            }
            if let Some(item) = ledger.any_pinned() {
                let without = there.iter().copied().filter(|other| *other != item).collect();
                assert_eq!(ledger.objections(&without).len(), 1, "what is lost is noticed");
            }
            ledger.learn(&there);
        }
        if self.is_raft {
            self.read_everywhere().await?;
            lock(&self.shared.items).check()?;
        }
        Ok(())
    }

    /// All items at all peers, each of which has what was ordered before.
    async fn read_everywhere(&self) -> Result<(), String> {
        let known = lock(&self.shared.items).known();
        for (at, client) in self.shared.clients.iter().enumerate() {
            self.shared.barrier(client, at).await.map_err(|error| format!("peer{} is not in step: {error}", at + 1))?;
            for item in &known {
                let asked = self.shared.began.elapsed();
                let read = value_of(client, *item).await;
                let value = read.map_err(|error| format!("peer{} cannot be read: {error}", at + 1))?;
                self.shared.note(*item, Op::Read(value), asked, true);
            }
        }
        Ok(())
    }

    /// Unpins what nobody works on any more, so that the pinset stays small.
    pub(super) async fn forget_what_is_over(&self) {
        let left = lock(&self.shared.items).take_left();
        for item in left {
            let _stays_pinned = self.shared.clients[0].unpin(&cid(item)).await;
        }
    }
}

/// What has happened so far in a round.
struct Told {
    /// When something was acknowledged the last time.
    last: Instant,
    pause: Pause,
}

/// Clients at work.
pub(super) struct Working {
    stop: watch::Sender<bool>,
    told: watch::Sender<Told>,
    tasks: Vec<JoinHandle<()>>,
}

impl Working {
    /// Has them end what they do.
    pub(super) async fn end(self) -> Pause {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.expect("no panic");
        }
        self.told.borrow().pause.clone()
    }
}

/// Returns when something is acknowledged that was not before.
pub(super) async fn has_answered(working: &Working, within: Duration) -> Result<(), String> {
    let mut told = working.told.subscribe();
    let before = told.borrow().pause.acknowledged;
    let answered = tokio::time::timeout(within, told.wait_for(|told| told.pause.acknowledged > before)).await;
    answered.map(|_| ()).map_err(|_| format!("nothing was acknowledged within {within:?}"))
}

impl Shared {
    fn value(&self) -> u64 {
        let mut next = lock(&self.next);
        *next += 1;
        *next
    }

    fn note(&self, item: u64, op: Op, asked: Duration, answered: bool) {
        let answered = answered.then(|| self.began.elapsed());
        lock(&self.items).note(item, Event { op, asked, answered });
    }

    /// Returns when this peer has what was ordered before: what it ordered itself shows it.
    async fn barrier(&self, client: &Client, at: usize) -> Result<(), ClientError> {
        let begun = Instant::now();
        loop {
            // A name for each attempt: the same pin again would be no order.
            let (asked, name) = (Instant::now(), self.value().to_string());
            let ordered = client.pin(&cid(BARRIERS + at as u64), &named(&name)).await;
            match ordered {
                Ok(_) if asked.elapsed() < BARRIER_MAX => return Ok(()),
                Err(error) if begun.elapsed() > DEADLINE => return Err(error),
                _ => {}
            }
        }
    }
}

/// A client for a round.
struct Worker {
    at: usize,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
    told: watch::Sender<Told>,
}

impl Worker {
    /// Mostly the same peer, so that one that is halted does not hold up everybody.
    fn client(&self) -> &Client {
        let clients = &self.shared.clients;
        let elsewhere = self.shared.chance.per_mille(50);
        &clients[if elsewhere { self.shared.chance.place(clients.len()) } else { self.at }]
    }

    fn tell(&self, end: End) {
        self.told.send_modify(|told| match end {
            End::Done => {
                told.pause.acknowledged += 1;
                told.pause.longest_silence = told.pause.longest_silence.max(told.last.elapsed());
                told.last = Instant::now();
            }
            End::Nothing => told.pause.nothing += 1,
            End::Unknown => told.pause.unknown += 1,
        });
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    async fn own_items(self) {
        let at = self.at as u64;
        let mut own: Vec<u64> = lock(&self.shared.ledger).all_pinned();
        let count = self.shared.clients.len() as u64;
        own.retain(|item| item % count == at);
        while !self.is_stopped() {
            if own.len() >= OWN_MAX {
                self.unpin(own.remove(0)).await;
            }
            let item = lock(&self.shared.ledger).begin();
            if self.pin(item).await && item % count == at {
                own.push(item);
            }
            tokio::time::sleep(THINKS).await;
        }
    }

    async fn pin(&self, item: u64) -> bool {
        let (min, max) = if item.is_multiple_of(3) { (-1, -1) } else { (1, 2) };
        let options = PinOptions { replication_factor_min: min, replication_factor_max: max, ..PinOptions::default() };
        let end = end_of(self.client().pin(&cid(item), &options)).await;
        if end == End::Done {
            lock(&self.shared.ledger).pinned(item);
        }
        self.tell(end);
        end == End::Done
    }

    async fn unpin(&self, item: u64) {
        lock(&self.shared.ledger).unpinning(item);
        let end = end_of(self.client().unpin(&cid(item))).await;
        match end {
            End::Done => lock(&self.shared.ledger).gone(item),
            End::Nothing => lock(&self.shared.ledger).pinned(item),
            End::Unknown => {}
        }
        self.tell(end);
    }

    async fn shared_items(self) {
        while !self.is_stopped() {
            let item = lock(&self.shared.items).any(&self.shared.chance);
            let (client, asked) = (self.client(), self.shared.began.elapsed());
            match self.shared.chance.below(8) {
                0 => {
                    let end = end_of(client.unpin(&cid(item))).await;
                    if end != End::Nothing {
                        self.shared.note(item, Op::Write(None), asked, end == End::Done);
                    }
                    self.tell(end);
                }
                1..5 => {
                    let value = self.shared.value();
                    let end = end_of(client.pin(&cid(item), &named(&value.to_string()))).await;
                    self.shared.note(item, Op::Write(Some(value)), asked, end == End::Done);
                    self.tell(end);
                }
                _ => self.read(client, item, asked).await,
            }
            tokio::time::sleep(THINKS).await;
        }
    }

    /// After an order of its own: a peer shows what was ordered before what it ordered itself.
    async fn read(&self, client: &Client, item: u64, asked: Duration) {
        let (barrier, name) = (cid(BARRIERS + self.at as u64), self.shared.value().to_string());
        let begun = Instant::now();
        let end = end_of(client.pin(&barrier, &named(&name))).await;
        self.tell(end);
        if end == End::Done
            && begun.elapsed() < BARRIER_MAX
            && let Ok(Ok(value)) = tokio::time::timeout(ORDER_MAX, value_of(client, item)).await
        {
            self.shared.note(item, Op::Read(value), asked, true);
            self.told.send_modify(|told| told.pause.reads += 1);
        }
    }
}

/// What a peer has written down for an item.
async fn value_of(client: &Client, item: u64) -> Result<Option<u64>, ClientError> {
    match client.allocation(&cid(item)).await {
        Ok(pin) => Ok(Some(pin.options.name.parse().expect("a number"))),
        Err(error) if error.code() == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// The number that a CID was made from.
fn number_of(of: &Cid) -> Option<u64> {
    let bytes = of.to_bytes();
    let digest = bytes.get(bytes.len().checked_sub(32)?..)?;
    Some(u64::from_be_bytes(digest.first_chunk().copied()?))
}
