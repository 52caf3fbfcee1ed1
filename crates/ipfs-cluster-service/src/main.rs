//! `ipfs-cluster-service`: runs a peer, and keeps its configuration and state.

mod cli;
mod cmd;
mod failure;
mod logging;
mod prompt;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match logging::start(cli.level()).and_then(|()| cmd::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
