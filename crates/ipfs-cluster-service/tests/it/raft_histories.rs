//! Clients at three raft peers while each of those dies, or is halted until another leads and then goes on: what the
//! clients saw could have come from one copy of the pinset. So nothing acknowledged is lost, and nothing is done twice.

use crate::peer::Peer;
use crate::raft::{cid, named};
use crate::raft_cluster::{start_all, three};
use cluster_client::{Client, ClientError};
use cluster_testkit::Chance;
use cluster_testkit::history::{Event, Op, is_linearizable};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What clients work on. Few, so that they meet.
const ITEMS: u8 = 4;

/// Orders of one client in one round.
const ORDERS: usize = 16;

/// Longer than an order takes that waits for another leader, on a busy machine.
pub(crate) const ORDER_MAX: Duration = Duration::from_secs(30);

/// After so many orders, of all clients, the fault begins.
const FAULT_AFTER: usize = 9;

pub(crate) type History = Arc<Mutex<BTreeMap<u8, Vec<Event>>>>;

/// A client of one peer.
struct Writer {
    client: Client,
    chance: Chance,
    history: History,
    began: Instant,
    /// Written next; each value is written once.
    next: u64,
}

impl Writer {
    /// Gives orders until one is not answered: whether that one was done, nobody knows.
    async fn write(mut self, done: watch::Sender<usize>) {
        for _ in 0..ORDERS {
            let item = u8::try_from(self.chance.below(ITEMS.into())).expect("few");
            let asked = self.began.elapsed();
            let (op, order) = if self.chance.below(4) == 0 {
                (Op::Write(None), tokio::time::timeout(ORDER_MAX, self.client.unpin(&cid(item))).await)
            } else {
                self.next += 1;
                let name = named(&self.next.to_string());
                (Op::Write(Some(self.next)), tokio::time::timeout(ORDER_MAX, self.client.pin(&cid(item), &name)).await)
            };
            done.send_modify(|done| *done += 1);
            let known = match order {
                Ok(Ok(_)) => true,
                // There was nothing to remove, by what this peer knew: nothing was ordered.
                Ok(Err(error)) if error.code() == 404 => continue,
                _ => false,
            };
            let answered = known.then(|| self.began.elapsed());
            self.history.lock().expect("no panic").entry(item).or_default().push(Event { op, asked, answered });
            if !known {
                return;
            }
        }
    }
}

/// Reads these at a peer, once it has what was ordered before: what it ordered itself shows it.
pub(crate) async fn read(peer: &Peer, history: &History, began: Instant, barrier: u8, items: Range<u8>) {
    let client = peer.client();
    let begun = Instant::now();
    // A name for each attempt: the same pin again would be no order.
    while let Err(error) = client.pin(&cid(barrier), &named(&format!("{:?}", begun.elapsed()))).await {
        assert!(begun.elapsed() < ORDER_MAX, "{error}");
    }
    for item in items {
        let asked = began.elapsed();
        let value = value_of(&client, item).await.expect("an answer");
        let event = Event { op: Op::Read(value), asked, answered: Some(began.elapsed()) };
        history.lock().expect("no panic").entry(item).or_default().push(event);
    }
}

/// What a peer has written down for an item.
pub(crate) async fn value_of(client: &Client, item: u8) -> Result<Option<u64>, ClientError> {
    match client.allocation(&cid(item)).await {
        Ok(pin) => Ok(Some(pin.options.name.parse().expect("a number"))),
        Err(error) if error.code() == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// What all of them saw could have come from one copy of the pinset; and the check sees what could not.
pub(crate) fn check(history: &History) {
    let history = history.lock().expect("no panic").clone();
    for (item, events) in &history {
        assert!(is_linearizable(events), "item {item}: {events:?}");
        let mut lost = events.clone();
        lost.last_mut().expect("a read").op = Op::Read(Some(u64::MAX));
        assert!(!is_linearizable(&lost), "what nobody wrote is noticed");
    }
    let orders = history.values().flatten().filter(|event| matches!(event.op, Op::Write(_)));
    let unknown = orders.clone().filter(|event| event.answered.is_none()).count();
    println!("{} orders, of which {unknown} were not answered", orders.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_what_clients_of_three_raft_peers_see_is_linearizable() {
    let places = three("raft");
    let mut peers = start_all(&places);
    let (began, history) = (Instant::now(), History::default());
    let chance = Chance::new(7);
    // Each of them once, so that the leader is among them: it changes only when it is.
    for round in 0..6u8 {
        let (victim, halted) = (usize::from(round % 3), round >= 3);
        let (done, mut so_far) = watch::channel(0);
        let mut writers = Vec::new();
        for (at, peer) in peers.iter().enumerate() {
            let next = (u64::from(round) * 3 + at as u64) << 20;
            let chance = Chance::new(chance.next());
            let writer = Writer { client: peer.client(), chance, history: Arc::clone(&history), began, next };
            writers.push(tokio::spawn(writer.write(done.clone())));
        }
        so_far.wait_for(|done| *done >= FAULT_AFTER).await.expect("they write");
        if halted {
            peers[victim].signal("STOP");
        } else {
            peers[victim].kill();
        }
        let of_victim = writers.remove(victim);
        for writer in writers {
            writer.await.expect("no panic");
        }
        if halted {
            peers[victim].signal("CONT");
        }
        of_victim.await.expect("no panic");
        if !halted {
            peers[victim] = peers[victim].again();
        }
        for (at, peer) in peers.iter().enumerate() {
            read(peer, &history, began, 100 + round * 3 + u8::try_from(at).expect("three"), 0..ITEMS).await;
        }
    }
    check(&history);
    for peer in &mut peers {
        assert!(peer.stop().success());
    }
}
