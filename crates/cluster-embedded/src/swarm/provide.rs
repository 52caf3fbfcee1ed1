//! Telling others which roots are held here: each when it is pinned, and all again and again, since they forget.
//!
//! Batches are bounded, and what is told of is read from the pins page by page: the number of pins costs time and no memory.

use super::Command;
use crate::pins::Pins;
use cluster_component::ports::Clock;
use cluster_types::Cid;
use futures::{StreamExt, stream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Roots that are told of at a time. Each tells some twenty peers; at ten seconds each an interval of 22 h has room for
/// 60,000 roots.
const AT_ONCE: usize = 8;

/// When a round is begun again of which nothing came.
const RETRY: Duration = Duration::from_secs(600);

/// Roots that are read at a time; between two pages those go first that were pinned meanwhile.
const PAGE: usize = 64;

/// Tells others.
pub(super) struct Provider {
    pub(super) orders: mpsc::Sender<Command>,
    pub(super) pins: Pins,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) interval: Duration,
    /// What was pinned just now. A hint: what is lost is told of in the next round.
    pub(super) fresh: mpsc::Receiver<Cid>,
    /// Whether anybody is known who can be told.
    pub(super) known: watch::Receiver<bool>,
}

impl Provider {
    /// For as long as it is polled, and the swarm runs.
    pub(super) async fn run(mut self) {
        let mut due = self.clock.now().mono;
        loop {
            if self.known.wait_for(|known| *known).await.is_err() {
                return;
            }
            let clock = Arc::clone(&self.clock);
            // Order: what is new has never been told of.
            tokio::select! {
                biased;
                Some(cid) = self.fresh.recv() => self.tell_fresh(Some(cid)).await,
                () = clock.sleep_until(due) => {
                    due = self.clock.now().mono.saturating_add(self.interval);
                    if !self.round().await {
                        due = self.clock.now().mono.saturating_add(self.interval.min(RETRY));
                    }
                }
            }
        }
    }

    /// Tells of every root; whether anything came of it.
    async fn round(&mut self) -> bool {
        let (mut after, mut told, mut failed) = (None::<Cid>, 0, 0);
        loop {
            let (pins, from) = (self.pins.clone(), after);
            let page = tokio::task::spawn_blocking(move || pins.page(from.as_ref(), PAGE)).await;
            let page = match page {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the pins could not be read: what is held here is told of later");
                    return false;
                }
                Err(_) => return false, // The process ends.
            };
            after = page.last().map(|pin| pin.cid);
            let last = page.len() < PAGE;
            let failures = self.tell(page.into_iter().map(|pin| pin.cid).collect()).await;
            failed += failures.1;
            told += failures.0;
            self.tell_fresh(None).await;
            if last {
                tracing::info!(roots = told, failed, "the IPFS network was told what is held here");
                return told > 0 || failed == 0;
            }
        }
    }

    async fn tell_fresh(&mut self, first: Option<Cid>) {
        let mut batch: Vec<Cid> = first.into_iter().collect();
        while batch.len() < PAGE
            && let Ok(cid) = self.fresh.try_recv()
        {
            batch.push(cid);
        }
        self.tell(batch).await;
    }

    /// Tells of these; how many succeeded and how many did not.
    async fn tell(&self, roots: Vec<Cid>) -> (usize, usize) {
        let tell = |cid: Cid| async move {
            let (reply, answer) = oneshot::channel();
            let order = Command::Provide { cid, reply };
            let sent = self.orders.send(order).await.is_ok();
            let outcome = if sent { answer.await.ok() } else { None };
            if let Some(Err(error)) = &outcome {
                tracing::debug!(%cid, %error, "others were not told that it is held here");
            }
            matches!(outcome, Some(Ok(())))
        };
        let outcomes: Vec<bool> = stream::iter(roots).map(tell).buffer_unordered(AT_ONCE).collect().await;
        let told = outcomes.iter().filter(|told| **told).count();
        (told, outcomes.len() - told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_datastore::MemoryStore;
    use cluster_testkit::{ManualClock, eventually};
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    fn cid(number: u32) -> Cid {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(number.to_be_bytes());
        Cid(cid::Cid::new_v1(0x55, cid::multihash::Multihash::wrap(0x12, &digest).expect("32 bytes")))
    }

    #[tokio::test]
    async fn all_roots_are_told_of_again_and_again_and_new_ones_at_once() {
        let (orders, mut told) = mpsc::channel(4);
        let (fresh, new) = mpsc::channel(4);
        let (is_known, known) = watch::channel(false);
        let clock = Arc::new(ManualClock::default());
        let pins = Pins::new(Arc::new(MemoryStore::new()));
        let count = u32::try_from(PAGE).expect("few") * 2 + 5;
        (0..count).for_each(|number| pins.set(&cid(number), -1).expect("pinned"));
        let interval = Duration::from_secs(3_600);
        let provider = Provider { orders, pins, clock: Arc::clone(&clock) as _, interval, fresh: new, known };
        let counts = Arc::<Mutex<BTreeMap<Cid, usize>>>::default();
        let (seen, most) = (Arc::clone(&counts), Arc::<Mutex<usize>>::default());
        let at_once = Arc::clone(&most);
        // Answers when nothing more comes, so that as many wait as can.
        let network = async move {
            let mut waiting = Vec::new();
            loop {
                tokio::select! {
                    biased;
                    Some(order) = told.recv() => {
                        let Command::Provide { cid, reply } = order else { panic!("another order") };
                        *seen.lock().expect("whole").entry(cid).or_default() += 1;
                        waiting.push(reply);
                        let mut most = at_once.lock().expect("whole");
                        *most = waiting.len().max(*most);
                    }
                    () = tokio::task::yield_now() => {
                        waiting.drain(..).for_each(|reply| drop(reply.send(Ok(()))));
                    }
                }
            }
        };
        let all = |times: usize| {
            let counts = Arc::clone(&counts);
            move || {
                let counts = counts.lock().expect("whole");
                counts.len() >= count as usize && counts.values().all(|seen| *seen == times)
            }
        };

        let test = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert!(counts.lock().expect("whole").is_empty(), "nobody could be told");
            is_known.send_replace(true);
            eventually("all were told of", all(1)).await;
            fresh.send(cid(count)).await.expect("taken");
            eventually("the new one was told of", || counts.lock().expect("whole").contains_key(&cid(count))).await;
            clock.advance(interval);
            eventually("they were told of again", || {
                let counts = counts.lock().expect("whole");
                (0..count).all(|number| counts[&cid(number)] == 2) && counts[&cid(count)] == 1
            })
            .await;
        };
        tokio::select! {
            () = provider.run() => panic!("it ended"),
            () = network => {}
            () = test => {}
        }
        assert!((2..=AT_ONCE).contains(&*most.lock().expect("whole")), "{most:?}");
    }
}
