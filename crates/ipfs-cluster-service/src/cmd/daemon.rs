//! `daemon`: runs the peer until it is told to stop.

use crate::failure::{Doing, Failure};
use cluster_component::config::Environment;
use cluster_node::config::Configuration;
use cluster_node::folder::Folder;
use cluster_node::identity::Identity;
use cluster_node::wiring::Node;
use std::future::Future;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) fn run(folder: &Folder) -> Result<(), Failure> {
    run_then(folder, |_| std::future::ready(()))
}

/// Runs the peer; `started` is called when it serves.
pub(super) fn run_then<F, Fut>(folder: &Folder, started: F) -> Result<(), Failure>
where
    F: FnOnce(&Node) -> Fut,
    Fut: Future<Output = ()>,
{
    let _lock = folder.lock().doing("obtaining execution lock")?;
    let configuration = load(folder)?;
    let identity = load_identity(folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().doing("starting cluster")?;
    runtime.block_on(async {
        let mut signals = Signals::new().doing("starting cluster")?;
        let node = Node::start(configuration, identity, folder.clone()).await.doing("starting cluster")?;
        started(&node).await;
        signals.next().await;
        tracing::info!("shutting down");
        stop(node, &mut signals).await
    })
}

pub(super) fn load(folder: &Folder) -> Result<Configuration, Failure> {
    Configuration::load(folder, &Environment::of_process()).doing("loading configurations")
}

fn load_identity(folder: &Folder) -> Result<Identity, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let (id, key) = (variable("CLUSTER_ID"), variable("CLUSTER_PRIVATEKEY"));
    Identity::load(&folder.identity_json(), id.as_deref(), key.as_deref()).doing("loading configurations")
}

/// An orderly stop. The second signal warns, the third ends the process at once.
async fn stop(node: Node, signals: &mut Signals) -> Result<(), Failure> {
    let stopped = node.stop();
    tokio::pin!(stopped);
    let mut warned = false;
    loop {
        // Order: a finished stop before another signal.
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(()),
            () = signals.next() => {
                if warned {
                    return Err(Failure::new("shutting down cluster", "exiting cluster NOW"));
                }
                warned = true;
                let bar = "!".repeat(73);
                eprintln!("\n\n{bar}\nShutdown is taking too long! Press Ctrl-c again to manually kill cluster.");
                eprintln!("Note that this may corrupt the local cluster state.\n{bar}\n");
            }
        }
    }
}

/// The three signals that stop a peer, taken together.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        // Order does not matter: all three mean the same.
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
