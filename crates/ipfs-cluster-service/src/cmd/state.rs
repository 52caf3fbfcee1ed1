//! `state`: the pinset of a peer that is not running.

use super::daemon::{load, load_identity};
use crate::cli::{Import, State};
use crate::failure::{Doing, Failure};
use crate::prompt;
use cluster_node::folder::Folder;
use cluster_node::state::{Offline, Overrides};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

pub(crate) fn run(folder: &Folder, command: State) -> Result<(), Failure> {
    match command {
        State::Export { file } => export(folder, file.as_deref()),
        State::Import(args) => import(folder, &args),
        State::Cleanup { force } => cleanup(folder, force),
    }
}

fn open(folder: &Folder, doing: &'static str) -> Result<Offline, Failure> {
    let configuration = load(folder)?;
    Offline::open(&configuration, folder).doing(doing)
}

fn export(folder: &Folder, file: Option<&Path>) -> Result<(), Failure> {
    let doing = "exporting state";
    let _lock = folder.lock().doing("obtaining execution lock")?;
    let state = open(folder, doing)?;
    let out: Box<dyn Write> = match file {
        Some(path) => Box::new(
            File::create(path).map_err(|e| format!("open {}: {e}", path.display())).doing("creating export file")?,
        ),
        None => Box::new(io::stdout().lock()),
    };
    let mut out = BufWriter::with_capacity(1 << 20, out);
    state.export(&mut out).doing(doing)?;
    out.flush().doing(doing)?;
    tracing::info!("state successfully exported");
    Ok(())
}

fn import(folder: &Folder, args: &Import) -> Result<(), Failure> {
    let question = "The pinset (state) of this peer will be replaced. Continue? [y/n]: ";
    if !args.force && !prompt::confirm(question) {
        return Ok(());
    }
    let doing = "importing state";
    let _lock = folder.lock().doing("obtaining execution lock")?;
    let input: Box<dyn Read> = match &args.file {
        Some(path) => Box::new(
            File::open(path).map_err(|e| format!("open {}: {e}", path.display())).doing("reading import file")?,
        ),
        None => {
            println!("reading from stdin, Ctrl-D to finish");
            Box::new(io::stdin().lock())
        }
    };
    let overrides = Overrides::new(args.replication_min, args.replication_max, &args.allocations).doing(doing)?;
    let configuration = load(folder)?;
    let me = load_identity(folder)?.id();
    // As the reference: under raft the cluster begins with the peers of the peerstore and this one.
    let known = folder.peers_in(&configuration.cluster.peerstore_file);
    let members = known.into_iter().filter(|_| !args.alone).chain([me]).collect();
    let mut state = Offline::open(&configuration, folder).doing(doing)?;
    let count = state.import(&mut BufReader::with_capacity(1 << 20, input), &overrides, &members).doing(doing)?;
    tracing::info!(pins = count, "state successfully imported.  Make sure all peers have consistent states");
    Ok(())
}

fn cleanup(folder: &Folder, force: bool) -> Result<(), Failure> {
    let question = "The peer state will be removed.  Existing pins may be lost. Continue? [y/n]: ";
    if !force && !prompt::confirm(question) {
        return Ok(());
    }
    let doing = "cleaning state";
    let _lock = folder.lock().doing("obtaining execution lock")?;
    open(folder, doing)?.clean().doing(doing)?;
    tracing::info!("data correctly cleaned up");
    Ok(())
}
