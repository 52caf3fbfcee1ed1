//! Peers in networks of their own, to which things happen for as long as is asked for, while clients pin, unpin and read
//! at all of them: `cargo xtask faults` runs it for an hour, the tests here for three rounds.
//!
//! A round is a few seconds of random faults, their end, and then a look at everything: what was acknowledged is there
//! and what was unpinned is not, all peers have the same pinset, each daemon holds what is allocated to it and nothing
//! else, no process ended or panicked, and under raft what clients saw could have come from one copy of the pinset.
//! Everything is drawn from a seed that is printed; what processes make of it differs from run to run.

mod clients;
mod cluster;
mod figures;
mod items;
mod ledger;
mod plan;

use crate::apart;
use crate::peer::DEADLINE;
use clients::{Crowd, has_answered};
use cluster::Cluster;
use cluster_testkit::Chance;
use figures::Figures;
use plan::Plan;
use std::time::{Duration, Instant};

/// Rounds of a run that is not told how long.
const ROUNDS: usize = 3;

/// Longest that a raft cluster with a majority may acknowledge nothing, on a busy machine.
const WITHOUT_WRITES_MAX: Duration = Duration::from_secs(30);

/// What is asked for by the environment.
struct Wish {
    peers: usize,
    seed: u64,
    length: Option<Duration>,
}

impl Wish {
    fn of_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
        Self {
            peers: number("CLUSTER_FAULTS_PEERS").map_or(3, |peers| usize::try_from(peers).expect("few")),
            seed: number("CLUSTER_FAULTS_SEED").unwrap_or(1),
            length: number("CLUSTER_FAULTS_MINUTES").map(|minutes| Duration::from_secs(60 * minutes)),
        }
    }

    fn is_over(&self, rounds: usize, began: Instant) -> bool {
        self.length.map_or(rounds >= ROUNDS, |length| began.elapsed() >= length)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_raft_peers_survive_random_faults() {
    survive("raft", "faults::proc_raft_peers_survive_random_faults").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proc_crdt_peers_survive_random_faults() {
    survive("crdt", "faults::proc_crdt_peers_survive_random_faults").await;
}

async fn survive(consensus: &'static str, test: &str) {
    let wish = Wish::of_environment();
    if apart::skipped_among(wish.peers, test) {
        return;
    }
    eprintln!("{} {consensus} peers, seed {}", wish.peers, wish.seed);
    let mut cluster = Cluster::start(consensus, wish.peers);
    let (chance, mut figures) = (Chance::new(wish.seed), Figures::default());
    let crowd = Crowd::new(consensus, cluster.clients(), chance.next());
    let began = Instant::now();
    while !wish.is_over(figures.rounds, began) {
        let plan = Plan::draw(&chance, wish.peers, cluster.leader(), cluster.has_slow_links);
        if let Err(trouble) = round(&mut cluster, &crowd, &plan, &mut figures).await {
            cluster.tell_last_words();
            panic!("seed {}, round {}, {plan}: {trouble}\n{figures}", wish.seed, figures.rounds);
        }
        eprintln!("{:5.0} s  {plan}: {}", began.elapsed().as_secs_f64(), figures.of_round());
    }
    cluster.stop();
    println!(
        "{} {consensus} peers for {:.0} s, seed {}\n{figures}",
        wish.peers,
        began.elapsed().as_secs_f64(),
        wish.seed
    );
    if !cluster.has_slow_links {
        println!("links were never slow: this system has no netem");
    }
}

/// What happens, and a look at everything after it.
async fn round(cluster: &mut Cluster, crowd: &Crowd, plan: &Plan, figures: &mut Figures) -> Result<(), String> {
    let working = crowd.work();
    has_answered(&working, DEADLINE).await?;
    cluster.begin(plan);
    // It is the time that lets leases run out and connections break.
    tokio::time::sleep(plan.length).await;
    cluster.end(plan);
    has_answered(&working, DEADLINE).await?;
    let pause = working.end().await;
    figures.add(plan, &pause);
    if crowd.is_raft() && !plan.takes_the_majority() && pause.longest_silence > WITHOUT_WRITES_MAX {
        return Err(format!("nothing was acknowledged for {:?}", pause.longest_silence));
    }

    cluster.is_alive()?;
    figures.memory_peak(cluster.memory_peak());
    figures.agreed_after(cluster.agrees().await?);
    let pinsets = cluster.pinsets().await?;
    crowd.check(&pinsets).await?;
    cluster.daemons_hold_what_they_should().await?;
    crowd.forget_what_is_over().await;
    cluster.is_alive()
}
