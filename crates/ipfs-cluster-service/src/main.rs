//! `ipfs-cluster-service`: runs a peer, and keeps its configuration and state.

mod cli;
mod cmd;
mod failure;
mod prompt;

use crate::failure::Doing;
use clap::{CommandFactory, Parser};
use cluster_cli::args::as_defined;
use std::process::ExitCode;

fn main() -> ExitCode {
    cluster_cli::pipe::end_without_readers();
    let cli = cli::Cli::parse_from(as_defined(&cli::Cli::command(), std::env::args_os()));
    let logging = cluster_node::logging::start(cli.level()).doing("setting log levels");
    match logging.and_then(|()| cmd::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
