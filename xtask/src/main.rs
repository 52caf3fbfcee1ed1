//! Checks and chores of this repository: `cargo xtask ci | fix | tidy | sim | fuzz | faults | clients | docs | man | bench`.

mod bench;
mod ci;
mod clients;
mod faults;
mod tidy;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let verb = std::env::args().nth(1);
    match verb.as_deref() {
        Some("ci") => ci::ci(),
        Some("fix") => ci::fix(),
        Some("tidy") => tidy::run(),
        Some("sim") => {
            let mut numbers = std::env::args().skip(2);
            let count = numbers.next().context("say how many clusters: cargo xtask sim N [FIRST SEED]")?;
            ci::sim(&count, &numbers.next().unwrap_or_else(|| "0".into()))
        }
        Some("fuzz") => {
            let mut numbers = std::env::args().skip(2);
            let count = numbers.next().context("say how many inputs for each reader: cargo xtask fuzz N [FIRST]")?;
            ci::fuzz(&count, &numbers.next().unwrap_or_else(|| "0".into()))
        }
        Some("faults") => faults::faults(std::env::args().skip(2)),
        Some("clients") => clients::test(),
        Some("docs") => ci::docs(),
        Some("man") => ci::man(&std::env::args().nth(2).context("say where to: cargo xtask man FOLDER")?),
        Some("bench") => bench::bench(std::env::args().skip(2)),
        _ => bail!(
            "usage: cargo xtask VERB\n  ci    all checks, as they run before a change lands; writes nothing\n  \
             fix   formats, and mends what clippy can mend\n  tidy  the rules of this repository alone\n  \
             sim   simulates more clusters: COUNT [FIRST SEED]\n  \
             fuzz  gives more malformed inputs to the readers of what strangers send: COUNT [FIRST]\n  \
             faults   lets things happen to real peers: [--consensus raft|crdt] [--peers N] [--minutes N] [--seed N]\n  \
             clients  installs programs of others below `target`, and tests the peer with them\n  \
             docs  writes the pages that are made from the code\n  \
             man   writes manual pages and completions for packages: FOLDER\n  \
             bench figures of the real program: [--reference FOLDER] [--pins COUNT]"
        ),
    }
}
