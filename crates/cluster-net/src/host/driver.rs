//! The task that drives the swarm: one loop, which never waits for anything but the next thing to do.
//!
//! What it does is in the files beside this one, by concern.

use super::bandwidth::LOOK_EVERY;
use super::command::Command;
use super::dials::Dials;
use super::inbound::Served;
use super::keep::{DIAL_EVERY, Standing};
use super::{Shared, lock};
use crate::addresses::{Announce, Lasting, file, is_unnamed};
use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::dht::Table;
use crate::mdns::{Found, Mdns};
use crate::options::{Connections, Options, Reachability};
use cluster_component::tasks::TaskScope;
use cluster_types::{Multiaddr, PeerId};
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::gossipsub::IdentTopic;
use libp2p::swarm::{ConnectionId, ListenError, SwarmEvent};
use libp2p::{Swarm, ping};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

/// Strangers that are remembered, so that they are told of once.
const STRANGERS_MAX: usize = 1_024;

/// How long a stranger that turns up on the local network is not dialed again.
const STRANGER_FOR: Duration = Duration::from_secs(10 * 60);

/// Failures of pings that are reported before the connection is ended.
const SILENCES_MAX: u8 = 2;

/// Drives the swarm.
pub(super) struct Driver {
    pub(super) swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    pub(super) shared: Shared,
    pub(super) announce: Announce,
    served: Served,
    pub(super) dials: Dials,
    pub(super) mdns: Mdns,
    peerstore: Option<PathBuf>,
    pub(super) connections: Connections,
    /// Who is connected.
    pub(super) standing: BTreeMap<PeerId, Standing>,
    /// A member went away, perhaps not for long.
    gather_soon: bool,
    /// Addresses of unnamed peers that an operator wrote down.
    pub(super) unnamed: Vec<Multiaddr>,
    /// Connections whose pings fail.
    silent: HashMap<ConnectionId, u8>,
    /// How many known peers have been dialed, to go on with the next ones.
    pub(super) gathered: usize,
    /// From where we can be reached, once that is known.
    pub(super) reachability: Option<Reachability>,
    pub(super) reachability_is_forced: bool,
    /// Who relays for us.
    pub(super) relays: HashMap<ListenerId, PeerId>,
    /// Topics that the swarm listens to.
    pub(super) topics: BTreeMap<String, IdentTopic>,
    /// Where others have seen us.
    pub(super) observed: Vec<Multiaddr>,
    /// Who has another secret, and when that was last seen.
    strangers: BTreeMap<String, Instant>,
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl Driver {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        commands: mpsc::Receiver<Command>,
        shared: Shared,
        served: Served,
        options: &Options,
    ) -> Self {
        let mdns = Mdns::new(options.mdns, shared.me);
        let mut driver = Self {
            swarm,
            commands,
            shared,
            announce: Announce::new(&options.announce, &options.no_announce),
            served,
            dials: Dials::default(),
            mdns,
            peerstore: options.peerstore.clone(),
            connections: options.connections,
            standing: BTreeMap::new(),
            gather_soon: false,
            unnamed: options.peers.iter().filter(|address| is_unnamed(address)).cloned().collect(),
            silent: HashMap::new(),
            gathered: 0,
            reachability: None,
            reachability_is_forced: options.reachability.is_some(),
            relays: HashMap::new(),
            topics: BTreeMap::new(),
            observed: Vec::new(),
            strangers: BTreeMap::new(),
        };
        driver.tell_addresses();
        if let Some(reachability) = options.reachability {
            driver.set_reachability(reachability);
        }
        driver
    }

    /// Until the scope is told to stop.
    pub(super) async fn run(mut self, tasks: TaskScope) {
        let stopping = tasks.stopping();
        let topics = self.shared.topics.clone();
        let (mut look, mut gather) = (every(LOOK_EVERY), every(DIAL_EVERY));
        self.follow_topics();
        loop {
            // The end first; then what is ours, which is little; then the network.
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                () = topics.changed() => self.follow_topics(),
                Some(command) = self.commands.recv() => self.obey(command),
                _ = look.tick() => {
                    self.shared.rates.look(Instant::now());
                    self.trim();
                    if std::mem::take(&mut self.gather_soon) {
                        self.gather();
                    }
                }
                _ = gather.tick() => self.gather(),
                found = self.mdns.found() => self.on_found(found),
                event = self.swarm.select_next_some() => self.on_event(event, &tasks),
            }
        }
        self.keep_addresses();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Connect { peer, addresses, reply } => self.connect(peer, addresses, reply),
            Command::Open { peer, protocols, reply } => self.swarm.behaviour_mut().streams.open(peer, protocols, reply),
            Command::Publish { topic, data, reply } => {
                let _caller_is_gone = reply.send(self.publish(topic, data));
            }
            Command::Forget { peer, reply } => {
                lock(&self.shared.book).forget(&peer);
                let _not_connected = self.swarm.disconnect_peer_id(peer);
                let _caller_is_gone = reply.send(());
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>, tasks: &TaskScope) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event, tasks),
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } => {
                let address = endpoint.get_remote_address().clone();
                tracing::debug!(peer = %peer_id, %address, "connected");
                self.standing.entry(peer_id).or_insert_with(|| Standing::new(address, Instant::now()));
                self.dials.connected(&peer_id);
                self.trim();
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                self.silent.remove(&connection_id);
                if num_established == 0 {
                    let cause = cause.map(|cause| cause.to_string());
                    tracing::debug!(peer = %peer_id, cause, "no longer connected");
                    self.gather_soon |= self.standing.remove(&peer_id).is_some_and(|standing| standing.member);
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), connection_id, error } => {
                self.dial_failed(peer, connection_id, &error);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                self.on_refused(&send_back_addr, &error);
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => self.tell_addresses(),
            SwarmEvent::NewExternalAddrCandidate { address } => self.on_observed(address),
            SwarmEvent::ListenerClosed { listener_id, reason, addresses } => {
                if let Some(peer) = self.relays.remove(&listener_id) {
                    tracing::debug!(%peer, ?reason, "it no longer relays for this peer");
                } else if let Err(error) = reason {
                    tracing::error!(?addresses, %error, "no longer listened on");
                }
                self.tell_addresses();
            }
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent, tasks: &TaskScope) {
        match event {
            BehaviourEvent::Streams(inbound) => self.served.serve(tasks, inbound),
            BehaviourEvent::Gossipsub(event) => self.on_gossip(event),
            BehaviourEvent::Identify(event) => self.on_identify(event),
            BehaviourEvent::Lan(event) => self.on_table(Table::Lan, event),
            BehaviourEvent::Wan(event) => self.on_table(Table::Wan, event),
            BehaviourEvent::Autonat(event) => self.on_autonat(event),
            BehaviourEvent::RelayClient(event) => self.on_relay(&event),
            BehaviourEvent::Relay(event) => tracing::debug!(?event, "relaying"),
            BehaviourEvent::Dcutr(event) => self.on_hole_punch(&event),
            BehaviourEvent::Ping(event) => self.on_ping(&event),
            BehaviourEvent::Limits(never) | BehaviourEvent::Addresses(never) => match never {},
        }
    }

    /// Ends a connection whose other end has been silent for long. The library reports failures from the second in a
    /// row on.
    fn on_ping(&mut self, event: &ping::Event) {
        match &event.result {
            Ok(_) | Err(ping::Failure::Unsupported) => drop(self.silent.remove(&event.connection)),
            Err(error) => {
                tracing::debug!(peer = %event.peer, %error, "ping failed");
                let silences = self.silent.entry(event.connection).or_default();
                *silences += 1;
                if *silences >= SILENCES_MAX {
                    tracing::info!(peer = %event.peer, "it no longer answers: the connection is ended");
                    self.swarm.close_connection(event.connection);
                }
            }
        }
    }

    /// Somebody was found on the local network.
    fn on_found(&mut self, Found { peer, addresses }: Found) {
        let stranger = self.strangers.get(&peer.to_string());
        if stranger.is_some_and(|seen| seen.elapsed() < STRANGER_FOR) {
            return;
        }
        {
            let (mut book, now) = (lock(&self.shared.book), Instant::now());
            for address in addresses {
                book.add(peer, address, Lasting::Rumour, now);
            }
        }
        if !self.standing.contains_key(&peer) {
            self.connect_unasked(peer);
        }
    }

    fn on_refused(&mut self, address: &Multiaddr, error: &ListenError) {
        if cluster_transport::is_wrong_secret(error) {
            // Without the secret a peer has no name; its host has.
            let host: Multiaddr = address.iter().take(1).collect();
            self.tell_of_stranger(&host.to_string(), &cluster_transport::WrongSecret.to_string(), false);
        } else {
            tracing::debug!(%address, error = %cluster_transport::root_cause(error), "a connection came to nothing");
        }
    }

    /// Tells once that somebody has another secret. Only a peer that is meant to be one of us is worth a warning: other
    /// clusters on the same network are no fault.
    pub(super) fn tell_of_stranger(&mut self, who: &str, reason: &str, is_ours: bool) {
        if let Some(seen) = self.strangers.get_mut(who) {
            *seen = Instant::now();
            return;
        }
        if self.strangers.len() >= STRANGERS_MAX {
            return;
        }
        self.strangers.insert(who.to_owned(), Instant::now());
        if is_ours {
            tracing::warn!(peer = who, "not connected: {reason}");
        } else {
            tracing::info!(peer = who, "not connected: {reason}");
        }
    }

    /// Writes down where peers are, for the next start.
    fn keep_addresses(&self) {
        let Some(path) = &self.peerstore else { return };
        let known = lock(&self.shared.book).worth_remembering(Instant::now());
        if let Err(error) = file::write(path, &known) {
            tracing::warn!(file = %path.display(), %error, "the addresses of peers could not be written down");
        }
    }
}
