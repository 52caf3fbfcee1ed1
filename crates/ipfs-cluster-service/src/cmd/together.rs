//! `up --peers N`: a cluster of several peers in one process, to try things out. Each peer has a folder, an IPFS node and
//! ports of its own; lines on standard input stop and start single ones.

use super::init;
use crate::failure::{Doing, Failure};
use cluster_component::config::{Environment, Strings};
use cluster_node::config::{Configuration, Secret};
use cluster_node::folder::{Folder, FolderLock};
use cluster_node::identity::Identity;
use cluster_node::run::Signals;
use cluster_node::wiring::Node;
use cluster_types::{GoDuration, Multiaddr};
use futures::FutureExt;
use futures::future::select_all;
use std::io::BufRead;
use tokio::sync::mpsc;

/// More peers than this tell no more than these.
pub(crate) const PEERS_MAX: u16 = 16;

/// Lines that may wait.
const LINES_MAX: usize = 16;

/// One of the peers.
struct Member {
    number: u16,
    folder: Folder,
    /// With what changes at each start: where the others are.
    configuration: Configuration,
    node: Option<Node>,
    _lock: FolderLock,
}

/// Runs so many peers until a signal says otherwise.
pub(crate) fn run(folder: &Folder, count: u16, randomports: bool) -> Result<(), Failure> {
    let mut members = Vec::new();
    for number in 1..=count {
        members.push(member(folder, number, randomports, &members)?);
    }
    introduce(&mut members)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().doing("starting cluster")?;
    runtime.block_on(async {
        let mut signals = Signals::new().doing("starting cluster")?;
        for member in &mut members {
            start(member).await?;
        }
        println!("{}", welcome(folder, &members));
        attend(&mut members, &mut signals).await?;
        tracing::info!("shutting down");
        for node in members.iter_mut().filter_map(|member| member.node.take()) {
            node.stop().await;
        }
        Ok(())
    })
}

/// A peer from its folder, which is set up if it is not there. All have the secret of the first.
fn member(folder: &Folder, number: u16, randomports: bool, others: &[Member]) -> Result<Member, Failure> {
    let folder = Folder::new(folder.path().join("peers").join(number.to_string()));
    if !folder.service_json().exists() {
        let secret = others.first().map(|first| first.configuration.cluster.secret.clone());
        let configuration = new_configuration(number, secret, randomports).doing("finding free ports")?;
        init::write(&folder, &configuration)?;
    }
    let lock = folder.lock().doing("obtaining execution lock")?;
    let configuration = Configuration::load(&folder, &Environment::default()).doing("loading configurations")?;
    Ok(Member { number, folder, configuration, node: None, _lock: lock })
}

/// The first peer has the default ports, the others free ones. A peer that is gone is noticed within seconds, and its
/// pins are given to others: that is what there is to see.
fn new_configuration(number: u16, secret: Option<Secret>, randomports: bool) -> std::io::Result<Configuration> {
    let mut configuration = Configuration::new_embedded();
    let cluster = &mut configuration.cluster;
    cluster.listen_multiaddress = Strings(vec!["/ip4/127.0.0.1/tcp/9096".into()]);
    cluster.peername = format!("peer{number}");
    cluster.secret = secret.unwrap_or_else(|| cluster.secret.clone());
    cluster.mdns_interval = GoDuration(0);
    cluster.disable_repinning = false;
    cluster.monitor_ping_interval = GoDuration::from_secs(2);
    cluster.state_sync_interval = GoDuration::from_secs(10);
    cluster.pubsub.heartbeat_interval = GoDuration::from_secs(1);
    configuration.monitor.check_interval = GoDuration::from_secs(2);
    configuration.crdt.rebroadcast_interval = GoDuration::from_secs(3);
    if number > 1 || randomports {
        configuration.randomize_ports()?;
    } else {
        configuration.yield_gateway_port()?;
    }
    Ok(configuration)
}

/// Tells each peer where the others are.
fn introduce(members: &mut [Member]) -> Result<(), Failure> {
    let mut addresses = Vec::new();
    for member in members.iter() {
        let id = identity(member)?.id();
        let listens = &member.configuration.cluster.listen_multiaddress.0;
        addresses.push(listens.iter().map(|address| format!("{address}/p2p/{id}")).collect::<Vec<String>>());
    }
    for (place, member) in members.iter_mut().enumerate() {
        let others = addresses.iter().enumerate().filter(|(other, _)| *other != place);
        member.configuration.cluster.peer_addresses = others.flat_map(|(_, addresses)| addresses.clone()).collect();
    }
    Ok(())
}

fn identity(member: &Member) -> Result<Identity, Failure> {
    Identity::load(&member.folder.identity_json(), None, None).doing("loading configurations")
}

async fn start(member: &mut Member) -> Result<(), Failure> {
    let (configuration, identity) = (member.configuration.clone(), identity(member)?);
    let node = Node::start(configuration, identity, member.folder.clone()).await;
    member.node = Some(node.doing("starting cluster")?);
    Ok(())
}

/// Does what the lines say, until a signal.
async fn attend(members: &mut [Member], signals: &mut Signals) -> Result<(), Failure> {
    let mut lines = lines();
    loop {
        // Order: a signal is an order; so is a line; a peer that ends by itself last.
        tokio::select! {
            biased;
            () = signals.next() => return Ok(()),
            Some(line) = lines.recv() => obey(&line, members).await?,
            place = first_ended(members) => {
                println!("peer {} was put out of the cluster and stops", members[place].number);
                if let Some(node) = members[place].node.take() {
                    node.stop_and_clean().await;
                }
            }
        }
    }
}

/// The place of the peer that should stop by itself.
async fn first_ended(members: &[Member]) -> usize {
    let running = members.iter().enumerate().filter_map(|(place, member)| {
        let node = member.node.as_ref()?;
        Some(node.ended().map(move |_| place).boxed_local())
    });
    let running: Vec<_> = running.collect();
    if running.is_empty() {
        return std::future::pending().await;
    }
    select_all(running).await.0
}

/// The lines of standard input. The thread that reads them ends with the process: nothing else ends a read.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

async fn obey(line: &str, members: &mut [Member]) -> Result<(), Failure> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ([verb @ ("stop" | "start"), number], true) = (words.as_slice(), words.len() == 2) else {
        if !words.is_empty() {
            println!("say `stop N` or `start N`, with the number of a peer");
        }
        return Ok(());
    };
    let Some(member) = members.iter_mut().find(|member| member.number.to_string() == *number) else {
        println!("there is no peer {number}");
        return Ok(());
    };
    match (*verb, member.node.take()) {
        ("stop", Some(node)) => {
            node.stop().await;
            println!("peer {number} is down");
        }
        ("start", None) => {
            start(member).await?;
            println!("peer {number} is up");
        }
        (_, node) => {
            println!("peer {number} is {} already", if node.is_some() { "up" } else { "down" });
            member.node = node;
        }
    }
    Ok(())
}

/// What the user reads when all peers serve.
fn welcome(folder: &Folder, members: &[Member]) -> String {
    let first = |addresses: Vec<Multiaddr>| addresses.first().map(ToString::to_string).unwrap_or_default();
    let row = |member: &Member| {
        let node = member.node.as_ref()?;
        let gateway = node.gateway_address().map(super::up::http_address).unwrap_or_default();
        Some(format!("  peer {:<2} REST API {}   gateway {gateway}\n", member.number, first(node.api_addresses())))
    };
    let rows: String = members.iter().filter_map(row).collect();
    let api = members.first().and_then(|member| member.node.as_ref()).map(|node| first(node.api_addresses()));
    let host = match api.unwrap_or_default() {
        api if api == "/ip4/127.0.0.1/tcp/9094" => String::new(),
        api => format!(" --host {api}"),
    };
    format!(
        "\nYour cluster of {} peers is up, all in this process.\n\n  folder  {}\n{rows}\nIn another terminal:\n\n  \
         ipfs-cluster-ctl{host} add -r --local --rmin 2 --rmax 2 <FOLDER>    add a folder and pin it at two peers\n  \
         ipfs-cluster-ctl{host} status    see who holds it\n\nHere: `stop 2` ends peer 2, and its pins go to others; \
         `start 2` brings it back. Ctrl-C stops all.\n",
        members.len(),
        folder.path().join("peers").display(),
    )
}
