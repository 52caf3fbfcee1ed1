//! The `balanced` allocator's order: peers are divided by one metric after the other, and taken in turn from each part.
//!
//! As the reference: `allocator/balanced/balanced.go`.

use super::request::Metrics;
use cluster_types::{MetricName, PeerId};
use std::collections::BTreeMap;

/// The peers of a part in the order in which they should be taken.
#[must_use]
pub fn order(by: &[MetricName], metrics: &Metrics) -> Vec<PeerId> {
    let Some((first, rest)) = by.split_first() else { return Vec::new() };
    let peers: Vec<PeerId> = metrics.get(first).map(|m| m.keys().copied().collect()).unwrap_or_default();
    let mut tree = Node::divide(first, rest, &peers, metrics);
    let mut order = Vec::with_capacity(peers.len());
    while let Some(peer) = tree.take() {
        order.push(peer);
    }
    order
}

/// Peers divided by a metric, with a cursor that goes round.
struct Node {
    parts: Vec<Part>,
    cursor: usize,
}

struct Part {
    value: String,
    weight: i64,
    /// Own weight and that of everything below.
    aggregated: i64,
    /// What is below; `None` at the last metric, where `peers` is what is left.
    below: Option<Node>,
    peers: Vec<PeerId>,
}

impl Node {
    fn divide(by: &MetricName, rest: &[MetricName], peers: &[PeerId], metrics: &Metrics) -> Self {
        // Peers of equal value belong together if the metric says so; else each is a part of its own.
        let mut parts: BTreeMap<(String, Option<PeerId>), Part> = BTreeMap::new();
        for peer in peers {
            let Some(metric) = metrics.get(by).and_then(|m| m.get(peer)) else { continue };
            let own = (!metric.partitionable).then_some(*peer);
            let part = parts.entry((metric.value.clone(), own)).or_insert_with(|| Part {
                value: metric.value.clone(),
                weight: 0,
                aggregated: 0,
                below: None,
                peers: Vec::new(),
            });
            part.weight += metric.weight;
            part.peers.push(*peer);
        }
        let mut parts: Vec<Part> = parts.into_values().collect();
        for part in &mut parts {
            part.below = rest.split_first().map(|(next, rest)| Self::divide(next, rest, &part.peers, metrics));
            part.aggregated = part.weight + part.below.as_ref().map_or(0, Node::aggregated);
        }
        parts.sort_by(|a, b| {
            (b.weight, b.aggregated).cmp(&(a.weight, a.aggregated)).then_with(|| a.value.cmp(&b.value))
        });
        Self { parts, cursor: 0 }
    }

    fn aggregated(&self) -> i64 {
        self.parts.iter().map(|part| part.aggregated).sum()
    }

    /// The next peer: from the part at the cursor, which goes on whether that part has one or not.
    fn take(&mut self) -> Option<PeerId> {
        for _ in 0..self.parts.len() {
            let at = self.cursor;
            self.cursor = (self.cursor + 1) % self.parts.len();
            let part = &mut self.parts[at];
            let taken = match &mut part.below {
                Some(below) => below.take(),
                None if part.peers.is_empty() => None,
                None => Some(part.peers.remove(0)),
            };
            if taken.is_some() {
                return taken;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_types::{Metric, Timestamp};

    fn peer(number: u8) -> PeerId {
        let hash = multihash::Multihash::<64>::wrap(0x12, &[number; 32]).expect("32 bytes");
        PeerId::from_bytes(&hash.to_bytes()).expect("a multihash")
    }

    /// The reference's own worked example.
    #[test]
    fn the_worked_example_comes_out_the_same() {
        let mut metrics = Metrics::new();
        let mut add = |name: &str, number: u8, value: &str, weight: i64, partitionable: bool| {
            let metric = Metric {
                name: name.into(),
                peer: peer(number),
                value: value.into(),
                expire: Timestamp::ZERO,
                valid: true,
                weight,
                partitionable,
                received_at: Timestamp::ZERO,
            };
            metrics.entry(name.into()).or_default().insert(peer(number), metric);
        };
        let regions = ["a-us", "a-us", "b-eu", "b-eu", "b-eu", "c-au", "c-au"];
        let zones = ["us1", "us2", "eu1", "eu1", "eu2", "au1", "au1"];
        let queues = [0, 0, 0, 0, 0, 0, -1];
        let space = [100, 500, 200, 400, 10, 50, 600];
        for (i, number) in (1..=7).enumerate() {
            add("region", number, regions[i], 0, true);
            add("az", number, zones[i], 0, true);
            add("pinqueue", number, &queues[i].to_string(), queues[i], true);
            add("freespace", number, &space[i].to_string(), space[i], false);
        }
        add("region", 8, "a-us", 0, true);

        let by = ["region", "az", "pinqueue", "freespace"].map(String::from);
        let expected = [6, 4, 2, 7, 5, 1, 3].map(peer);
        assert_eq!(order(&by, &metrics), expected);
    }
}
