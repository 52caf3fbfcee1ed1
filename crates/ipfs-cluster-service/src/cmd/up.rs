//! `up`: the newcomer's command. Sets up a peer if there is none, runs it, and says what to do next.

use super::{daemon, init};
use crate::failure::{Doing, Failure};
use cluster_component::config::Environment;
use cluster_node::config::Configuration;
use cluster_node::folder::Folder;
use cluster_node::wiring::Node;

pub(crate) fn run(folder: &Folder) -> Result<(), Failure> {
    if !folder.service_json().exists() {
        let mut configuration = Configuration::new();
        configuration.apply(&Environment::of_process()).doing("applying environment variables to configuration")?;
        init::write(folder, &configuration)?;
    }
    daemon::run_then(folder, &daemon::Joining::default(), |node| {
        println!("{}", welcome(node, folder));
        std::future::ready(())
    })
}

/// What the user reads when the peer serves.
fn welcome(node: &Node, folder: &Folder) -> String {
    let api = node.api_addresses().first().map(ToString::to_string).unwrap_or_default();
    let host = if api == "/ip4/127.0.0.1/tcp/9094" { String::new() } else { format!(" --host {api}") };
    let ctl = format!("ipfs-cluster-ctl{host}");
    format!(
        "\nYour peer is up.\n\n  folder   {}\n  peer     {}\n  REST API {api}\n  IPFS     {}\n\n\
         In another terminal:\n\n  {ctl} add -r <FOLDER>    add a folder and pin it\n  {ctl} status             \
         see how your pins stand\n  ipfs cat <CID>           read it back\n\nCtrl-C stops the peer; the same command starts it again.\n",
        folder.path().display(),
        node.id(),
        node.daemon_address(),
    )
}
