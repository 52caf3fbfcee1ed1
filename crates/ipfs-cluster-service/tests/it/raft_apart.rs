//! Three raft peers in networks of their own, of which the leader or another is cut off, or the leader is killed, while
//! clients of all three write and read: the others go on, the one that is cut off acknowledges nothing, and what the
//! clients saw could have come from one copy of the pinset. So nothing acknowledged is lost, and nothing is done twice.

use crate::apart::{self, Apart};
use crate::peer::{DEADLINE, Peer};
use crate::raft::{cid, named};
use crate::raft_histories::{History, ORDER_MAX, check, read, value_of};
use cluster_client::{Client, ClientError};
use cluster_testkit::Chance;
use cluster_testkit::history::{Event, Op};
use serde_json::{Value, json};
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What clients of one round work on. Few, so that they meet.
const ITEMS: u8 = 4;

/// What a client does before the fault at the most, and what it does after it has begun.
const ACTIONS: usize = 12;

/// After so many actions, of all clients, the fault begins: in the midst of others.
const FAULT_AFTER: usize = 20;

/// The items that clients order only to read after it.
const BARRIERS: u8 = 100;

/// What happens to one of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    LeaderCutOff,
    FollowerCutOff,
    LeaderKilled,
}

/// A client of one peer.
struct Worker {
    client: Client,
    chance: Chance,
    history: History,
    began: Instant,
    /// The first item of the round.
    first: u8,
    /// What it orders only to read after it.
    barrier: u8,
    /// Written next; each value is written once.
    next: u64,
    done: watch::Sender<usize>,
    fault_begun: watch::Receiver<bool>,
}

impl Worker {
    /// Writes and reads until all is done, or something is not answered.
    async fn work(mut self) {
        for number in 0..2 * ACTIONS {
            if number == ACTIONS {
                self.fault_begun.wait_for(|begun| *begun).await.expect("it comes");
            }
            let answered = self.act().await;
            self.done.send_modify(|done| *done += 1);
            if !answered {
                return;
            }
        }
    }

    /// Whether it was answered: if not, nobody knows whether it was done.
    async fn act(&mut self) -> bool {
        let item = self.first + u8::try_from(self.chance.below(ITEMS.into())).expect("few");
        let asked = self.began.elapsed();
        self.next += 1;
        let (op, answered) = match self.chance.below(8) {
            0 => match in_time(self.client.unpin(&cid(item))).await {
                // There was nothing to remove, by what this peer knew: nothing was ordered.
                Some(Err(error)) if error.code() == 404 => return true,
                other => (Op::Write(None), matches!(other, Some(Ok(_)))),
            },
            1..5 => {
                let pinned = in_time(self.client.pin(&cid(item), &named(&self.next.to_string()))).await;
                (Op::Write(Some(self.next)), matches!(pinned, Some(Ok(_))))
            }
            _ => {
                // A peer shows what was ordered before what it ordered itself.
                let ordered = in_time(self.client.pin(&cid(self.barrier), &named(&self.next.to_string()))).await;
                let (true, Ok(value)) = (matches!(ordered, Some(Ok(_))), value_of(&self.client, item).await) else {
                    return false;
                };
                (Op::Read(value), true)
            }
        };
        let event = Event { op, asked, answered: answered.then(|| self.began.elapsed()) };
        self.history.lock().expect("no panic").entry(item).or_default().push(event);
        answered
    }
}

async fn in_time<T>(order: impl Future<Output = Result<T, ClientError>>) -> Option<Result<T, ClientError>> {
    tokio::time::timeout(ORDER_MAX, order).await.ok()
}

/// Folders of three that will found a cluster together, and do not wait long for each other.
fn three() -> Vec<Apart> {
    let set = |number: usize, file: &mut Value| file["cluster"]["peername"] = json!(format!("peer{number}"));
    let places = apart::three(&["--consensus", "raft"], set);
    let members: Vec<String> = places.iter().map(|apart| apart.place.id.clone()).collect();
    for apart in &places {
        let others = places.iter().map(|other| other.place.address.clone());
        let others: Vec<String> = others.filter(|address| *address != apart.place.address).collect();
        apart.place.configure(&others, |file| {
            let raft = &mut file["consensus"]["raft"];
            raft["init_peerset"] = json!(members);
            raft["wait_for_leader_timeout"] = json!("3s");
            raft["network_timeout"] = json!("2s");
        });
    }
    places
}

fn start_all(places: &[Apart]) -> Vec<Peer> {
    std::thread::scope(|scope| {
        let starting: Vec<_> = places.iter().map(|apart| scope.spawn(|| apart.start())).collect();
        starting.into_iter().map(|peer| peer.join().expect("it starts")).collect()
    })
}

/// Which peer leads, as all of them say.
fn leader(places: &[Apart], peers: &[Peer]) -> usize {
    let begun = Instant::now();
    loop {
        let said = peers.iter().map(|peer| peer.last_said(|line| line.contains("raft has")));
        let said: Vec<Value> = said.map(|line| fields(&line.unwrap_or_default())).collect();
        let leads = |apart: &Apart| said.iter().all(|fields| fields["leader"] == json!(apart.place.id));
        if let Some(leader) = places.iter().position(leads) {
            return leader;
        }
        assert!(begun.elapsed() < DEADLINE, "they do not agree on a leader: {said:?}");
        std::thread::yield_now();
    }
}

/// What stands behind the text of a line of the log.
fn fields(line: &str) -> Value {
    line.rsplit('\t').next().and_then(|fields| serde_json::from_str(fields).ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_what_clients_of_raft_peers_that_are_cut_off_see_is_linearizable() {
    if apart::skipped("raft_apart::proc_what_clients_of_raft_peers_that_are_cut_off_see_is_linearizable") {
        return;
    }
    let places = three();
    let mut peers = start_all(&places);
    let (began, history) = (Instant::now(), History::default());
    for (round, fault) in (0u8..).zip([Fault::LeaderCutOff, Fault::FollowerCutOff, Fault::LeaderKilled]) {
        let leader = leader(&places, &peers);
        let victim = if fault == Fault::FollowerCutOff { (leader + 1) % 3 } else { leader };
        let others: Vec<usize> = (0..3).filter(|at| *at != victim).collect();
        let (done, mut so_far) = watch::channel(0);
        let (begin, fault_begun) = watch::channel(false);
        let mut workers: Vec<JoinHandle<()>> = Vec::new();
        for (at, peer) in (0u8..).zip(&peers) {
            let worker = Worker {
                client: peer.client(),
                chance: Chance::new(u64::from(round * 3 + at)),
                history: History::clone(&history),
                began,
                first: round * ITEMS,
                barrier: BARRIERS + at,
                next: u64::from(round * 3 + at) << 20,
                done: done.clone(),
                fault_begun: fault_begun.clone(),
            };
            workers.push(tokio::spawn(worker.work()));
        }
        so_far.wait_for(|done| *done >= FAULT_AFTER).await.expect("they work");

        match fault {
            Fault::LeaderKilled => peers[victim].kill(),
            _ => apart::cut(victim + 1, &others.iter().map(|at| at + 1).collect::<Vec<_>>()),
        }
        let fault_at = began.elapsed();
        begin.send_replace(true);
        if fault != Fault::LeaderKilled {
            refuses(&peers[victim], &history, began, round * ITEMS, u64::from(round) << 40).await;
        }
        let of_victim = workers.remove(victim);
        for worker in workers {
            worker.await.expect("no panic");
        }
        let acknowledged = |event: &&Event| event.asked > fault_at && event.answered.is_some();
        let meanwhile = history.lock().expect("no panic").values().flatten().filter(acknowledged).count();
        // On a busy machine all of them can have given up before the others had a leader: it must come all the same.
        let late = Instant::now();
        while meanwhile == 0 && peers[others[0]].ctl(&["pin", "ls"]).code != 0 {
            assert!(late.elapsed() < DEADLINE, "{fault:?}: two of three go on");
        }

        match fault {
            Fault::LeaderKilled => peers[victim] = peers[victim].again(),
            _ => apart::mend(victim + 1, &others.iter().map(|at| at + 1).collect::<Vec<_>>()),
        }
        of_victim.await.expect("no panic");
        println!("{fault:?}: {meanwhile} answers meanwhile, over after {:?}", began.elapsed() - fault_at);
        for (at, peer) in (0u8..).zip(&peers) {
            read(peer, &history, began, BARRIERS + at, round * ITEMS..(round + 1) * ITEMS).await;
        }
    }
    // What one fault left is there after the others.
    read(&peers[0], &history, began, BARRIERS, 0..3 * ITEMS).await;
    check(&history);
    for peer in &mut peers {
        assert!(peer.stop().success());
    }
}

/// A peer that reaches no majority says so, and acknowledges nothing. What it was asked may be done later.
async fn refuses(peer: &Peer, history: &History, began: Instant, item: u8, value: u64) {
    let asked = began.elapsed();
    let order = peer.client().pin(&cid(item), &named(&value.to_string())).await;
    let error = order.expect_err("nobody can have confirmed it").to_string();
    assert!(began.elapsed() - asked < ORDER_MAX, "it took {:?}", began.elapsed() - asked);
    let named =
        ["no majority of the members", "timed out waiting for leader", "did not answer in time", "context deadline"];
    assert!(named.iter().any(|text| error.contains(text)), "{error}");
    let event = Event { op: Op::Write(Some(value)), asked, answered: None };
    history.lock().expect("no panic").entry(item).or_default().push(event);
}
