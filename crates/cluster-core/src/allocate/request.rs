//! What an allocation asks for and what follows from the allocator's order. As the reference: `allocate.go`.

use cluster_types::{Metric, MetricName, PeerId};
use std::collections::{BTreeMap, BTreeSet};

/// Metrics by name, then peer.
pub type Metrics = BTreeMap<MetricName, BTreeMap<PeerId, Metric>>;

/// The peers that have every metric that is needed, by their part in the allocation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peers {
    /// Those that hold the pin already.
    pub current: Metrics,
    /// Those that the user asked for.
    pub priority: Metrics,
    /// The others.
    pub candidates: Metrics,
}

/// Sorts peers by their part; leaves out those that lack a metric or may not be asked.
///
/// `metrics` holds only valid ones.
#[must_use]
pub fn classify(
    needs: &[MetricName],
    metrics: &Metrics,
    current: &[PeerId],
    user: &[PeerId],
    may_hold: &dyn Fn(&PeerId) -> bool,
) -> Peers {
    let of = |name: &MetricName| metrics.get(name);
    let everyone: BTreeSet<PeerId> = metrics.values().flat_map(|by_peer| by_peer.keys().copied()).collect();
    let complete = |peer: &PeerId| needs.iter().all(|name| of(name).is_some_and(|m| m.contains_key(peer)));
    let mut peers = Peers::default();
    for peer in everyone.iter().filter(|peer| complete(peer) && may_hold(peer)) {
        let part = if current.contains(peer) {
            &mut peers.current
        } else if user.contains(peer) {
            &mut peers.priority
        } else {
            &mut peers.candidates
        };
        for name in needs {
            let metric = of(name).and_then(|by_peer| by_peer.get(peer)).cloned();
            part.entry(name.clone()).or_default().extend(metric.map(|metric| (*peer, metric)));
        }
    }
    peers
}

/// How many peers a part has.
#[must_use]
pub fn count(part: &Metrics) -> usize {
    part.values().next().map_or(0, BTreeMap::len)
}

/// How many peers are to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// None: keep what is stored.
    Keep,
    /// Fewer than there are: keep so many of the current ones.
    Trim(usize),
    /// At least `needed` more, and `wanted` more at the most.
    More {
        /// At least so many.
        needed: usize,
        /// At most so many.
        wanted: usize,
    },
}

/// Too few peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// Peers still needed for the minimum.
    pub needed: i64,
    /// Peers that would be taken at most.
    pub wanted: i64,
    /// Peers there are.
    pub available: usize,
}

/// How many peers are to be found beside the current ones that have valid metrics; `stored` counts those without too.
///
/// # Errors
/// When there are fewer than needed.
pub fn wanted(peers: &Peers, stored: usize, min: i32, max: i32) -> Result<Wanted, Shortage> {
    let current = i64::try_from(count(&peers.current)).unwrap_or(i64::MAX);
    let (needed, wanted) = (i64::from(min) - current, i64::from(max) - current);
    let available = count(&peers.priority) + count(&peers.candidates);
    let most = usize::try_from(max).unwrap_or(0);
    // The reference keeps more than the maximum when those beyond it do not answer.
    if wanted < 0 || (needed <= 0 && stored > most) {
        return Ok(Wanted::Trim(most));
    }
    if needed <= 0 {
        return Ok(Wanted::Keep);
    }
    let enough = usize::try_from(needed).is_ok_and(|needed| available >= needed);
    if !enough {
        return Err(Shortage { needed, wanted, available });
    }
    Ok(Wanted::More {
        needed: usize::try_from(needed).unwrap_or(usize::MAX),
        wanted: usize::try_from(wanted).unwrap_or(usize::MAX),
    })
}

/// The allocations that come out.
pub type Outcome = Vec<PeerId>;

/// The current peers with valid metrics, in their stored order, and as many of the others as are wanted.
#[must_use]
pub fn conclude(peers: &Peers, stored: &[PeerId], wanted: Wanted, order: &[PeerId]) -> Outcome {
    let valid = |peer: &&PeerId| peers.current.values().next().is_some_and(|by_peer| by_peer.contains_key(*peer));
    match wanted {
        Wanted::Keep => stored.to_vec(),
        Wanted::Trim(max) => stored.iter().filter(valid).take(max).copied().collect(),
        Wanted::More { wanted, .. } => {
            let kept = stored.iter().filter(valid).copied();
            kept.chain(order.iter().take(wanted).copied()).collect()
        }
    }
}
