//! The processes, what is done to them, and how they look from outside.

use super::plan::{Fault, Plan};
use crate::apart::{self, Apart};
use crate::peer::Peer;
use cluster_client::{Client, ClientError};
use cluster_types::{Cid, Pin};
use futures::TryStreamExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Peers that are whole again have the same pinset within this, and their daemons what it says, on a busy machine.
const AGREE_MAX: Duration = Duration::from_secs(120);

/// Most memory that a peer may take: with some hundred pins it takes a tenth of it.
const MEMORY_MAX: u64 = 1 << 30;

/// Lines of each peer's log that are told when something is wrong.
const LAST_WORDS: usize = 150;

/// Between two looks at all peers.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// States in which an item is on its way, or is not where it should be.
const UNSETTLED: &str = "error,queued,pinning,unpinning,unexpectedly_unpinned";

/// Peers in namespaces of their own, beside daemons that nothing happens to.
pub(super) struct Cluster {
    places: Vec<Apart>,
    peers: Vec<Peer>,
    /// What each of them said last.
    said: Vec<VecDeque<String>>,
    leader: Option<usize>,
    panicked: Option<String>,
    pub(super) has_slow_links: bool,
}

impl Cluster {
    pub(super) fn start(consensus: &str, count: usize) -> Self {
        let places = apart::several(count, &["--consensus", consensus], |number, file| {
            file["cluster"]["peername"] = json!(format!("peer{number}"));
        });
        let members: Vec<String> = places.iter().map(|apart| apart.place.id.clone()).collect();
        for apart in &places {
            let others = places.iter().map(|other| other.place.address.clone());
            let others: Vec<String> = others.filter(|address| *address != apart.place.address).collect();
            apart.place.configure(&others, |file| impatient(file, consensus, &members));
        }
        let peers = start_all(&places);
        let has_slow_links = apart::slow(1) && apart::unslow(1);
        let said = vec![VecDeque::new(); count];
        Self { places, peers, said, leader: None, panicked: None, has_slow_links }
    }

    /// One of each peer. Addresses stay as they are.
    pub(super) fn clients(&self) -> Vec<Client> {
        self.peers.iter().map(Peer::client).collect()
    }

    /// Who leads, as far as anybody said.
    pub(super) fn leader(&mut self) -> Option<usize> {
        self.listen();
        self.leader
    }

    /// Hears what the peers said since.
    fn listen(&mut self) {
        for (at, peer) in self.peers.iter().enumerate() {
            for line in peer.said_since() {
                let names = |apart: &Apart| line.contains("raft has a leader") && line.contains(&apart.place.id);
                self.leader = self.places.iter().position(names).or(self.leader);
                if line.contains("panicked") {
                    self.panicked.get_or_insert_with(|| format!("peer{}: {line}", at + 1));
                }
                self.said[at].push_back(line);
                if self.said[at].len() > LAST_WORDS {
                    self.said[at].pop_front();
                }
            }
        }
    }

    /// Shows what the peers said last.
    pub(super) fn tell_last_words(&mut self) {
        self.listen();
        for (at, lines) in self.said.iter().enumerate() {
            lines.iter().for_each(|line| eprintln!("peer{}: {line}", at + 1));
        }
    }

    pub(super) fn begin(&mut self, plan: &Plan) {
        // What they said is lost with the process.
        self.listen();
        for (at, fault) in &plan.faults {
            let others: Vec<usize> = plan.cut_from(*at, *fault).iter().map(|other| other + 1).collect();
            match fault {
                Fault::Killed => self.peers[*at].kill(),
                Fault::Halted => self.peers[*at].signal("STOP"),
                Fault::CutOff | Fault::Parted => apart::cut(at + 1, &others),
                Fault::Muted => apart::mute(at + 1, &others),
                Fault::Slowed => assert!(apart::slow(at + 1), "this system has slow links"),
            }
        }
    }

    /// Everything passes again, and everybody runs.
    pub(super) fn end(&mut self, plan: &Plan) {
        for (at, fault) in &plan.faults {
            let others: Vec<usize> = plan.cut_from(*at, *fault).iter().map(|other| other + 1).collect();
            match fault {
                Fault::Killed => {}
                Fault::Halted => self.peers[*at].signal("CONT"),
                Fault::CutOff | Fault::Parted => apart::mend(at + 1, &others),
                Fault::Muted => apart::unmute(at + 1, &others),
                Fault::Slowed => assert!(apart::unslow(at + 1), "this system has slow links"),
            }
        }
        let killed: Vec<usize> = plan.victims(Fault::Killed).collect();
        self.listen();
        // At the same time: of peers that were all killed, none is ready before most of them run.
        let again = std::thread::scope(|scope| {
            let starting =
                killed.iter().map(|at| (*at, &self.places[*at])).map(|(at, apart)| (at, scope.spawn(|| apart.start())));
            let starting: Vec<_> = starting.collect();
            starting.into_iter().map(|(at, peer)| (at, peer.join().expect("it starts"))).collect::<Vec<_>>()
        });
        for (at, peer) in again {
            self.peers[at] = peer;
        }
    }

    /// No process has ended by itself or panicked, and none takes too much memory.
    pub(super) fn is_alive(&mut self) -> Result<(), String> {
        self.listen();
        for (at, peer) in self.peers.iter_mut().enumerate() {
            if let Some(status) = peer.ended() {
                return Err(format!("peer{} ended by itself: {status}", at + 1));
            }
        }
        let memory = self.memory_peak();
        if memory > MEMORY_MAX {
            return Err(format!("a peer takes {} MiB of memory", memory >> 20));
        }
        self.panicked.clone().map_or(Ok(()), Err)
    }

    /// The most that one of them has had since its start, in bytes.
    pub(super) fn memory_peak(&self) -> u64 {
        self.peers.iter().filter_map(Peer::memory_peak).max().unwrap_or(0)
    }

    /// Returns after how long all peers had the same pinset.
    pub(super) async fn agrees(&self) -> Result<Duration, String> {
        let (begun, clients) = (Instant::now(), self.clients());
        loop {
            let mut digests = Vec::new();
            for client in &clients {
                let digest = tokio::time::timeout(AGREE_MAX, client.state_digest()).await;
                digests.push(digest.map_err(|_| "no answer".to_owned()).and_then(|digest| digest.map_err(text)));
            }
            if digests[0].is_ok() && digests.iter().all(|digest| *digest == digests[0]) {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > AGREE_MAX {
                return Err(format!("the peers do not agree after {AGREE_MAX:?}: {}", self.differences().await?));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What each peer has and the first has not or has otherwise, and the other way round.
    async fn differences(&self) -> Result<String, String> {
        let pinsets = self.pinsets().await?;
        let differences = pinsets.iter().enumerate().map(|(at, pinset)| {
            let differs = |one: &BTreeMap<Cid, Pin>, other: &BTreeMap<Cid, Pin>| {
                let pins = one.iter().filter(|(cid, pin)| other.get(cid) != Some(*pin));
                pins.map(|(_, pin)| format!("{pin:?}")).collect::<Vec<_>>()
            };
            let (has, lacks) = (differs(pinset, &pinsets[0]), differs(&pinsets[0], pinset));
            format!("\npeer{}: {} pins; has {has:#?}; lacks {lacks:#?}", at + 1, pinset.len())
        });
        Ok(differences.collect())
    }

    /// The pinset, as each peer has it.
    pub(super) async fn pinsets(&self) -> Result<Vec<BTreeMap<Cid, Pin>>, String> {
        let mut pinsets = Vec::new();
        for client in self.clients() {
            let pins: Vec<Pin> = client.allocations("").await.map_err(text)?.try_collect().await.map_err(text)?;
            pinsets.push(pins.into_iter().map(|pin| (pin.cid, pin)).collect());
        }
        Ok(pinsets)
    }

    /// Each daemon has what is allocated to its peer and nothing else, and every peer says so of all.
    pub(super) async fn daemons_hold_what_they_should(&self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let wrong = match self.wrong_daemon().await? {
                Some(wrong) => Some(wrong),
                None => self.unsettled().await?,
            };
            let Some(wrong) = wrong else { return Ok(()) };
            if begun.elapsed() > AGREE_MAX {
                return Err(format!("{wrong}, after {AGREE_MAX:?}"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn wrong_daemon(&self) -> Result<Option<String>, String> {
        let pinsets = self.pinsets().await?;
        Ok(self.places.iter().zip(&pinsets).find_map(|(apart, pinset)| {
            let is_here = |pin: &&Pin| {
                pin.allocations.is_empty() || pin.allocations.iter().any(|peer| peer.to_string() == apart.place.id)
            };
            let wanted: BTreeSet<String> = pinset.values().filter(is_here).map(|pin| pin.cid.to_string()).collect();
            let held = apart.place.kubo.world().recursive.clone();
            let (lacks, more) = (wanted.difference(&held).next(), held.difference(&wanted).next());
            let told = || format!("the daemon of {} lacks {lacks:?}, and has {more:?} for nothing", apart.place.id);
            (lacks.is_some() || more.is_some()).then(told)
        }))
    }

    async fn unsettled(&self) -> Result<Option<String>, String> {
        for client in self.clients() {
            let list = client.status_all(UNSETTLED, &[], false).await.map_err(text)?;
            let unsettled: Vec<_> = match list.try_collect().await {
                Ok(unsettled) => unsettled,
                // Peers that have just found each other again may not answer each other yet.
                Err(error) => return Ok(Some(error.to_string())),
            };
            if let Some(first) = unsettled.first() {
                return Ok(Some(format!("{} items are not settled, the first is {first:?}", unsettled.len())));
            }
        }
        Ok(None)
    }

    /// Stops all of them, in order.
    pub(super) fn stop(&mut self) {
        for peer in &mut self.peers {
            assert!(peer.stop().success());
        }
        self.listen();
        assert_eq!(self.panicked, None);
    }
}

fn text(error: ClientError) -> String {
    error.to_string()
}

fn start_all(places: &[Apart]) -> Vec<Peer> {
    std::thread::scope(|scope| {
        let starting: Vec<_> = places.iter().map(|apart| scope.spawn(|| apart.start())).collect();
        starting.into_iter().map(|peer| peer.join().expect("it starts")).collect()
    })
}

/// Peers that do not wait long for each other, and look often at what they have.
fn impatient(file: &mut Value, consensus: &str, members: &[String]) {
    let section = &mut file["consensus"][consensus];
    if consensus == "raft" {
        section["init_peerset"] = json!(members);
        section["network_timeout"] = json!("2s");
        // On a machine that is kept busy by others, messages are late by more than the second of the default: then nobody
        // is elected, since everybody wants to be.
        section["heartbeat_timeout"] = json!("3s");
        section["election_timeout"] = json!("3s");
        // So that snapshots are made, sent and taken up too.
        section["snapshot_threshold"] = json!(200);
        section["trailing_logs"] = json!(20);
    } else {
        section["trusted_peers"] = json!(["*"]);
        section["rebroadcast_interval"] = json!("5s");
    }
    file["cluster"]["monitor_ping_interval"] = json!("2s");
    file["cluster"]["state_sync_interval"] = json!("10s");
    file["cluster"]["pin_recover_interval"] = json!("10s");
    file["informer"]["disk"]["metric_ttl"] = json!("10s");
}
