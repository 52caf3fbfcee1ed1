//! The checks, in order; the first that fails ends them.

use crate::{clients, tidy};
use anyhow::{Context, Result, bail};
use std::process::Command;
use std::time::{Duration, Instant};

/// Seeds of the simulations: enough to find what they are for, in seconds.
const SIM_SEEDS: &str = "1000";

/// Whole clusters that are simulated: about a minute on two cores.
const SIM_CLUSTERS: &str = "2000";

/// Simulates so many clusters, from a seed on.
pub(crate) fn sim(count: &str, first: &str) -> Result<()> {
    let variables = [("CLUSTER_SIM_CLUSTERS", count), ("CLUSTER_SIM_FIRST", first)];
    let args = ["test", "--locked", "-p", "cluster-peer", "--test", "it", "sim_clusters", "--", "--nocapture"];
    cargo(&args, &variables)
}

/// Hands so many changed inputs, from a number on, to each reader of what strangers send.
pub(crate) fn fuzz(count: &str, first: &str) -> Result<()> {
    let variables = [("CLUSTER_FUZZ_COUNT", count), ("CLUSTER_FUZZ_FIRST", first)];
    for package in ["dag", "bitswap", "cluster-http"] {
        let args = ["test", "--release", "--locked", "-p", package, "fuzz_", "--", "--nocapture"];
        cargo(&args, &variables)?;
    }
    Ok(())
}

/// Runs every check.
pub(crate) fn ci() -> Result<()> {
    let begun = Instant::now();
    let mut times = Vec::new();
    step(&mut times, "format", || cargo(&["fmt", "--all", "--check"], &[]))?;
    step(&mut times, "clippy", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])
    })?;
    step(&mut times, "tidy", tidy::run)?;
    // The programs first: tests drive them.
    step(&mut times, "build", || cargo(&["build", "--workspace", "--locked", "--bins"], &[]))?;
    let mut clients = String::new();
    step(&mut times, "clients", || {
        clients = clients::install()?.display().to_string();
        Ok(())
    })?;
    step(&mut times, "test", || {
        let variables =
            [("CLUSTER_SIM_SEEDS", SIM_SEEDS), ("CLUSTER_SIM_CLUSTERS", SIM_CLUSTERS), (clients::VARIABLE, &clients)];
        cargo(&["test", "--workspace", "--locked"], &variables)
    })?;
    step(&mut times, "documentation", || {
        cargo(&["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")])
    })?;
    println!("\nall checks passed in {} s", begun.elapsed().as_secs());
    for (name, time) in times {
        println!("  {name:<14} {:>5} s", time.as_secs());
    }
    Ok(())
}

/// Writes the pages that are made from the code. Tests fail when they are stale.
pub(crate) fn docs() -> Result<()> {
    page("docs/config.md", &["ipfs-cluster-service", "--", "config", "reference"])?;
    page("docs/openapi.json", &["ipfs-cluster-service", "--", "config", "openapi"])
}

/// Writes manual pages and completions of all programs below `folder`, as packages want them.
pub(crate) fn man(folder: &str) -> Result<()> {
    let (pages, shells) = (format!("{folder}/man1"), format!("{folder}/completions"));
    std::fs::create_dir_all(&shells).with_context(|| format!("cannot make {shells}"))?;
    let run = |program: &str, args: &[&str]| {
        cargo(&[&["run", "--quiet", "--locked", "--package", program, "--"], args].concat(), &[])
    };
    for (program, man, completions) in [
        ("ipfs-cluster-ctl", "man", "completions"),
        ("ipfs-cluster-service", "man", "completions"),
        ("ipfs-cluster-follow", "--man", "--completions"),
    ] {
        run(program, &[man, &pages])?;
        for shell in ["bash", "fish", "zsh"] {
            page(&format!("{shells}/{program}.{shell}"), &[program, "--", completions, shell])?;
        }
    }
    Ok(())
}

/// Writes what a program of ours prints to a file.
fn page(path: &str, program: &[&str]) -> Result<()> {
    let made = Command::new("cargo").args(["run", "--quiet", "--locked", "--package"]).args(program).output();
    let made = made.with_context(|| format!("cannot make {path}"))?;
    if !made.status.success() {
        bail!("cannot make {path}:\n{}", String::from_utf8_lossy(&made.stderr));
    }
    std::fs::write(path, made.stdout).with_context(|| format!("cannot write {path}"))
}

/// Mends what can be mended without thought.
pub(crate) fn fix() -> Result<()> {
    cargo(&["fmt", "--all"], &[])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"], &[])
}

fn step(
    times: &mut Vec<(&'static str, Duration)>,
    name: &'static str,
    check: impl FnOnce() -> Result<()>,
) -> Result<()> {
    println!("\n== {name}");
    let begun = Instant::now();
    check().with_context(|| format!("the step `{name}` failed"))?;
    times.push((name, begun.elapsed()));
    Ok(())
}

pub(crate) fn cargo(args: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status =
        Command::new(cargo).args(args).envs(variables.iter().copied()).status().context("cargo cannot be run")?;
    if !status.success() {
        bail!("cargo {} ended with {status}", args.join(" "));
    }
    Ok(())
}
