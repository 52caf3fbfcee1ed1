//! Completions for shells, and the manual page. The command line is read by hand (`args`), so that it is described here once
//! more, for these two.

use crate::failure::{Doing, Failure};
use clap::{Arg, Command, ValueHint};
use std::path::Path;

const NAME: &str = "ipfs-cluster-follow";

fn definition() -> Command {
    let gateway =
        Arg::new("gateway").long("gateway").value_name("ADDRESS").help("Where the IPFS daemon serves content");
    let commands = [
        Command::new("init").about("Sets up a follower with the configuration at a URL").args([
            Arg::new("url").value_name("URL").value_hint(ValueHint::Url).help("Where the configuration is"),
            gateway.clone(),
        ]),
        Command::new("run").about("Runs it until it is stopped").args([
            Arg::new("init").long("init").value_name("URL").value_hint(ValueHint::Url).help("Set it up first"),
            Arg::new("embedded").long("embedded").num_args(0).help("With an IPFS node in the process"),
            Arg::new("space").long("space").value_name("SIZE").help("Most bytes of that node, such as 100GB"),
            gateway,
        ]),
        Command::new("info").about("Shows whether it runs, and where its configuration is"),
        Command::new("list").about("Lists its items"),
    ];
    Command::new(NAME)
        .version(cluster_node::VERSION)
        .about("Follows clusters of others: holds part of their pinsets, and changes nothing of them")
        .disable_help_subcommand(true)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FOLDER")
                .value_hint(ValueHint::DirPath)
                .help("Where the followers are"),
        )
        .arg(Arg::new("completions").long("completions").value_name("SHELL").help("Print completions for a shell"))
        .arg(Arg::new("cluster").value_name("CLUSTER").help("Which cluster"))
        .subcommands(commands)
}

/// Prints completions for a shell of this name.
pub(crate) fn completions(shell: &str) -> Result<(), Failure> {
    let known = shell.parse::<clap_complete::Shell>();
    let shell = known.map_err(|_| {
        Failure::new(format!("\"{shell}\" is no shell that is known: use bash, elvish, fish, powershell or zsh"))
    })?;
    cluster_cli::pages::completions(shell, definition());
    Ok(())
}

/// Writes the manual page into a folder.
pub(crate) fn manual(folder: &str) -> Result<(), Failure> {
    cluster_cli::pages::manual(Path::new(folder), definition()).doing("writing manual pages")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_consistent_and_has_every_command_of_the_help() {
        let described = definition();
        described.clone().debug_assert();

        for command in described.get_subcommands() {
            assert!(crate::help::program().contains(&format!("<cluster> {}", command.get_name())));
        }
    }
}
