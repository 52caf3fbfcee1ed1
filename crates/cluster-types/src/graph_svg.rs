//! A picture of who is connected to whom, for people: an SVG that needs nothing but a browser.

use crate::{ConnectGraph, PeerId};
use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write as _;

/// How far a daemon is drawn from its peer.
const DAEMON_DISTANCE: f64 = 110.0;

/// Room for words around everything.
const MARGIN: f64 = 130.0;

const STYLE: &str = "\
text{font:12px sans-serif;text-anchor:middle;fill:#222}.small{font-size:10px;fill:#666}.legend{text-anchor:start}\
.peer{fill:#ffb347;stroke:#8a5a00}.self{stroke-width:4}.stranger{fill:#d2b48c}.lost{fill:#f4a6a6;stroke:#a00}\
.daemon{fill:#6cc7c7;stroke:#2a6f6f}.both{stroke:#3a7d34;stroke-width:2}.one{stroke:#d98200;stroke-width:2;stroke-dasharray:7 4}\
.none{stroke:#c00;stroke-width:1.5;stroke-dasharray:2 5}.own{stroke:#888}.swarm{stroke:#6cc7c7;stroke-width:1}";

/// Where something is drawn.
#[derive(Clone, Copy)]
struct Place {
    x: f64,
    y: f64,
}

/// How two nodes see each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    Both,
    One,
    None,
}

impl Sight {
    fn of(there: bool, back: bool) -> Self {
        match (there, back) {
            (true, true) => Self::Both,
            (false, false) => Self::None,
            _ => Self::One,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::One => "one",
            Self::None => "none",
        }
    }
}

/// Adds text to the picture. Writing to a text cannot fail.
macro_rules! draw {
    ($out:expr, $($arg:tt)*) => {{ let _cannot_fail = writeln!($out, $($arg)*); }};
}

/// Draws the peers in a circle, with a line between every two: green where they see each other, orange and dashed where
/// only one does, red and dotted where neither does. Each has its daemon outside of it.
#[must_use]
pub fn svg(graph: &ConnectGraph) -> String {
    let peers: Vec<PeerId> = graph.cluster_links.keys().copied().collect();
    let radius = (peers.len() as f64 * 26.0).max(120.0);
    let centre = radius + DAEMON_DISTANCE + MARGIN;
    let place = |(number, peer): (usize, &PeerId)| {
        let angle = TAU * (number as f64 / peers.len() as f64 - 0.25);
        let at = |distance: f64| Place { x: centre + distance * angle.cos(), y: centre + distance * angle.sin() };
        (*peer, (at(if peers.len() == 1 { 0.0 } else { radius }), at(radius + DAEMON_DISTANCE)))
    };
    let places: BTreeMap<PeerId, (Place, Place)> = peers.iter().enumerate().map(place).collect();
    let mut out = String::new();
    let (width, height) = (2.0 * centre, 2.0 * centre + 70.0);
    draw!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\">\n<title>Connections of the cluster, as {} sees them</title>\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
        name(graph, &graph.cluster_id)
    );
    draw_swarm(&mut out, graph, &places);
    draw_links(&mut out, graph, &peers, &places);
    for (peer, (place, daemon_place)) in &places {
        draw_daemon(&mut out, graph, peer, *place, *daemon_place);
        draw_peer(&mut out, graph, peer, *place);
    }
    draw_legend(&mut out, height - 55.0);
    out.push_str("</svg>\n");
    out
}

fn draw_links(out: &mut String, graph: &ConnectGraph, peers: &[PeerId], places: &BTreeMap<PeerId, (Place, Place)>) {
    let sees = |one: &PeerId, other: &PeerId| graph.cluster_links.get(one).is_some_and(|links| links.contains(other));
    for (number, one) in peers.iter().enumerate() {
        for other in &peers[number + 1..] {
            let sight = Sight::of(sees(one, other), sees(other, one));
            let (a, b) = (name(graph, one), name(graph, other));
            let words = match sight {
                Sight::Both => format!("{a} and {b} see each other"),
                Sight::None => format!("{a} and {b} do not see each other"),
                Sight::One if sees(one, other) => format!("{a} sees {b}, and {b} does not see {a}"),
                Sight::One => format!("{b} sees {a}, and {a} does not see {b}"),
            };
            draw_line(out, places[one].0, places[other].0, sight.class(), &words);
        }
    }
}

/// Connections between the daemons.
fn draw_swarm(out: &mut String, graph: &ConnectGraph, places: &BTreeMap<PeerId, (Place, Place)>) {
    let mut daemons: BTreeMap<PeerId, Place> = BTreeMap::new();
    for (peer, daemon) in &graph.cluster_to_ipfs {
        if let Some((_, place)) = places.get(peer) {
            daemons.insert(*daemon, *place);
        }
    }
    for (from, links) in &graph.ipfs_links {
        let known = links.iter().filter(|to| from < *to || !graph.ipfs_links.get(to).is_some_and(|l| l.contains(from)));
        for to in known {
            if let (Some(one), Some(other)) = (daemons.get(from), daemons.get(to)) {
                draw_line(out, *one, *other, "swarm", "the daemons are connected");
            }
        }
    }
}

fn draw_line(out: &mut String, from: Place, to: Place, class: &str, words: &str) {
    draw!(
        out,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"><title>{words}</title></line>",
        from.x,
        from.y,
        to.x,
        to.y
    );
}

fn draw_peer(out: &mut String, graph: &ConnectGraph, peer: &PeerId, place: Place) {
    let lost = !graph.id_to_peername.contains_key(peer);
    let trusted = graph.cluster_trust_links.get(peer).copied().unwrap_or(false);
    let kind = if lost {
        " lost"
    } else if trusted {
        ""
    } else {
        " stranger"
    };
    let own = if *peer == graph.cluster_id { " self" } else { "" };
    let state = if lost {
        "does not answer"
    } else if trusted {
        "trusted"
    } else {
        "not trusted"
    };
    draw!(
        out,
        "<circle class=\"peer{kind}{own}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"34\"><title>{peer}, {state}</title></circle>",
        place.x,
        place.y
    );
    draw!(out, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", place.x, place.y, name(graph, peer));
    draw!(out, "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", place.x, place.y + 14.0, short(peer));
}

fn draw_daemon(out: &mut String, graph: &ConnectGraph, peer: &PeerId, place: Place, daemon_place: Place) {
    let daemon = graph.cluster_to_ipfs.get(peer);
    let (class, label, line) = match daemon {
        Some(daemon) => ("daemon", short(daemon), "own"),
        None => ("daemon lost", "no answer".to_owned(), "none"),
    };
    draw_line(out, place, daemon_place, line, "the peer and its IPFS daemon");
    let (x, y) = (daemon_place.x, daemon_place.y);
    draw!(
        out,
        "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"84\" height=\"40\" rx=\"8\"><title>{}</title></rect>",
        x - 42.0,
        y - 20.0,
        daemon.map_or_else(|| "its IPFS daemon does not answer".to_owned(), ToString::to_string)
    );
    draw!(out, "<text x=\"{x:.1}\" y=\"{:.1}\">IPFS</text>", y - 2.0);
    draw!(out, "<text class=\"small\" x=\"{x:.1}\" y=\"{:.1}\">{label}</text>", y + 12.0);
}

fn draw_legend(out: &mut String, top: f64) {
    let rows = [("both", "see each other"), ("one", "only one sees the other"), ("none", "not connected")];
    for (number, (class, words)) in rows.iter().enumerate() {
        let y = top + 18.0 * number as f64;
        draw!(out, "<line class=\"{class}\" x1=\"20\" y1=\"{y:.0}\" x2=\"70\" y2=\"{y:.0}\"/>");
        draw!(out, "<text class=\"legend\" x=\"80\" y=\"{:.0}\">{words}</text>", y + 4.0);
    }
}

/// A peer's name, or what stands for it; fit to stand in XML.
fn name(graph: &ConnectGraph, peer: &PeerId) -> String {
    let name = graph.id_to_peername.get(peer).filter(|name| !name.is_empty());
    name.map_or_else(|| short(peer), |name| escape(name))
}

/// The first two and the last six letters, as the reference shortens names.
#[must_use]
pub fn short(peer: &PeerId) -> String {
    let text = peer.to_string();
    let tail = text.len().saturating_sub(6);
    format!("{}*{}", &text[..text.len().min(2)], &text[tail..])
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_tells_who_sees_whom() {
        let mut peers: [PeerId; 3] = std::array::from_fn(|_| PeerId::random());
        peers.sort_unstable();
        let [a, b, c] = peers;
        let daemon = PeerId::random();
        let graph = ConnectGraph {
            cluster_id: a,
            id_to_peername: [(a, "one".to_owned()), (b, "<two>".to_owned())].into(),
            ipfs_links: [(daemon, Vec::new())].into(),
            cluster_links: [(a, vec![b, c]), (b, vec![a]), (c, Vec::new())].into(),
            cluster_trust_links: [(a, true), (b, true), (c, true)].into(),
            cluster_to_ipfs: [(a, daemon)].into(),
        };

        let picture = svg(&graph);

        assert!(picture.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""), "{picture}");
        assert!(picture.contains("<title>one and &lt;two&gt; see each other</title>"), "{picture}");
        assert!(picture.contains(&format!("<title>one sees {0}, and {0} does not see one</title>", short(&c))));
        assert!(picture.contains("do not see each other</title>"));
        assert!(picture.contains(&format!("<title>{c}, does not answer</title>")));
        assert!(!picture.contains("<two>"), "names are escaped");
        assert_eq!(picture.matches("<circle").count(), 3);
    }
}
