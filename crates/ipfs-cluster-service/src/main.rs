//! `ipfs-cluster-service`: runs a peer, and keeps its configuration and state.

mod cli;
mod cmd;
mod failure;
mod prompt;

use crate::failure::Doing;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    cluster_node::pipe::end_without_readers();
    let cli = cli::Cli::parse();
    let logging = cluster_node::logging::start(cli.level()).doing("setting log levels");
    match logging.and_then(|()| cmd::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
