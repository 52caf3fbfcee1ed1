//! One member's statuses on their way into a merge, which needs them in the listing order.
//!
//! A peer of ours answers in that order. A peer of the reference need not: what it works on it lists as its map has it.
//! Nothing in the protocol tells them apart, so the beginning of a stream does: it is read ahead, and if it is in no
//! order the whole list is sorted, within a bound.

use cluster_component::rpc::{RpcError, RpcErrorKind};
use cluster_component::{PAGE_MAX, PageStream};
use cluster_types::{PeerId, PinInfo};
use futures::StreamExt;
use std::collections::VecDeque;

/// Items that are read ahead to see whether they are in order. A list that is no longer is sorted in any case; a longer
/// one that begins like this by chance there will not be.
const PROBE: usize = PAGE_MAX;

/// One member's stream, with the items that were read and not yet passed on.
pub(super) struct Source {
    pub(super) peer: PeerId,
    pages: PageStream<PinInfo, RpcError>,
    ahead: VecDeque<(Vec<u8>, PinInfo)>,
    /// The largest key that was read.
    last: Option<Vec<u8>>,
    stage: Stage,
    /// Most items of a list in no order that are sorted.
    sorted_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is known of its order.
    Unknown,
    /// It is in order: read on when nothing is ahead.
    Ordered,
    /// All of it is ahead.
    Ended,
}

impl Source {
    /// This peer's own: it is in order.
    pub(super) fn ordered(peer: PeerId, pages: PageStream<PinInfo, RpcError>) -> Self {
        Self { stage: Stage::Ordered, ..Self::unknown(peer, pages, 0) }
    }

    /// Another peer's. Of a list in no order at most `sorted_max` items are held.
    pub(super) fn unknown(peer: PeerId, pages: PageStream<PinInfo, RpcError>, sorted_max: usize) -> Self {
        Self { peer, pages, ahead: VecDeque::new(), last: None, stage: Stage::Unknown, sorted_max }
    }

    /// Its pages, as they come.
    pub(super) fn into_pages(self) -> PageStream<PinInfo, RpcError> {
        self.pages
    }

    /// Reads on if nothing is ahead. After an error there is nothing more.
    pub(super) async fn fill(&mut self) -> (PeerId, Result<(), RpcError>) {
        let filled = match self.stage {
            Stage::Unknown => self.probe().await,
            _ => self.read_in_order().await,
        };
        if filled.is_err() {
            self.stage = Stage::Ended;
            self.ahead.clear();
        }
        (self.peer, filled)
    }

    /// The key of the next item.
    pub(super) fn key(&self) -> Option<&[u8]> {
        self.ahead.front().map(|(key, _)| key.as_slice())
    }

    /// The next item, if it has this key.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<PinInfo> {
        if self.key() == Some(key) { self.ahead.pop_front().map(|(_, info)| info) } else { None }
    }

    async fn probe(&mut self) -> Result<(), RpcError> {
        let mut in_order = true;
        while self.ahead.len() < PROBE || !in_order {
            let Some(page) = self.pages.next().await else {
                self.stage = Stage::Ended;
                break;
            };
            for info in page? {
                let key = info.cid.sort_key();
                in_order &= self.ahead.back().is_none_or(|(last, _)| *last <= key);
                self.ahead.push_back((key, info));
            }
            if !in_order && self.ahead.len() > self.sorted_max {
                return Err(self.out_of_order());
            }
        }
        if self.stage == Stage::Unknown {
            self.stage = Stage::Ordered;
        }
        // Stable: of two items of one key the first stays.
        self.ahead.make_contiguous().sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut last = None;
        self.ahead.retain(|(key, _)| last.replace(key.clone()).as_ref() != Some(key));
        self.last = last;
        Ok(())
    }

    async fn read_in_order(&mut self) -> Result<(), RpcError> {
        while self.ahead.is_empty() && self.stage == Stage::Ordered {
            let Some(page) = self.pages.next().await else {
                self.stage = Stage::Ended;
                break;
            };
            for info in page? {
                let key = info.cid.sort_key();
                match self.last.as_ref().map(|last| last.cmp(&key)) {
                    // Said already.
                    Some(std::cmp::Ordering::Equal) => continue,
                    Some(std::cmp::Ordering::Greater) => return Err(self.out_of_order()),
                    _ => {}
                }
                self.last = Some(key.clone());
                self.ahead.push_back((key, info));
            }
        }
        Ok(())
    }

    fn out_of_order(&self) -> RpcError {
        let text = format!(
            "the peer lists its items in no order, and they are too many ({} and more) to be put into one here. Ask it \
             itself (local=true), or for fewer: with a filter, or by their CIDs",
            self.sorted_max.max(self.ahead.len())
        );
        RpcError::new(RpcErrorKind::Failed, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_testkit::contract::cid;
    use cluster_types::{PinInfoShort, Timestamp, TrackerStatus};
    use futures::FutureExt;
    use futures::stream;

    fn info(number: u64, name: &str) -> PinInfo {
        PinInfo {
            cid: cid(number),
            name: name.into(),
            peer: PeerId::random(),
            allocations: None,
            origins: None,
            created: Timestamp::ZERO,
            metadata: None,
            status: PinInfoShort { status: TrackerStatus::PINNED, ..PinInfoShort::default() },
        }
    }

    /// Pages as a peer sends them.
    fn pages(infos: Vec<PinInfo>) -> PageStream<PinInfo, RpcError> {
        let pages: Vec<_> = infos.chunks(PAGE_MAX).map(|page| Ok(page.to_vec())).collect();
        stream::iter(pages).boxed()
    }

    /// The keys that a source passes on, and its error.
    fn read(mut source: Source) -> (Vec<Vec<u8>>, Option<String>) {
        let mut keys = Vec::new();
        loop {
            if let Err(error) = source.fill().now_or_never().expect("nothing is waited for").1 {
                return (keys, Some(error.message));
            }
            let Some(key) = source.key().map(<[u8]>::to_vec) else { return (keys, None) };
            source.take(&key).expect("it is the next");
            keys.push(key);
        }
    }

    fn sorted(infos: &[PinInfo]) -> Vec<Vec<u8>> {
        let mut keys: Vec<_> = infos.iter().map(|info| info.cid.sort_key()).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn other(infos: Vec<PinInfo>, sorted_max: usize) -> Source {
        Source::unknown(PeerId::random(), pages(infos), sorted_max)
    }

    /// Hashes are in no order.
    #[test]
    fn a_list_in_no_order_is_sorted_and_says_nothing_twice() {
        let mut infos: Vec<_> = (0..4_500).map(|n| info(n, "first")).collect();
        infos.extend((0..100).map(|n| info(n, "second")));
        let expected = sorted(&infos);

        assert_eq!(read(other(infos, 5_000)), (expected, None));
    }

    #[test]
    fn a_list_in_order_is_passed_on_whatever_its_length() {
        let mut infos: Vec<_> = (0..9_000).map(|n| info(n, "")).collect();
        infos.sort_by_key(|info| info.cid.sort_key());
        infos.insert(4_000, infos[3_999].clone());
        let expected = sorted(&infos);

        assert_eq!(read(other(infos.clone(), 0)), (expected.clone(), None));
        assert_eq!(read(Source::ordered(PeerId::random(), pages(infos))), (expected, None));
    }

    #[test]
    fn more_than_can_be_sorted_is_an_error_that_says_what_to_do() {
        let (keys, error) = read(other((0..4_500).map(|n| info(n, "")).collect(), 3_000));

        assert!(keys.is_empty());
        assert!(error.is_some_and(|text| text.contains("no order") && text.contains("local=true")));
    }

    /// What was passed on stays right: nothing follows that should have come before.
    #[test]
    fn a_list_that_loses_its_order_late_ends_there() {
        let mut infos: Vec<_> = (0..3_000).map(|n| info(n, "")).collect();
        infos.sort_by_key(|info| info.cid.sort_key());
        // The page with the fault is not passed on.
        let expected = sorted(&infos[..2_000 / PAGE_MAX * PAGE_MAX]);
        infos.swap(2_000, 2_999);
        let (keys, error) = read(other(infos, 10_000));

        assert!(keys.starts_with(&expected) && keys.is_sorted());
        assert!(error.is_some());
    }
}
