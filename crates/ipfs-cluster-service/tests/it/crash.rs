//! `kill -9` at any moment: no acknowledged pin or unpin is lost.

use crate::peer::{Peer, init};
use cluster_client::Client;
use cluster_testkit::kubo::FakeKubo;
use cluster_types::{Cid, PinOptions};
use futures::StreamExt;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// How often the peer is killed. More with `CLUSTER_CRASH_ROUNDS`.
const ROUNDS: u64 = 5;

/// Requests under way at a time.
const CLIENTS: u64 = 16;

pub(crate) fn cid(number: u64) -> Cid {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    let text = format!("f01551220{}", digest.iter().map(|b| format!("{b:02x}")).collect::<String>());
    text.parse().expect("a CID of a raw block")
}

/// What was acknowledged; what was asked for and not answered may have happened or not.
#[derive(Default)]
struct Acknowledged {
    pinned: BTreeSet<u64>,
    unpinned: BTreeSet<u64>,
    unknown: BTreeSet<u64>,
}

/// Pins numbers one after the other, and unpins every third again, until the peer is gone.
async fn hammer(client: Client, first: u64, known: Arc<Mutex<Acknowledged>>) {
    for number in (first..).step_by(CLIENTS as usize) {
        known.lock().expect("lock").unknown.insert(number);
        if client.pin(&cid(number), &PinOptions::default()).await.is_err() {
            return;
        }
        {
            let mut known = known.lock().expect("lock");
            known.unknown.remove(&number);
            known.pinned.insert(number);
        }
        if number % 3 != 0 {
            continue;
        }
        {
            let mut known = known.lock().expect("lock");
            known.pinned.remove(&number);
            known.unknown.insert(number);
        }
        if client.unpin(&cid(number)).await.is_err() {
            return;
        }
        let mut known = known.lock().expect("lock");
        known.unknown.remove(&number);
        known.unpinned.insert(number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_pin_or_unpin_is_lost_by_a_kill() {
    let rounds = std::env::var("CLUSTER_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let home = tempfile::tempdir().expect("home");
    init(home.path(), &FakeKubo::start());
    let known = Arc::new(Mutex::new(Acknowledged::default()));
    let mut acknowledged = 0;

    for round in 0..rounds {
        let mut peer = Peer::start(home.path());
        let base = round * 1_000_000;
        let work = (0..CLIENTS).map(|n| tokio::spawn(hammer(peer.client(), base + n, Arc::clone(&known))));
        let work: Vec<_> = work.collect();
        // After a different number of answers in each round, so that the moments differ.
        let wanted = acknowledged + 100 + (round * 37 % 200) as usize;
        loop {
            let so_far = {
                let known = known.lock().expect("lock");
                known.pinned.len() + known.unpinned.len()
            };
            if so_far >= wanted {
                break;
            }
            tokio::task::yield_now().await;
        }
        peer.kill();
        for task in work {
            task.await.expect("a client");
        }
        let known = known.lock().expect("lock");
        acknowledged = known.pinned.len() + known.unpinned.len();
    }

    let peer = Peer::start(home.path());
    let mut stored = BTreeSet::new();
    let mut pins = peer.client().allocations("").await.expect("list");
    while let Some(pin) = pins.next().await {
        stored.insert(pin.expect("pin").cid);
    }
    let known = known.lock().expect("lock");
    let lost: Vec<_> = known.pinned.iter().filter(|n| !stored.contains(&cid(**n))).collect();
    let back: Vec<_> = known.unpinned.iter().filter(|n| stored.contains(&cid(**n))).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged pins are lost: {lost:?}", lost.len(), known.pinned.len());
    assert!(back.is_empty(), "{} of {} acknowledged unpins are undone: {back:?}", back.len(), known.unpinned.len());
    println!("{rounds} kills, {} pins and {} unpins acknowledged, none lost", known.pinned.len(), known.unpinned.len());
}
