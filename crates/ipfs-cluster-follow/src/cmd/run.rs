//! `run`: the follower itself.

use super::init;
use crate::failure::{Doing, Failure};
use crate::follower::{Follower, runtime};
use cluster_component::config::{Document, Environment, Strings};
use cluster_node::choice::ConnectorChoice;
use cluster_node::config::{Configuration, EmbeddedConfig, IpfsHttpConfig, RestApiConfig};
use cluster_node::identity::Identity;
use cluster_node::run::{Signals, until_it_ends};
use cluster_node::wiring::Node;
use cluster_node::{logging, probe};
use std::time::Duration;

/// So often the daemon is asked whether it is there, a second apart.
const TRIES: u32 = 120;

pub(crate) fn run(
    follower: &Follower,
    init: Option<&str>,
    gateway: &str,
    embedded: Option<&str>,
) -> Result<(), Failure> {
    match init {
        Some(_) if follower.is_initialized() => {
            println!("Configuration for this cluster already exists. Skipping initialization.");
            println!("If you wish to re-initialize, simply delete {}\n", follower.folder().path().display());
        }
        Some(url) => init::run(follower, Some(url), gateway)?,
        None => follower.must_be_initialized()?,
    }
    logging::start("info,restapilog:error").map_err(Failure::new)?;
    println!("Starting the IPFS Cluster follower peer for \"{}\".\nCTRL-C to stop it.", follower.name());
    if embedded.is_none() {
        wait_for_daemon()?;
    }
    let configuration = configuration(follower, embedded)?;
    let identity = identity(follower)?;
    let folder = follower.folder().clone();
    let _lock = folder.lock().map_err(Failure::new)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().doing("starting")?;
    runtime.block_on(async {
        let mut signals = Signals::new().doing("starting")?;
        let node = Node::start(configuration, identity, folder).await.doing("error creating cluster peer")?;
        until_it_ends(node, &mut signals).await.map_err(Failure::new)
    })
}

/// The daemon is waited for before the configuration is read, since that may lie on IPFS; so its address is that of the
/// variable, or the default.
fn wait_for_daemon() -> Result<(), Failure> {
    println!("Checking if IPFS is online (will wait for 2 minutes)...");
    let loaded = Environment::of_process().and_then(|environment| Document::new().load(&environment));
    let config: IpfsHttpConfig = loaded.map_err(|e| Failure::new(e.message))?.config;
    let address = config.node_multiaddress.clone();
    runtime()?.block_on(async {
        for attempt in 0..TRIES {
            if attempt % 10 == 0 {
                println!("waiting for IPFS to become available on {address}...");
            }
            if probe::daemon(config.clone()).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Err(Failure::new("timed out waiting for IPFS to be available"))
    })
}

/// The configuration that was given, and what a follower makes of it: it writes nothing, and its only API is a socket in
/// its folder, unless variables say otherwise.
fn configuration(follower: &Follower, embedded: Option<&str>) -> Result<Configuration, Failure> {
    let mut configuration = follower.configuration().map_err(|e| e.message).doing(follower.reading())?;
    if configuration.raft.is_some() {
        return Err("a follower needs consensus crdt, and this configuration has raft").doing(follower.reading());
    }
    if let Some(space) = embedded {
        let storage_max = if space.is_empty() { EmbeddedConfig::default().storage_max } else { space.to_owned() };
        // Several followers run side by side: none of them takes the port of a gateway.
        let config = EmbeddedConfig { storage_max, gateway_multiaddress: String::new(), ..EmbeddedConfig::default() };
        configuration.connector = ConnectorChoice::Embedded(config);
    }
    configuration.cluster.follower_mode = true;
    let listen = Strings(vec![follower.socket_address()]);
    configuration.restapi = Some(RestApiConfig { http_listen_multiaddress: listen, ..RestApiConfig::default() });
    // As the reference: a follower pins nothing for others.
    configuration.ipfsproxy = None;
    configuration.pinsvcapi = None;
    let doing = "error applying environmental variables to restapi configuration";
    let environment = Environment::of_process();
    environment.and_then(|environment| configuration.apply(&environment)).map_err(|e| e.message).doing(doing)?;
    Ok(configuration)
}

fn identity(follower: &Follower) -> Result<Identity, Failure> {
    let environment = Environment::of_process().map_err(|e| e.message).doing(follower.reading())?;
    let (id, key) = (environment.get("CLUSTER_ID"), environment.get("CLUSTER_PRIVATEKEY"));
    Identity::load(&follower.folder().identity_json(), id, key).doing(follower.reading())
}
