//! `state`: the pinset of a peer that is not running.

use super::daemon::{load, load_identity};
use crate::cli::{Crdt, Import, State};
use crate::failure::{Doing, Failure};
use crate::prompt;
use cluster_component::errors::io_text;
use cluster_node::folder::Folder;
use cluster_node::state::{Offline, Overrides};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

pub(crate) fn run(folder: &Folder, command: State, forced: bool) -> Result<(), Failure> {
    match command {
        State::Crdt(command) => crdt(folder, command),
        State::Export { file, .. } => export(folder, file.as_deref()),
        State::Import(args) => import(folder, &args, forced || args.force),
        State::Cleanup { force } => cleanup(folder, forced || force),
    }
}

fn open(folder: &Folder, doing: &'static str) -> Result<Offline, Failure> {
    let configuration = load(folder)?;
    load_identity(folder)?;
    Offline::open(&configuration, folder).doing(doing)
}

fn export(folder: &Folder, file: Option<&Path>) -> Result<(), Failure> {
    let doing = "exporting state";
    let _lock = folder.lock().doing("obtaining execution lock")?;
    let configuration = load(folder)?;
    load_identity(folder)?;
    let mut out = output(file)?;
    let state = Offline::open(&configuration, folder).doing(doing)?;
    state.export(&mut out).doing(doing)?;
    out.flush().doing(doing)?;
    tracing::info!("state successfully exported");
    Ok(())
}

/// Where an export or a drawing goes.
fn output(file: Option<&Path>) -> Result<BufWriter<Box<dyn Write>>, Failure> {
    let out: Box<dyn Write> = match file {
        Some(path) => Box::new(File::create(path).map_err(|e| not_opened(path, &e)).doing("creating output file")?),
        None => Box::new(io::stdout().lock()),
    };
    Ok(BufWriter::with_capacity(1 << 20, out))
}

fn not_opened(path: &Path, error: &io::Error) -> String {
    format!("open {}: {}", path.display(), io_text(error))
}

fn crdt(folder: &Folder, command: Crdt) -> Result<(), Failure> {
    let _lock = folder.lock().doing("obtaining execution lock")?;
    let configuration = load(folder)?;
    load_identity(folder)?;
    if configuration.raft.is_some() {
        return Err(Failure::new("", "crdt subcommands can only be run on peers initialized with crdt consensus"));
    }
    let open = || Offline::open(&configuration, folder).doing("creating crdt node");
    match command {
        Crdt::Info => {
            let info = open()?.crdt_info().doing("creating crdt node")?;
            let heads: Vec<String> = info.heads.iter().map(ToString::to_string).collect();
            print!("Number of heads: {}. Current max-height: {}. ", heads.len(), info.max_height);
            print!("Dirty: {}\nHeads: [{}]", info.dirty, heads.join(" "));
            io::stdout().flush().doing("creating crdt node")
        }
        Crdt::Dot { file } => {
            let mut out = output(file.as_deref())?;
            open()?.crdt_draw(&mut out).doing("generating graph")?;
            out.flush().doing("generating graph")
        }
        Crdt::MarkDirty | Crdt::MarkClean => {
            let dirty = matches!(command, Crdt::MarkDirty);
            open()?.crdt_mark(dirty).doing("creating crdt node")?;
            println!("Datastore marked '{}'", if dirty { "dirty" } else { "clean" });
            Ok(())
        }
    }
}

fn import(folder: &Folder, args: &Import, force: bool) -> Result<(), Failure> {
    let question = "The pinset (state) of this peer will be replaced. Continue? [y/n]: ";
    if !force && !prompt::confirm(question) {
        return Ok(());
    }
    let doing = "importing state";
    let _lock = folder.lock().doing("obtaining execution lock")?;
    let mut input: Box<dyn Read> = match &args.file {
        Some(path) => Box::new(File::open(path).map_err(|e| not_opened(path, &e)).doing("reading import file")?),
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
    let count = state.import(&mut input, &overrides, &members).doing(doing)?;
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
