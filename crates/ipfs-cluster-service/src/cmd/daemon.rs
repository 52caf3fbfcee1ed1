//! `daemon`: runs the peer until it is told to stop.

use crate::cli::Daemon;
use crate::failure::{Doing, Failure};
use cluster_component::config::Environment;
use cluster_component::errors::StartError;
use cluster_node::config::{Configuration, name_of};
use cluster_node::folder::Folder;
use cluster_node::identity::Identity;
use cluster_node::run::{self, Signals, Trouble};
use cluster_node::state::Offline;
use cluster_node::wiring::Node;
use cluster_types::Multiaddr;
use std::future::Future;

pub(crate) fn run(folder: &Folder, args: &Daemon) -> Result<(), Failure> {
    let joining = Joining { leave: args.leave, stats: args.stats, tracing: args.tracing, ..Joining::read(args)? };
    run_then(folder, &joining, |_| std::future::ready(()))
}

/// Who takes this peer in.
#[derive(Debug, Default)]
pub(super) struct Joining {
    addresses: Vec<Multiaddr>,
    distrust: bool,
    /// Whether this run leaves the cluster when it stops.
    leave: bool,
    /// Whether this run serves figures.
    stats: bool,
    /// Whether this run sends traces.
    tracing: bool,
}

impl Joining {
    fn read(args: &Daemon) -> Result<Self, Failure> {
        let mut addresses = Vec::new();
        for text in args.bootstrap.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            // As the reference, which says "error" twice.
            let doing = || format!("error parsing bootstrap multiaddress ({text})");
            let address = cluster_types::address::parse(text).map_err(|e| Failure::of(doing(), e))?;
            if name_of(&address).is_none() {
                return Err(Failure::of(doing(), "it does not end with /p2p/ and the name of a peer"));
            }
            addresses.push(address);
        }
        Ok(Self { addresses, distrust: args.no_trust, ..Self::default() })
    }
}

/// Runs the peer; `started` is called when it serves.
pub(super) fn run_then<F, Fut>(folder: &Folder, joining: &Joining, started: F) -> Result<(), Failure>
where
    F: FnOnce(&Node) -> Fut,
    Fut: Future<Output = ()>,
{
    let _lock = folder.lock().doing("obtaining execution lock")?;
    let mut configuration = load(folder)?;
    configuration.cluster.leave_on_shutdown |= joining.leave;
    if joining.stats {
        configuration.metrics.get_or_insert_default().enable_stats = true;
    }
    if joining.tracing {
        configuration.tracing.get_or_insert_default().enable_tracing = true;
    }
    let identity = load_identity(folder)?;
    if !joining.addresses.is_empty() {
        configuration.join(joining.addresses.clone(), joining.distrust);
        if configuration.raft.is_some() {
            // As the reference: a peer joins a raft cluster with nothing of its own; what it had is kept as a backup.
            let state = Offline::open(&configuration, folder).doing("cleaning raft state")?;
            state.make_room().doing("cleaning raft state")?;
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().doing("starting cluster")?;
    runtime.block_on(async {
        let mut signals = Signals::new().doing("starting cluster")?;
        let node = Node::start(configuration, identity, folder.clone()).await.map_err(not_started)?;
        started(&node).await;
        run::until_it_ends(node, &mut signals).await.map_err(|ended| match ended {
            Trouble::NotTakenIn(reason) => Failure::new("joining the cluster", reason),
            Trouble::Unusable(reason) => Failure::new("waiting for the pinset", reason),
            Trouble::Impatience => Failure::new("shutting down cluster", "exiting cluster NOW"),
        })
    })
}

/// In the reference's words for what was being done.
fn not_started(error: StartError) -> Failure {
    let doing = match error.component {
        "restapi" => "creating REST API component",
        "pinsvcapi" => "creating Pinning Service API component",
        "ipfsproxy" => "creating IPFS Proxy component",
        "ipfshttp" => "creating IPFS Connector component",
        "libp2p host" => "creating libp2p host",
        "datastore" => "creating datastore",
        "metrics" => "setting up Metrics",
        "tracing" => "setting up Tracing",
        "cluster" => "starting cluster",
        _ => return Failure::new("starting cluster", error),
    };
    Failure::new(doing, error.reason)
}

pub(super) fn load(folder: &Folder) -> Result<Configuration, Failure> {
    let environment = Environment::of_process();
    environment.and_then(|environment| Configuration::load(folder, &environment)).doing("loading configurations")
}

pub(super) fn load_identity(folder: &Folder) -> Result<Identity, Failure> {
    let doing = "loading configurations";
    let path = folder.identity_json();
    if !path.exists() {
        let text = std::fs::read_to_string(folder.service_json()).doing(doing)?;
        let found = Identity::of_old_configuration(&text);
        let found = found.map_err(|e| format!("error loading identity: {e}")).doing(doing)?;
        folder.write_private(&path, &found.to_text()).doing(doing)?;
        let service = folder.service_json();
        let (from, to) = (service.display(), path.display());
        eprintln!("\nNOTICE: identity information extracted from {from} and saved as {to}.\n");
    }
    let environment = Environment::of_process().doing(doing)?;
    Identity::load(&path, environment.get("CLUSTER_ID"), environment.get("CLUSTER_PRIVATEKEY")).doing(doing)
}
