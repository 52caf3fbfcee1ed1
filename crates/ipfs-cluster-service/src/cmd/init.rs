//! `init`: a configuration and an identity.

use crate::cli::Init;
use crate::failure::{Doing, Failure};
use crate::prompt;
use cluster_component::config::Environment;
use cluster_node::config::{Configuration, RaftConfig, Secret};
use cluster_node::folder::Folder;
use cluster_node::identity::Identity;

pub(crate) fn run(folder: &Folder, args: &Init) -> Result<(), Failure> {
    let raft = match args.consensus.as_str() {
        "crdt" => None,
        "raft" => Some(RaftConfig::default()),
        _ => return Err(Failure::new("choosing consensus", "flag value must be set to 'raft' or 'crdt'")),
    };
    let exists = folder.service_json().exists() || folder.identity_json().exists();
    let _lock = exists.then(|| folder.lock()).transpose().doing("obtaining execution lock")?;
    let question = "The configuration file will be overwritten. Continue? [y/n]: ";
    if folder.service_json().exists() && !args.force && !prompt::confirm(question) {
        return Ok(());
    }
    let kind = if args.embedded { Configuration::new_embedded() } else { Configuration::new() };
    let mut configuration = Configuration { raft, ..kind };
    if args.randomports {
        configuration.randomize_ports().doing("randomizing ports")?;
    }
    configuration.apply(&Environment::of_process()).doing("applying environment variables to configuration")?;
    if args.custom_secret {
        let text = prompt::line("Enter cluster secret (32-byte hex string): ").unwrap_or_default();
        configuration.cluster.secret = Secret::parse(&text).doing("parsing user-provided secret")?;
    }
    write(folder, &configuration)
}

/// Writes both files; an identity that is there stays.
pub(super) fn write(folder: &Folder, configuration: &Configuration) -> Result<(), Failure> {
    configuration.validate().doing("generating default configuration")?;
    folder.create().doing("saving default configuration")?;
    folder.write_private(&folder.service_json(), &configuration.to_text()).doing("saving default configuration")?;
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
    match (std::env::var("CLUSTER_ID"), std::env::var("CLUSTER_PRIVATEKEY")) {
        (Ok(id), Ok(key)) => Identity::from_texts(&id, &key).doing("applying environment variables to the identity"),
        _ => Identity::generate().doing("generating an identity"),
    }
}
