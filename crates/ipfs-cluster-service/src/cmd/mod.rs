//! The commands, one file each.

mod config;
mod daemon;
mod embedded;
mod init;
mod state;
mod together;
mod up;

pub(crate) use together::PEERS_MAX;

use crate::cli::{Cli, Command, Embedded, Up};
use crate::failure::{Doing, Failure};
use clap::CommandFactory;
use cluster_node::folder::Folder;
use std::path::PathBuf;

/// Runs the command.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let command = match cli.command {
        Command::Completions { shell } => {
            cluster_cli::pages::completions(shell, Cli::command());
            return Ok(());
        }
        Command::Man { folder } => {
            return cluster_cli::pages::manual(&folder, Cli::command()).doing("writing manual pages");
        }
        command => command,
    };
    let folder = folder(cli.config)?;
    match command {
        Command::Completions { .. } | Command::Man { .. } => Ok(()), // Done above: they need no folder.
        Command::Init(args) => init::run(&folder, &args, cli.force),
        Command::Daemon(args) => daemon::run(&folder, &args),
        Command::Up(Up { peers: Some(count), randomports }) => together::run(&folder, count, randomports),
        Command::Up(Up { peers: None, .. }) => up::run(&folder),
        Command::State(command) => state::run(&folder, command, cli.force),
        Command::Embedded(Embedded::Import(args)) => embedded::import(&folder, &args),
        Command::Config(command) => config::run(&folder, &command),
        Command::Version => {
            println!("{}", cluster_node::VERSION);
            Ok(())
        }
    }
}

/// The folder given, or `~/.ipfs-cluster`.
fn folder(given: Option<PathBuf>) -> Result<Folder, Failure> {
    let path = match given {
        Some(path) => path,
        None => {
            let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
            let text = "there is no home folder: say where with --config FOLDER or IPFS_CLUSTER_PATH";
            home.ok_or_else(|| Failure::new("finding the configuration folder", text))?.join(".ipfs-cluster")
        }
    };
    let absolute = std::path::absolute(&path).map_err(|e| Failure::new("finding the configuration folder", e))?;
    Ok(Folder::new(absolute))
}
