//! Comparing: the pinset with the index, and the index with the daemon, page by page behind all other work.

use super::scans::{BothScans, Pair};
use super::shell::TrackerShell;
use cluster_component::errors::{ConnectorError, TrackerError};
use cluster_core::tracker::machine::{Aim, Event, is_news, stands_as};
use cluster_core::tracker::row::Row;
use cluster_types::{Cid, IpfsPinStatus, Pin, Timestamp};
use futures::StreamExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl TrackerShell {
    /// Finds pins that have no row or a wrong one, and rows that have no pin.
    pub(super) async fn compare_with_pinset(self: &Arc<Self>) {
        let compared = self.for_each_page(|pairs| {
            let differs = pairs.into_iter().filter(|(_, pin, row)| !stands_as(row.as_ref(), self.aim_of(pin.as_ref())));
            // The pinset may have changed between the two scans and now.
            let looked_up =
                differs.map(|(cid, ..)| Ok(Event::Compare(cid, self.aim_of(self.state.get(&cid)?.as_ref()))));
            looked_up.collect()
        });
        match compared.await {
            Ok(()) => self.compared.store(true, Ordering::Release),
            Err(error) => tracing::error!(%error, "the pinset cannot be compared"),
        }
    }

    fn aim_of(&self, pin: Option<&Pin>) -> Aim {
        pin.map_or(Aim::Gone, |pin| self.aim(pin))
    }

    /// Reads pinset and index side by side, and applies what follows from each page.
    async fn for_each_page(
        self: &Arc<Self>,
        events: impl Fn(Vec<Pair>) -> Result<Vec<Event>, TrackerError>,
    ) -> Result<(), TrackerError> {
        let mut both = BothScans::default();
        loop {
            let pairs = both.next_pairs(&*self.state, &*self.parts.store)?;
            if pairs.is_empty() {
                return Ok(());
            }
            self.apply(events(pairs)?)?;
            tokio::task::yield_now().await;
        }
    }

    async fn held_by_daemon(&self) -> Result<Held, ConnectorError> {
        let kinds = [IpfsPinStatus::Recursive, IpfsPinStatus::Direct];
        let mut held = Held { since: self.now(), items: BTreeSet::new() };
        let mut pages = Arc::clone(&self.parts.connector).pin_ls(&kinds);
        while let Some(page) = pages.next().await {
            held.items.extend(page?.iter().map(|pin| fingerprint(&pin.cid, pin.status == IpfsPinStatus::Direct)));
        }
        Ok(held)
    }

    /// Finds items that the daemon lost, or holds although they are thought lost.
    pub(super) async fn compare_with_daemon(self: &Arc<Self>) {
        self.tell_of_mine(|held, pin, row| {
            let is_held = held.has(pin);
            // What came to stand like this after the daemon was asked is not in its answer.
            let is_news = row.is_some_and(|row| row.since < held.since && is_news(row, is_held));
            is_news.then_some(Event::Observed(pin.cid, is_held))
        })
        .await;
    }

    /// Makes the index anew: what the daemon holds already is at rest, and the daemon is not asked to pin it again.
    pub(super) async fn take_over_what_is_held(self: &Arc<Self>) {
        // An error: the connector is being stopped, and this task with it.
        let _ready = self.parts.connector.ready().await;
        self.tell_of_mine(|held, pin, row| (row.is_none() && held.has(pin)).then_some(Event::Held(pin.cid))).await;
    }

    /// Tells the machine of items that this peer shall hold what the daemon's list says of them.
    async fn tell_of_mine(self: &Arc<Self>, event: impl Fn(&Held, &Pin, Option<&Row>) -> Option<Event>) {
        let held = match self.held_by_daemon().await {
            Ok(held) => held,
            Err(error) => return tracing::warn!(%error, "the daemon's pins cannot be compared"),
        };
        let told = self.for_each_page(|pairs| {
            let told = pairs.iter().filter_map(|(_, pin, row)| {
                let mine = pin.as_ref().filter(|pin| matches!(self.aim(pin), Aim::Pinned(_)))?;
                event(&held, mine, row.as_ref())
            });
            Ok(told.collect())
        });
        if let Err(error) = told.await {
            tracing::error!(%error, "what the daemon holds cannot be compared");
        }
    }
}

/// What the daemon holds: twelve bytes of the hash of each CID, so that a million pins take little memory, and two
/// never meet.
struct Held {
    /// When it was asked.
    since: Timestamp,
    items: BTreeSet<[u8; 13]>,
}

impl Held {
    /// Whether the daemon holds an item as deep as it should.
    fn has(&self, pin: &Pin) -> bool {
        self.items.contains(&fingerprint(&pin.cid, pin.max_depth == 0))
    }
}

/// What stands for a CID and the way it is held.
fn fingerprint(cid: &Cid, direct: bool) -> [u8; 13] {
    let mut out = [0; 13];
    let bytes = cid.to_bytes();
    let tail = &bytes[bytes.len().saturating_sub(12)..];
    out[..tail.len()].copy_from_slice(tail);
    out[12] = u8::from(direct);
    out
}
