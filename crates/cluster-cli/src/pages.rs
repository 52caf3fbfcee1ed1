//! What is made of the definition of a command line: completions for shells, and manual pages.

use clap::Command;
use clap_complete::Shell;
use std::io;
use std::path::Path;

/// Prints completions.
pub fn completions(shell: Shell, mut definition: Command) {
    let name = definition.get_name().to_owned();
    // Made in memory: the library panics when what it writes to fails, such as a pipe that is closed.
    let mut made = Vec::new();
    clap_complete::generate(shell, &mut definition, name, &mut made);
    print!("{}", String::from_utf8_lossy(&made));
}

/// Writes a manual page for the program, and for each command, into a folder that is made if it is not there.
///
/// # Errors
/// When that cannot be written.
pub fn manual(folder: &Path, definition: Command) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(definition, folder)
}
