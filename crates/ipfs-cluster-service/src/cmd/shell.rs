//! What is made of the definition of the command line: completions for shells, and manual pages.

use crate::cli::Cli;
use crate::failure::{Doing, Failure};
use clap::CommandFactory;
use std::path::Path;

/// Prints completions.
pub(crate) fn completions(shell: clap_complete::Shell) {
    // Made in memory: the library panics when what it writes to fails, such as a pipe that is closed.
    let mut made = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ipfs-cluster-service", &mut made);
    print!("{}", String::from_utf8_lossy(&made));
}

/// Writes a manual page for the program and for each command.
pub(crate) fn manual(folder: &Path) -> Result<(), Failure> {
    let doing = "writing manual pages";
    std::fs::create_dir_all(folder).doing(doing)?;
    clap_mangen::generate_to(Cli::command(), folder).doing(doing)
}
