//! `init`: a configuration and an identity.

use crate::cli::Init;
use crate::failure::{Doing, Failure};
use crate::prompt;
use cluster_component::config::Environment;
use cluster_node::config::{Configuration, RaftConfig, Secret, name_of};
use cluster_node::folder::Folder;
use cluster_node::identity::Identity;
use cluster_types::{Multiaddr, PeerId};

/// What is done when a variable turns out to be wrong, in the reference's words.
const OF_VARIABLES: &str = "applying environment variables to configuration";

/// The reference's stores, and ours.
const STORES: [&str; 5] = ["leveldb", "badger", "badger3", "pebble", "fjall"];

pub(crate) fn run(folder: &Folder, args: &Init, force: bool) -> Result<(), Failure> {
    let raft = match args.consensus.as_str() {
        "crdt" => None,
        "raft" => Some(RaftConfig::default()),
        _ => return Err(Failure::new("choosing consensus", "flag value must be set to 'raft' or 'crdt'")),
    };
    if !STORES.contains(&args.datastore.as_str()) {
        let text = "flag value must be set to 'leveldb', 'badger', 'badger3' or 'pebble'";
        return Err(Failure::new("choosing datastore", text));
    }
    let exists = folder.service_json().exists() || folder.identity_json().exists();
    let _lock = exists.then(|| folder.lock()).transpose().doing("obtaining execution lock")?;
    let question = "The configuration file will be overwritten. Continue? [y/n]: ";
    if folder.service_json().exists() && !args.force && !force && !prompt::confirm(question) {
        return Ok(());
    }
    let kind = if args.embedded { Configuration::new_embedded() } else { Configuration::new() };
    let mut configuration = Configuration { raft, ..kind };
    if args.randomports {
        configuration.randomize_ports().doing("randomizing ports")?;
    }
    let environment = Environment::of_process().doing(OF_VARIABLES)?;
    configuration.apply(&environment).doing(OF_VARIABLES)?;
    let source = args.source.as_deref().filter(|source| !source.is_empty());
    if args.custom_secret && source.is_none() {
        let text = prompt::line("Enter cluster secret (32-byte hex string): ").unwrap_or_default();
        configuration.cluster.secret = Secret::parse(&text).doing("parsing user-provided secret")?;
    }
    let peers = peers(args.peers.as_deref().unwrap_or(""))?;
    let names: Vec<PeerId> = peers.iter().filter_map(name_of).collect();
    configuration.trust_only(&names);
    match source {
        Some(url) => write_files(folder, &Configuration::text_of_source(url))?,
        None => write(folder, &configuration)?,
    }
    if names.len() < peers.len() {
        return Err(Failure::new("getting AddrInfos from peer multiaddresses", "invalid p2p multiaddr"));
    }
    write_peerstore(folder, &configuration.cluster.peerstore_file, &peers)
}

/// The addresses of a list. Whether they name peers is looked at later, as the reference does.
fn peers(list: &str) -> Result<Vec<Multiaddr>, Failure> {
    let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty());
    let parse = |text: &str| {
        let doing = format!("parsing peer multiaddress: {text}");
        cluster_types::address::parse(text).map_err(|e| Failure::of(doing, e))
    };
    texts.map(parse).collect()
}

fn write_peerstore(folder: &Folder, file: &str, peers: &[Multiaddr]) -> Result<(), Failure> {
    let path = folder.write_peers(file, peers).doing("saving peers to peerstore")?;
    match peers.len() {
        0 => eprintln!("new empty peerstore written to {}.", path.display()),
        count => eprintln!("peerstore written to {} with {count} entries.", path.display()),
    }
    Ok(())
}

/// Writes both files; an identity that is there stays.
pub(super) fn write(folder: &Folder, configuration: &Configuration) -> Result<(), Failure> {
    configuration.validate().doing("generating default configuration")?;
    write_files(folder, &configuration.to_text())
}

fn write_files(folder: &Folder, text: &str) -> Result<(), Failure> {
    folder.create().doing("saving default configuration")?;
    folder.write_private(&folder.service_json(), text).doing("saving default configuration")?;
    eprintln!("configuration written to {}.", folder.service_json().display());
    if !folder.identity_json().exists() {
        let identity = new_identity()?;
        folder.write_private(&folder.identity_json(), &identity.to_text()).doing("saving identity.json")?;
        eprintln!("new identity written to {}", folder.identity_json().display());
    }
    Ok(())
}

/// A new identity, or the one that both variables give.
fn new_identity() -> Result<Identity, Failure> {
    let doing = "applying environment variables to the identity";
    let environment = Environment::of_process().doing(doing)?;
    match (environment.get("CLUSTER_ID"), environment.get("CLUSTER_PRIVATEKEY")) {
        (Some(id), Some(key)) => Identity::from_texts(id, key).doing(doing),
        _ => Identity::generate().doing("generating an identity"),
    }
}
