//! `info`: where a follower's things are, and whether it and its daemon run.

use crate::failure::{Doing, Failure};
use crate::follower::{Follower, runtime};
use cluster_node::choice::ConnectorChoice;
use cluster_node::config::Configuration;
use cluster_node::{probe, source};

pub(crate) fn run(follower: &Follower) -> Result<(), Failure> {
    follower.must_be_initialized()?;
    let url = follower.source();
    let (configuration, found) = match follower.configuration() {
        Ok(configuration) => (configuration, format!("Available ({url})")),
        // Nobody answers there: that is part of the answer. Everything else is a failure.
        Err(error) if error.message.starts_with(source::UNREACHABLE) => {
            let mut configuration = Configuration::new();
            let environment = cluster_component::config::Environment::of_process();
            let applied = environment.and_then(|environment| configuration.apply(&environment));
            applied.map_err(|e| e.message).doing(follower.reading())?;
            (configuration, format!("failed retrieving configuration source ({url})"))
        }
        Err(error) => return Err(error.message).doing(follower.reading()),
    };
    let client = follower.client()?;
    let (peer, daemon) = runtime()?.block_on(async {
        let peer = client.version().await.is_ok();
        let daemon = match configuration.connector {
            ConnectorChoice::IpfsHttp(config) => probe::daemon(config).await.is_ok(),
            // It runs when the peer does.
            ConnectorChoice::Embedded(_) => peer,
        };
        (peer, daemon)
    });
    println!("Information about follower peer for Cluster \"{}\":\n", follower.name());
    println!("Config folder: {}", follower.folder().path().display());
    println!("Config source URL: {found}");
    println!("Cluster Peer online: {peer}");
    println!("IPFS peer online: {daemon}");
    Ok(())
}
