//! Without a cluster: which ones are followed.

use crate::failure::Failure;
use std::path::Path;

pub(crate) fn run(folder: &Path) -> Result<(), Failure> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("service.json").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names.is_empty() {
        println!("No clusters configured yet!\n");
        println!("To follow one, run:  ipfs-cluster-follow <clusterName> init <config-url>");
        println!("To read more, run:   ipfs-cluster-follow --help");
        return Ok(());
    }
    println!("Configurations found for {} follower peers. For info and help, try running:\n", names.len());
    names.iter().for_each(|name| println!("ipfs-cluster-follow \"{name}\""));
    println!("\nTip: \"ipfs-cluster-follow --help\" for help and examples.");
    Ok(())
}
