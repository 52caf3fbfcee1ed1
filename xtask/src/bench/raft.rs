//! Three peers with raft on this machine: orders at the leader, and at one that has to ask it.

use super::{Contestant, Figure, Peer, Process, START_MAX, Tools};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::time::{Duration, Instant};

const PEERS: usize = 3;

/// Of one load. So many times there is one at the leader, and then one at a follower.
const PINS: usize = 10_000;
const TIMES: usize = 3;

pub(super) fn measure(contestant: &Contestant, tools: &Tools) -> Result<Vec<Figure>> {
    eprintln!("measuring {PEERS} peers with raft");
    let kubos = (0..PEERS).map(|_| Process::fake_kubo(tools)).collect::<Result<Vec<_>>>()?;
    let peers = kubos.iter().map(|kubo| Peer::init(contestant, &kubo.address, &["--consensus", "raft"]));
    let mut peers = peers.collect::<Result<Vec<_>>>()?;
    introduce(&peers)?;
    for peer in &mut peers {
        let log = File::create(peer.log())?;
        peer.spawn(log.into())?;
    }
    let leader = leader(&peers)?;
    let follower = (leader + 1) % PEERS;
    let (mut figures, mut first) = (Vec::new(), 0);
    for time in 1..=TIMES {
        for (role, at) in [("leader", leader), ("follower", follower)] {
            let cpu = cpu_seconds(&peers)?;
            let text = tools.load(&[&peers[at].api, "pin", &PINS.to_string(), "64", &first.to_string()])?;
            peers.iter().try_for_each(Peer::wait_until_tracked)?;
            let each_ms = (cpu_seconds(&peers)? - cpu) * 1_000.0 / PINS as f64;
            let work = format!("raft, POST /pins at the {role}, 64 connections, {PINS} pins, {time}");
            figures.push(Figure::noted(&work, format!("{text}; {each_ms:.3} ms CPU of all three a pin")));
            first += PINS;
        }
    }
    Ok(figures)
}

fn cpu_seconds(peers: &[Peer]) -> Result<f64> {
    peers.iter().map(Peer::cpu_seconds).sum()
}

impl Peer {
    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }
}

/// Tells each peer where the others are, and that they found a cluster together.
fn introduce(peers: &[Peer]) -> Result<()> {
    let read = |peer: &Peer, name: &str| -> Result<Value> {
        Ok(serde_json::from_str(&fs::read_to_string(peer.folder.path().join("peer").join(name))?)?)
    };
    let (mut members, mut addresses) = (Vec::new(), Vec::new());
    for peer in peers {
        let id = read(peer, "identity.json")?["id"].as_str().context("an identity has an id")?.to_owned();
        let address = format!("/ip4/127.0.0.1/tcp/{}", super::free_port()?);
        addresses.push((address.clone(), format!("{address}/p2p/{id}")));
        members.push(id);
    }
    for (peer, (listen, own)) in peers.iter().zip(&addresses) {
        let mut file = read(peer, "service.json")?;
        let others: Vec<&String> = addresses.iter().map(|(_, address)| address).filter(|other| *other != own).collect();
        file["cluster"]["secret"] = json!("00".repeat(32));
        file["cluster"]["listen_multiaddress"] = json!([listen]);
        file["cluster"]["peer_addresses"] = json!(others);
        file["cluster"]["mdns_interval"] = json!("0s");
        file["consensus"]["raft"]["init_peerset"] = json!(members);
        fs::write(peer.folder.path().join("peer/service.json"), file.to_string())?;
    }
    Ok(())
}

/// Who leads, once all of them have everything.
fn leader(peers: &[Peer]) -> Result<usize> {
    let begun = Instant::now();
    loop {
        let logs = peers.iter().map(|peer| fs::read_to_string(peer.log())).collect::<std::io::Result<Vec<_>>>()?;
        let told = logs[0].lines().rev().find(|line| line.contains("raft has a leader"));
        if let Some(told) = told.filter(|_| logs.iter().all(|log| log.contains("IPFS Cluster is READY"))) {
            let ids = peers.iter().map(|peer| fs::read_to_string(peer.folder.path().join("peer/identity.json")));
            for (at, identity) in ids.enumerate() {
                let identity: Value = serde_json::from_str(&identity?)?;
                if identity["id"].as_str().is_some_and(|id| told.contains(id)) {
                    return Ok(at);
                }
            }
        }
        ensure!(begun.elapsed() < START_MAX, "the peers do not elect a leader");
        std::thread::sleep(Duration::from_millis(20));
    }
}
