//! `ipfs-cluster-follow`: peers that follow clusters of others. Each holds its part of a pinset and changes nothing of it.

mod args;
mod cmd;
mod failure;
mod follower;
mod help;
mod shell;

use args::Order;
use std::process::ExitCode;

fn main() -> ExitCode {
    cluster_cli::pipe::end_without_readers();
    let order = match args::read(std::env::args().skip(1), std::env::var_os("IPFS_CLUSTER_PATH")) {
        Ok(order) => order,
        Err(misuse) => {
            // As the reference: a usage error is told on standard output and is none.
            println!("Incorrect Usage: {misuse}\n\n{}", help::program());
            return ExitCode::SUCCESS;
        }
    };
    let done = match order {
        Order::Help(text) => {
            println!("{text}");
            Ok(())
        }
        Order::Version => {
            println!("ipfs-cluster-follow version {}", cluster_node::VERSION);
            Ok(())
        }
        Order::Completions(shell) => shell::completions(&shell),
        Order::Man(folder) => shell::manual(&folder),
        Order::Clusters(folder) => cmd::clusters::run(&folder),
        Order::Info(follower) => cmd::info::run(&follower),
        Order::Init { follower, url, gateway } => cmd::init::run(&follower, url.as_deref(), &gateway),
        Order::Run { follower, init, gateway, embedded } => {
            cmd::run::run(&follower, init.as_deref(), &gateway, embedded.as_deref())
        }
        Order::List(follower) => cmd::list::run(&follower),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
