//! Whole clusters in simulated worlds: messages are late, lost, doubled and out of order, peers are cut off, crash with
//! the loss of what was not synced, and have wrong clocks. After each step what must always hold is checked, and after
//! healing what must hold then.
//!
//! A world that fails tells its seed: `CLUSTER_SIM_SEED=<seed> cargo test -p cluster-peer sim_replay` plays it again with
//! all lines of its history.

mod ledger;
mod peer;
mod scenarios;
mod world;

use world::{Planted, World};

/// How many seeds run if nobody says otherwise; `cargo xtask sim N` says so.
const SEEDS: u64 = 60;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Runs seeds on as many threads as there are cores; a world is on one thread.
fn run_seeds(first: u64, count: u64) -> Vec<String> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let run = |thread: u64| {
        let seeds = (first + thread..first + count).step_by(threads as usize);
        seeds.filter_map(|seed| World::new(seed, Planted::Nothing).live().err()).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a world does not panic")).collect()
    })
}

#[test]
fn sim_clusters_heal_and_lose_nothing() {
    let (first, count) = (number("CLUSTER_SIM_FIRST").unwrap_or(0), number("CLUSTER_SIM_CLUSTERS").unwrap_or(SEEDS));
    let failures = run_seeds(first, count);
    assert!(failures.is_empty(), "{} of {count} worlds failed:\n{}", failures.len(), failures.join("\n"));
    println!("{count} worlds from seed {first} on healed and lost nothing");
}

/// A simulation that does not replay is worse than none.
#[test]
fn sim_one_seed_has_one_history() {
    let history = |seed| {
        let mut world = World::new(seed, Planted::Nothing);
        world.keep_lines();
        let outcome = world.live();
        (outcome, world.mark())
    };
    for seed in [1, 2, 3] {
        let (first, second) = (history(seed), history(seed));
        assert!(first.1.lines().len() > 10, "a world has a history");
        assert_eq!(first.1.lines(), second.1.lines(), "seed {seed}");
        assert!(first == second, "seed {seed}: the same lines, and other steps between them");
    }
}

/// Each fault that is planted is noticed by some seed.
#[test]
fn sim_planted_faults_of_clusters_are_noticed() {
    for planted in [Planted::LyingDisk, Planted::Apart] {
        let noticed = (0..40).any(|seed| World::new(seed, planted).live().is_err());
        assert!(noticed, "{planted:?} was not noticed");
    }
}

#[test]
fn sim_replay() {
    let Some(seed) = number("CLUSTER_SIM_SEED") else { return };
    let mut world = World::new(seed, Planted::Nothing);
    world.keep_lines();
    let outcome = world.live();
    println!("{}", world.mark().lines().join("\n"));
    assert_eq!(outcome, Ok(()));
}
