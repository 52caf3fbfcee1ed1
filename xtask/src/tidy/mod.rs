//! The rules of this repository that no compiler knows. Each is a function of plain values, with a test that it can
//! fail.

mod files;
mod layers;

use anyhow::{Context, Result, bail};
use std::process::Command;

/// Checks every rule and tells all that is wrong.
pub(crate) fn run() -> Result<()> {
    let mut wrong = layers::check(&metadata()?)?;
    for path in tracked_files()? {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        wrong.extend(files::check(&path, &text));
    }
    if wrong.is_empty() {
        println!("tidy");
        return Ok(());
    }
    bail!("{}", wrong.join("\n"))
}

fn metadata() -> Result<serde_json::Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(["metadata", "--no-deps", "--locked", "--format-version", "1"]).output();
    serde_json::from_slice(&output.context("cargo metadata cannot be run")?.stdout).context("cargo metadata is no JSON")
}

fn tracked_files() -> Result<Vec<String>> {
    let output = Command::new("git").args(["ls-files"]).output().context("git cannot be run")?;
    let listed = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    Ok(listed.lines().map(str::to_owned).collect())
}
