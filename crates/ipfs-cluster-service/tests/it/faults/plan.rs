//! What happens in a round, drawn by chance.

use cluster_testkit::Chance;
use std::fmt;
use std::time::Duration;

/// What happens to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// `kill -9`, and a new start when the round is over.
    Killed,
    /// It does nothing for a while (`SIGSTOP`), and knows nothing of it after.
    Halted,
    /// Nothing passes between it and any other.
    CutOff,
    /// Nothing passes between those that are parted and the others.
    Parted,
    /// What it sends does not arrive; what is sent to it does.
    Muted,
    /// Its link is slow, and loses packets.
    Slowed,
}

impl Fault {
    /// What happens to single peers; the last of it where links can be slow.
    const SINGLE: [Self; 5] = [Self::Killed, Self::Halted, Self::CutOff, Self::Muted, Self::Slowed];
}

/// A round's faults and how long they last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// By the number of the peer; each at most once.
    pub(super) faults: Vec<(usize, Fault)>,
    pub(super) length: Duration,
    peers: usize,
    leader: Option<usize>,
}

impl Plan {
    /// Draws faults of a minority, and now and then a kill of all peers at once.
    pub(super) fn draw(chance: &Chance, peers: usize, leader: Option<usize>, has_slow_links: bool) -> Self {
        let length = Duration::from_millis(1_000 + chance.below(7_000));
        if chance.per_mille(80) {
            let faults = (0..peers).map(|peer| (peer, Fault::Killed)).collect();
            return Self { faults, length: Duration::from_millis(10), peers, leader };
        }
        let kinds = Fault::SINGLE.len() - usize::from(!has_slow_links);
        let parted = chance.per_mille(150);
        let mut left: Vec<usize> = (0..peers).collect();
        let mut faults = Vec::new();
        for number in 0..=chance.place((peers - 1) / 2) {
            // Half of the time the one that matters most.
            let first = leader.filter(|_| number == 0 && chance.per_mille(500));
            let victim = first.unwrap_or_else(|| left[chance.place(left.len())]);
            left.retain(|peer| *peer != victim);
            let fault = Fault::SINGLE[chance.place(kinds)];
            faults.push((victim, if parted { Fault::Parted } else { fault }));
        }
        Self { faults, length, peers, leader }
    }

    /// Whether too few are left to elect a leader.
    pub(super) fn takes_the_majority(&self) -> bool {
        self.faults.len() > (self.peers - 1) / 2
    }

    /// The peers to whom this happens.
    pub(super) fn victims(&self, of: Fault) -> impl Iterator<Item = usize> {
        self.faults.iter().filter(move |(_, fault)| *fault == of).map(|(peer, _)| *peer)
    }

    /// To whom a peer cannot talk. Each way is named once.
    pub(super) fn cut_from(&self, peer: usize, fault: Fault) -> Vec<usize> {
        let is = |other: usize, kind: Fault| self.faults.contains(&(other, kind));
        let others = (0..self.peers).filter(|other| *other != peer);
        match fault {
            Fault::CutOff => others.filter(|other| !is(*other, Fault::CutOff) || *other > peer).collect(),
            Fault::Muted => others.filter(|other| !is(*other, Fault::CutOff)).collect(),
            Fault::Parted => others.filter(|other| !is(*other, Fault::Parted)).collect(),
            Fault::Killed | Fault::Halted | Fault::Slowed => Vec::new(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (peer, fault) in &self.faults {
            let role = if self.leader == Some(*peer) { " (leader)" } else { "" };
            write!(f, "{fault:?} peer{}{role}, ", peer + 1)?;
        }
        write!(f, "{:.1} s", self.length.as_secs_f64())
    }
}

#[test]
fn plans_name_each_peer_once_and_leave_a_majority_or_nobody() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..2_000 {
        let plan = Plan::draw(&Chance::new(seed), 5, Some(3), true);
        let mut peers: Vec<usize> = plan.faults.iter().map(|(peer, _)| *peer).collect();
        peers.sort_unstable();
        peers.dedup();
        assert_eq!(peers.len(), plan.faults.len(), "{plan}");
        assert!([1, 2, 5].contains(&peers.len()), "{plan}");
        assert_eq!(plan.takes_the_majority(), peers.len() == 5);
        seen.extend(plan.faults.iter().map(|(_, fault)| *fault));
        // No way is cut twice: mending it the second time would fail.
        let mut ways = std::collections::BTreeSet::new();
        for (peer, fault) in &plan.faults {
            for other in plan.cut_from(*peer, *fault) {
                assert!(ways.insert((*peer, other)), "{plan}");
                assert!(*fault == Fault::Muted || ways.insert((other, *peer)), "{plan}");
            }
        }
    }
    assert_eq!(seen.len(), Fault::SINGLE.len() + 1);
}
