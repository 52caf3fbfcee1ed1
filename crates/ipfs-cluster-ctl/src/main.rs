//! `ipfs-cluster-ctl`: the command line of people who run a cluster. Speaks only the public REST API.

mod cli;
mod cmd;
mod failure;
mod format;

use clap::{CommandFactory, Parser};
use cluster_cli::args::as_defined;
use std::process::ExitCode;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    cluster_cli::pipe::end_without_readers();
    let cli = match cli::Cli::try_parse_from(as_defined(&cli::Cli::command(), std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return cli::refuse(&error),
    };
    if cli.debug {
        let level = tracing_subscriber::filter::LevelFilter::DEBUG;
        let targets = tracing_subscriber::filter::Targets::new().with_target("cluster_client", level);
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
        tracing_subscriber::registry().with(lines.with_filter(targets)).init();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error starting: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(cmd::run(cli));
    // Reading standard input cannot be interrupted: do not wait for it.
    runtime.shutdown_background();
    code
}
