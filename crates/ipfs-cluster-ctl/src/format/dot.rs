//! Who is connected to whom as a graph for `dot`, to the letter of the reference.

use cluster_types::graph_svg::short;
use cluster_types::{ConnectGraph, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Adds a line. Writing to a text cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{ let _cannot_fail = writeln!($out, $($arg)*); }};
}

/// Names in the order of their text, as the reference sorts them.
fn sorted<'a>(peers: impl IntoIterator<Item = &'a PeerId>) -> Vec<PeerId> {
    let mut peers: Vec<PeerId> = peers.into_iter().copied().collect();
    peers.sort_by_cached_key(ToString::to_string);
    peers.dedup();
    peers
}

/// The names of nodes in the graph.
struct Nodes {
    peers: BTreeMap<PeerId, String>,
    daemons: BTreeMap<PeerId, String>,
    /// By the peer whose daemon does not answer.
    missing: BTreeMap<PeerId, String>,
}

/// Draws the graph. A link to a peer that has no node is left out.
pub(crate) fn dot(graph: &ConnectGraph, all_ipfs_peers: bool) -> String {
    let mut out = String::from(
        "digraph cluster {\n/* The nodes of the connectivity graph */\n/* The cluster-service peers */\nsubgraph  \
         {\nrank=\"min\"\n",
    );
    let mut nodes = Nodes { peers: BTreeMap::new(), daemons: BTreeMap::new(), missing: BTreeMap::new() };
    for (number, peer) in sorted(graph.cluster_links.keys()).into_iter().enumerate() {
        draw_peer(&mut out, graph, &mut nodes, peer, number);
    }
    out.push_str("}\n\n/* The ipfs peers */\nsubgraph  {\nrank=\"max\"\n");
    draw_daemons(&mut out, graph, &mut nodes, all_ipfs_peers);
    out.push_str("}\n\n/* Edges representing active connections in the cluster */\n");
    draw_edges(&mut out, graph, &nodes);
    out.push('}');
    out
}

fn draw_peer(out: &mut String, graph: &ConnectGraph, nodes: &mut Nodes, peer: PeerId, number: usize) {
    let own = peer == graph.cluster_id;
    let trusted = graph.cluster_trust_links.get(&peer).copied().unwrap_or(false);
    let name = format!("{}{number}", if trusted && !own { "T" } else { "C" });
    let color = if own || trusted { "orange" } else { "darkorange3" };
    let label = graph.id_to_peername.get(&peer).map_or("", String::as_str);
    let more = if own { "peripheries=\"2\" " } else { "" };
    line!(out, "{name} {}{more}]", attributes(label, &short(&peer), &peer, color, "box3d"));
    nodes.peers.insert(peer, name);
}

fn draw_daemons(out: &mut String, graph: &ConnectGraph, nodes: &mut Nodes, all: bool) {
    let mut known: BTreeSet<PeerId> = graph.ipfs_links.keys().copied().collect();
    if all {
        known.extend(graph.ipfs_links.values().flatten());
    }
    for (number, daemon) in sorted(&known).into_iter().enumerate() {
        let name = format!("I{number}");
        line!(out, "{name} {}]", attributes("IPFS", &short(&daemon), &daemon, "turquoise3", "cylinder"));
        nodes.daemons.insert(daemon, name);
    }
    let without = graph.cluster_links.keys().filter(|peer| !graph.cluster_to_ipfs.contains_key(peer));
    for peer in sorted(without) {
        let name = format!("I{}", nodes.daemons.len() + nodes.missing.len());
        line!(out, "{name} {}]", attributes("IPFS", "Errored", &peer, "firebrick1", "cylinder"));
        nodes.missing.insert(peer, name);
    }
}

fn attributes(name: &str, second: &str, group: &PeerId, color: &str, shape: &str) -> String {
    format!(
        "[label=< <B> {name} </B> <BR/> <B> {second} </B> > group=\"{group}\" color=\"{color}\" style=\"filled\" \
         colorscheme=\"x11\" fontcolor=\"black\" fontname=\"Arial\" shape=\"{shape}\" "
    )
}

fn draw_edges(out: &mut String, graph: &ConnectGraph, nodes: &Nodes) {
    out.push_str("/* The connections among cluster-service peers */\n");
    for peer in sorted(graph.cluster_links.keys()) {
        for to in graph.cluster_links[&peer].iter().filter_map(|to| nodes.peers.get(to)) {
            line!(out, "{} -> {to}", nodes.peers[&peer]);
        }
    }
    out.push_str("\n/* The connections between cluster peers and their ipfs daemons */\n");
    for peer in sorted(graph.cluster_links.keys()) {
        let daemon = graph.cluster_to_ipfs.get(&peer).and_then(|daemon| nodes.daemons.get(daemon));
        match (daemon, nodes.missing.get(&peer)) {
            (Some(daemon), _) => line!(out, "{} -> {daemon}", nodes.peers[&peer]),
            (None, Some(missing)) => line!(out, "{} -> {missing} [ style=\"dotted\" ]", nodes.peers[&peer]),
            (None, None) => {}
        }
    }
    out.push_str("\n/* The swarm peer connections among ipfs daemons in the cluster */\n");
    for daemon in sorted(graph.ipfs_links.keys()) {
        for to in graph.ipfs_links[&daemon].iter().filter_map(|to| nodes.daemons.get(to)) {
            line!(out, "{} -> {to}", nodes.daemons[&daemon]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> PeerId {
        text.parse().expect("a peer")
    }

    /// What the reference printed for a cluster of two.
    const EXPECTED: &str = r#"digraph cluster {
/* The nodes of the connectivity graph */
/* The cluster-service peers */
subgraph  {
rank="min"
C0 [label=< <B> peer0 </B> <BR/> <B> 12*zHrVji </B> > group="12D3KooWB2pyAPqKinENSFY7hmXwP69xfqNhzpvxvkqtFHzHrVji" color="orange" style="filled" colorscheme="x11" fontcolor="black" fontname="Arial" shape="box3d" peripheries="2" ]
T1 [label=< <B> peer1 </B> <BR/> <B> 12*corkaZ </B> > group="12D3KooWPcfh7QFj4XshFCQqpdrJ9trE6d6xHmDt7sGVzMcorkaZ" color="orange" style="filled" colorscheme="x11" fontcolor="black" fontname="Arial" shape="box3d" ]
}

/* The ipfs peers */
subgraph  {
rank="max"
I0 [label=< <B> IPFS </B> <BR/> <B> 12*gauK9T </B> > group="12D3KooWAreZ4X83KHAnoa41Lz4tGjK3JeGPAkTmng5fCTgauK9T" color="turquoise3" style="filled" colorscheme="x11" fontcolor="black" fontname="Arial" shape="cylinder" ]
I1 [label=< <B> IPFS </B> <BR/> <B> 12*BEiMPW </B> > group="12D3KooWCYjmDJM5HL9iNAgkttzXsJDTkCnUAhUWPxMqj6BEiMPW" color="turquoise3" style="filled" colorscheme="x11" fontcolor="black" fontname="Arial" shape="cylinder" ]
}

/* Edges representing active connections in the cluster */
/* The connections among cluster-service peers */
C0 -> T1
T1 -> C0

/* The connections between cluster peers and their ipfs daemons */
C0 -> I0
T1 -> I1

/* The swarm peer connections among ipfs daemons in the cluster */
I0 -> I1
I1 -> I0
}"#;

    fn two() -> ConnectGraph {
        let (a, b) = (
            peer("12D3KooWB2pyAPqKinENSFY7hmXwP69xfqNhzpvxvkqtFHzHrVji"),
            peer("12D3KooWPcfh7QFj4XshFCQqpdrJ9trE6d6xHmDt7sGVzMcorkaZ"),
        );
        let (i, j) = (
            peer("12D3KooWAreZ4X83KHAnoa41Lz4tGjK3JeGPAkTmng5fCTgauK9T"),
            peer("12D3KooWCYjmDJM5HL9iNAgkttzXsJDTkCnUAhUWPxMqj6BEiMPW"),
        );
        ConnectGraph {
            cluster_id: a,
            id_to_peername: [(a, "peer0".to_owned()), (b, "peer1".to_owned())].into(),
            ipfs_links: [(i, vec![j]), (j, vec![i])].into(),
            cluster_links: [(a, vec![b]), (b, vec![a])].into(),
            cluster_trust_links: [(a, true), (b, true)].into(),
            cluster_to_ipfs: [(a, i), (b, j)].into(),
        }
    }

    #[test]
    fn a_cluster_of_two_is_drawn_as_the_reference_draws_it() {
        assert_eq!(dot(&two(), false), EXPECTED);
    }

    #[test]
    fn a_peer_without_a_daemon_and_a_link_to_a_stranger_are_no_harm() {
        let mut graph = two();
        let (first, stranger) = (graph.cluster_id, PeerId::random());
        let daemon = graph.cluster_to_ipfs.remove(&first).expect("its daemon");
        graph.ipfs_links.remove(&daemon);
        graph.ipfs_links.values_mut().for_each(|links| links.push(stranger));
        graph.cluster_links.values_mut().for_each(|links| links.push(stranger));

        let drawn = dot(&graph, false);

        assert!(drawn.contains("<B> Errored </B> > group=\"12D3KooWB2p"), "{drawn}");
        assert!(drawn.contains("C0 -> I1 [ style=\"dotted\" ]\n"), "{drawn}");
        assert_eq!(drawn.matches("->").count(), 4, "{drawn}");
        assert!(dot(&graph, true).contains(&stranger.to_string()), "asked for, strangers are drawn");
    }
}
