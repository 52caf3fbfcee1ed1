//! `up`: the newcomer's command. Sets up a peer if there is none, runs it, and says what to do next.

use super::{daemon, init};
use crate::failure::{Doing, Failure};
use cluster_component::config::Environment;
use cluster_node::config::Configuration;
use cluster_node::folder::Folder;
use cluster_node::wiring::Node;
use cluster_types::Multiaddr;

pub(crate) fn run(folder: &Folder) -> Result<(), Failure> {
    if !folder.service_json().exists() {
        let mut configuration = new_configuration()?;
        let environment = Environment::of_process();
        let applied = environment.and_then(|environment| configuration.apply(&environment));
        applied.doing("applying environment variables to configuration")?;
        init::write(folder, &configuration)?;
    }
    daemon::run_then(folder, &daemon::Joining::default(), |node| {
        println!("{}", welcome(node, folder));
        std::future::ready(())
    })
}

/// With the Kubo that answers on its default port, or that the user names; with a node of its own if there is none.
fn new_configuration() -> Result<Configuration, Failure> {
    let named = std::env::var_os("CLUSTER_IPFSHTTP_NODEMULTIADDRESS").is_some();
    if named || cluster_node::kubo_answers().doing("looking for a Kubo")? {
        return Ok(Configuration::new());
    }
    let mut configuration = Configuration::new_embedded();
    configuration.yield_gateway_port().doing("finding a port for the gateway")?;
    Ok(configuration)
}

/// Which IPFS node it is, and how content is read back.
fn reading(node: &Node) -> (String, String) {
    match node.gateway_address().map(http_address) {
        Some(gateway) => (format!("a node of its own\n  gateway  {gateway}"), format!("curl {gateway}/ipfs/<CID>")),
        None => (node.daemon_address().to_owned(), "ipfs cat <CID>".to_owned()),
    }
}

/// `/ip4/127.0.0.1/tcp/8080` as browsers write it.
pub(super) fn http_address(address: &Multiaddr) -> String {
    let text = address.to_string();
    match text.split('/').collect::<Vec<_>>()[..] {
        ["", "ip6", ip, "tcp", port] => format!("http://[{ip}]:{port}"),
        ["", _, host, "tcp", port] => format!("http://{host}:{port}"),
        _ => text,
    }
}

/// What the user reads when the peer serves.
fn welcome(node: &Node, folder: &Folder) -> String {
    let (ipfs, read) = reading(node);
    let api = node.api_addresses().first().map(ToString::to_string).unwrap_or_default();
    let host = if api == "/ip4/127.0.0.1/tcp/9094" { String::new() } else { format!(" --host {api}") };
    let next = [
        (format!("ipfs-cluster-ctl{host} add -r <FOLDER>"), "add a folder and pin it"),
        (format!("ipfs-cluster-ctl{host} status"), "see how your pins stand"),
        (read, "read it back"),
    ];
    let width = next.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    let next: String = next.iter().map(|(command, what)| format!("  {command:<width$}    {what}\n")).collect();
    format!(
        "\nYour peer is up.\n\n  folder   {}\n  peer     {}\n  REST API {api}\n  IPFS     {ipfs}\n\n\
         In another terminal:\n\n{next}\nCtrl-C stops the peer; the same command starts it again.\n",
        folder.path().display(),
        node.id(),
    )
}
