//! Lets things happen to real peers for a long time: `cargo xtask faults [--consensus raft|crdt] [--peers N] [--minutes N]
//! [--seed N]`. The work is done by tests of `ipfs-cluster-service`, which run a little of it by themselves.

use crate::ci::cargo;
use anyhow::{Context, Result, bail};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    consensus: String,
    peers: u64,
    minutes: u64,
    seed: u64,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { consensus: "raft".into(), peers: 5, minutes: 60, seed: 1 };
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} wants a value"))?;
            let number = || value.parse::<u64>().with_context(|| format!("{flag} {value}: not a number"));
            match flag.as_str() {
                "--consensus" if ["raft", "crdt"].contains(&value.as_str()) => options.consensus = value,
                "--peers" => options.peers = number()?,
                "--minutes" => options.minutes = number()?,
                "--seed" => options.seed = number()?,
                _ => bail!("{flag} {value}: there are --consensus raft|crdt, --peers, --minutes and --seed"),
            }
        }
        if !(3..=99).contains(&options.peers) {
            bail!("--peers {}: of fewer than 3 none can fail, and more than 99 are not prepared for", options.peers);
        }
        Ok(options)
    }
}

/// Runs it; what happens is shown as it happens, and figures at the end.
pub(crate) fn faults(args: impl Iterator<Item = String>) -> Result<()> {
    let options = Options::parse(args)?;
    let (peers, minutes, seed) = (options.peers.to_string(), options.minutes.to_string(), options.seed.to_string());
    let variables = [
        ("CLUSTER_FAULTS_PEERS", peers.as_str()),
        ("CLUSTER_FAULTS_MINUTES", &minutes),
        ("CLUSTER_FAULTS_SEED", &seed),
        ("TEST_IS_WATCHED", "1"),
    ];
    let test = format!("faults::proc_{}_peers_survive_random_faults", options.consensus);
    let args =
        ["test", "--locked", "-p", "ipfs-cluster-service", "--test", "it", "--", "--exact", &test, "--nocapture"];
    cargo(&args, &variables)
}

#[test]
fn what_is_asked_for_is_read_and_nonsense_is_refused() {
    let parse = |text: &str| Options::parse(text.split_whitespace().map(str::to_owned));
    let asked = Options { consensus: "crdt".into(), peers: 3, minutes: 7, seed: 9 };
    assert_eq!(parse("--consensus crdt --peers 3 --minutes 7 --seed 9").expect("read"), asked);
    assert!(parse("--consensus paxos").is_err() && parse("--peers 2").is_err() && parse("--minutes soon").is_err());
}
