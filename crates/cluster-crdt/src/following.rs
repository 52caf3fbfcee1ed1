//! How long this peer needs to have what others have: from hearing of a head to having everything below it, durably.

use cluster_component::metrics::Metrics;
use cluster_types::Cid;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// Heads that are followed at a time; more are fetched all the same, and not measured.
const HEADS_MAX: usize = 1_024;

/// Heads that were heard of and are not here as a whole.
pub(crate) struct Following {
    heads: BTreeMap<Cid, Instant>,
    metrics: Arc<Metrics>,
}

impl Following {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { heads: BTreeMap::new(), metrics }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Heads were announced. Those that the replica wants are new.
    pub(crate) fn heard(&mut self, heads: &[Cid], is_wanted: impl Fn(&Cid) -> bool) {
        let now = Instant::now();
        for head in heads.iter().filter(|head| is_wanted(head)) {
            if self.heads.len() < HEADS_MAX {
                self.heads.entry(*head).or_insert(now);
            }
        }
        self.tell();
    }

    /// What came is durable. `under_way` are the heads below which something is still missing.
    pub(crate) fn look(&mut self, under_way: impl Fn() -> BTreeSet<Cid>) {
        if self.heads.is_empty() {
            return;
        }
        let under_way = under_way();
        let metrics = &self.metrics;
        self.heads.retain(|head, since| {
            let missing = under_way.contains(head);
            if !missing {
                metrics.convergence.took(since.elapsed());
            }
            missing
        });
        self.tell();
    }

    fn tell(&self) {
        self.metrics.follows_since(self.heads.values().min().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_head_is_followed_until_nothing_below_it_is_missing() {
        let metrics = Arc::<Metrics>::default();
        let mut following = Following::new(Arc::clone(&metrics));
        let head: Cid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN".parse().expect("a CID");

        following.heard(&[head], |_| false);
        assert_eq!(metrics.lag(), Duration::ZERO);
        following.heard(&[head], |_| true);
        following.look(|| BTreeSet::from([head]));
        assert!(metrics.lag() > Duration::ZERO);
        assert_eq!(metrics.convergence.get().count, 0);
        following.look(BTreeSet::new);

        assert_eq!((metrics.lag(), metrics.convergence.get().count), (Duration::ZERO, 1));
    }
}
