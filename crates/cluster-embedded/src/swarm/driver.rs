//! The task that drives the swarm: one loop, which never waits for anything but the next thing to do.

use super::behaviour::{Behaviour, BehaviourEvent};
use super::config::{Dht, SwarmConfig, addresses, named_peers};
use super::dht::{self, Questions};
use super::gate::{self, Gate, Gated};
use super::{Command, Shared, lock};
use bitswap::{Bitswap, PROTOCOLS};
use cluster_component::tasks::TaskScope;
use cluster_transport::streams::Inbound;
use cluster_transport::{Kind, Options, Shares, kind};
use cluster_types::{Multiaddr, PeerId};
use futures::StreamExt;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Swarm, Transport, identify, ping};
use libp2p_identity::Keypair;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

/// Streams of one peer that are served at a time: one carries everything, and Kubo opens few.
const STREAMS_PER_PEER_MAX: usize = 16;

/// Streams of all peers that are served at a time: each may have a message of 4 MiB on its way.
const STREAMS_MAX: usize = 512;

/// Streams of one connection that may be agreeing on a protocol at a time; more wait in the multiplexer.
const NEGOTIATING_MAX: usize = 64;

/// How often peers are dialed that the node should be connected to and is not.
const DIAL_EVERY: Duration = Duration::from_secs(5);

/// How long those are dialed who gave blocks and went away, while anything is wanted.
const LOST_FOR: Duration = Duration::from_secs(600);

/// How many of those are remembered.
const LOST_MAX: usize = 64;

/// Failures of pings that are reported before the connection is ended. The library tells of the second in a row and
/// those after it.
const SILENCES_MAX: u8 = 2;

/// A peer that is connected.
struct Standing {
    since: Instant,
    /// Where it is connected, and whether it was dialed there.
    address: Multiaddr,
    dialed: bool,
    /// Where it can be reached.
    listens: Vec<Multiaddr>,
    /// Whether it gave blocks.
    gave: bool,
}

/// Drives the swarm.
pub(super) struct Driver {
    pub(super) swarm: Swarm<Behaviour>,
    gate: Arc<Gate>,
    commands: mpsc::Receiver<Command>,
    pub(super) shared: Arc<Shared>,
    bitswap: Arc<Bitswap>,
    shares: Shares,
    connections_max: usize,
    pub(super) wanted_dht: Dht,
    /// Whom it stays connected to.
    peers: BTreeMap<PeerId, Vec<Multiaddr>>,
    /// By whom it comes into the table.
    bootstrap: BTreeMap<PeerId, Vec<Multiaddr>>,
    /// What the table is being asked.
    pub(super) questions: Questions,
    /// Where it can be reached, as the operator says.
    announced: Vec<Multiaddr>,
    /// Dials that somebody waits for.
    dials: HashMap<ConnectionId, (PeerId, oneshot::Sender<Result<(), String>>)>,
    /// Who is connected.
    standing: BTreeMap<PeerId, Standing>,
    /// Who gave blocks and went away, and when.
    lost: BTreeMap<PeerId, (Instant, Vec<Multiaddr>)>,
    /// Connections whose pings fail.
    silent: HashMap<ConnectionId, u8>,
}

impl Driver {
    /// Makes the swarm and listens.
    pub(super) async fn bind(
        key: &Keypair,
        config: &SwarmConfig,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        bitswap: &Arc<Bitswap>,
    ) -> Result<Self, String> {
        let transport = cluster_transport::build(key, &Options::default(), None).map_err(|error| error.to_string())?;
        // Connections are for the driver to end.
        let with = libp2p::swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(Duration::from_secs(u64::MAX))
            .with_max_negotiating_inbound_streams(NEGOTIATING_MAX);
        let gate = Arc::<Gate>::default();
        let transport = Gated { connections: transport, gate: Arc::clone(&gate) }.boxed();
        let mut swarm = Swarm::new(transport, Behaviour::new(key, config), key.public().to_peer_id(), with);
        let announced = addresses(&config.announce_multiaddresses);
        let listened = addresses(&config.listen_multiaddresses);
        let setting = "ipfs_connector.embedded.swarm.listen_multiaddresses";
        cluster_transport::listen(&mut swarm, &listened, setting).await?;
        let mut driver = Self {
            swarm,
            gate,
            commands,
            shared,
            bitswap: Arc::clone(bitswap),
            shares: Shares::new(STREAMS_PER_PEER_MAX, STREAMS_MAX),
            connections_max: usize::try_from(config.connections_max).unwrap_or(usize::MAX),
            wanted_dht: config.dht,
            peers: named_peers(&config.peers),
            bootstrap: named_peers(&config.bootstrap),
            questions: Questions::default(),
            announced,
            dials: HashMap::new(),
            standing: BTreeMap::new(),
            lost: BTreeMap::new(),
            silent: HashMap::new(),
        };
        driver.tell_addresses();
        Ok(driver)
    }

    /// Until the scope is told to stop.
    pub(super) async fn run(mut self, tasks: TaskScope) {
        let stopping = tasks.stopping();
        let mut dial = tokio::time::interval(DIAL_EVERY);
        dial.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The end first; then what is ours, which is little; then the network.
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                Some(command) = self.commands.recv() => self.obey(command),
                _ = dial.tick() => {
                    self.remember_givers();
                    self.dial_peers();
                }
                event = self.swarm.select_next_some() => self.on_event(event, &tasks),
            }
        }
        lock(&self.shared.connected).clear();
        lock(&self.shared.speakers).clear();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Connect { peer, addresses, reply } => self.connect(peer, addresses, reply),
            Command::Open { peer, protocols, reply } => self.swarm.behaviour_mut().streams.open(peer, protocols, reply),
            Command::Find { cid } => self.find(cid),
            Command::Provide { cid, reply } => self.provide(cid, reply),
        }
    }

    fn connect(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, reply: oneshot::Sender<Result<(), String>>) {
        if self.swarm.is_connected(&peer) {
            let _caller_is_gone = reply.send(Ok(()));
            return;
        }
        self.dials.retain(|_, (_, waiting)| !waiting.is_closed());
        let options = DialOpts::peer_id(peer).addresses(addresses).condition(PeerCondition::Disconnected).build();
        let id = options.connection_id();
        match self.gate.through(|| self.swarm.dial(options)) {
            Ok(()) => drop(self.dials.insert(id, (peer, reply))),
            Err(error) => {
                let _caller_is_gone = reply.send(Err(error.to_string()));
            }
        }
    }

    /// Notes who gave blocks: when they go away it may be too late to ask.
    fn remember_givers(&mut self) {
        for giver in self.bitswap.givers() {
            if let Some(standing) = self.standing.get_mut(&giver) {
                standing.gave = true;
            }
        }
    }

    /// Dials those whom it stays connected to; those by whom it comes into the table while nobody is there; and those who
    /// gave blocks and went away, while more is wanted: a pin shall survive that a connection breaks.
    fn dial_peers(&mut self) {
        let alone = self.wanted_dht != Dht::Off && !self.is_in_table();
        let bootstrap = self.bootstrap.iter().filter(|_| alone);
        self.lost.retain(|_, (since, _)| since.elapsed() < LOST_FOR);
        let wanting = self.bitswap.is_wanting();
        let lost = self.lost.iter().filter(|_| wanting).map(|(peer, (_, addresses))| (peer, addresses));
        for (peer, addresses) in self.peers.iter().chain(bootstrap).chain(lost) {
            let options = DialOpts::peer_id(*peer)
                .addresses(addresses.clone())
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .build();
            match self.gate.through(|| self.swarm.dial(options)) {
                Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
                Err(error) => tracing::debug!(%peer, %error, "not dialed"),
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>, tasks: &TaskScope) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event, tasks),
            SwarmEvent::ConnectionEstablished { peer_id, num_established, endpoint, .. }
                if num_established.get() == 1 =>
            {
                self.connected(peer_id, endpoint.get_remote_address().clone(), endpoint.is_dialer());
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                self.silent.remove(&connection_id);
                if num_established == 0 {
                    let cause = cause.map(|cause| cause.to_string());
                    tracing::debug!(peer = %peer_id, cause, "no longer connected");
                    self.gone(peer_id);
                    lock(&self.shared.connected).remove(&peer_id);
                    lock(&self.shared.speakers).remove(&peer_id);
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id, connection_id, error } => {
                tracing::debug!(peer = ?peer_id, %error, "a dial failed");
                if let Some((_, reply)) = self.dials.remove(&connection_id) {
                    let _caller_is_gone = reply.send(Err(error.to_string()));
                }
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => self.tell_addresses(),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                if let Err(error) = reason {
                    tracing::error!(?addresses, %error, "the embedded IPFS node no longer listens there");
                }
                self.tell_addresses();
            }
            _ => {}
        }
    }

    fn gone(&mut self, peer: PeerId) {
        self.remember_givers();
        if let Some(Standing { listens, gave: true, .. }) = self.standing.remove(&peer)
            && !listens.is_empty()
            && self.lost.len() < LOST_MAX
        {
            self.lost.insert(peer, (Instant::now(), listens));
        }
    }

    fn connected(&mut self, peer: PeerId, address: Multiaddr, dialed: bool) {
        self.lost.remove(&peer);
        let standing = Standing { since: Instant::now(), address, dialed, listens: Vec::new(), gave: false };
        self.standing.insert(peer, standing);
        lock(&self.shared.connected).insert(peer);
        let waiting: Vec<ConnectionId> =
            self.dials.iter().filter(|(_, (other, _))| *other == peer).map(|(id, _)| *id).collect();
        for (_, reply) in waiting.iter().filter_map(|id| self.dials.remove(id)) {
            let _caller_is_gone = reply.send(Ok(()));
        }
        self.trim(peer);
    }

    /// Ends the oldest connections of too many, those to peers that gave blocks last. Whoever comes last stays: it may be
    /// one that is needed now.
    fn trim(&mut self, newest: PeerId) {
        let excess = self.standing.len().saturating_sub(self.connections_max);
        if excess == 0 {
            return;
        }
        let givers = self.bitswap.givers();
        let free = self.standing.iter().filter(|(peer, _)| **peer != newest && !self.peers.contains_key(peer));
        let mut free: Vec<(bool, Instant, PeerId)> =
            free.map(|(peer, standing)| (givers.contains(peer), standing.since, *peer)).collect();
        free.sort();
        for (_, _, peer) in free.into_iter().take(excess) {
            tracing::debug!(%peer, "disconnected: too many are connected");
            // It is not to be sought again, whatever it gave.
            if let Some(standing) = self.standing.get_mut(&peer) {
                standing.listens.clear();
            }
            let _not_connected = self.swarm.disconnect_peer_id(peer);
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent, tasks: &TaskScope) {
        match event {
            BehaviourEvent::Streams(inbound) => self.serve(inbound, tasks),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                let speaks = info.protocols.iter().any(|protocol| PROTOCOLS.contains(&protocol.as_ref()));
                let Some(standing) = self.standing.get_mut(&peer_id) else { return };
                if speaks {
                    lock(&self.shared.speakers).insert(peer_id);
                }
                let answers = info.protocols.contains(&dht::PROTOCOL);
                standing.listens = dht::to_note(&info.listen_addrs, &standing.address, standing.dialed);
                let noted = if answers { standing.listens.clone() } else { Vec::new() };
                self.note_in_table(peer_id, &noted);
            }
            BehaviourEvent::Identify(_) => {}
            BehaviourEvent::Ping(event) => self.on_ping(&event),
            BehaviourEvent::Dht(event) => self.on_table(event),
            BehaviourEvent::Limits(never) => match never {},
        }
    }

    /// Serves a stream. Without room it is dropped, which resets it.
    fn serve(&self, Inbound { peer, stream, .. }: Inbound, tasks: &TaskScope) {
        let Some(share) = self.shares.enter(peer) else {
            tracing::debug!(%peer, "too many streams are open: one more was reset");
            return;
        };
        let served = Arc::clone(&self.bitswap).serve(peer, stream);
        tasks.spawn_until_stopped("ipfs stream", async move {
            let _share = share;
            served.await;
        });
    }

    /// Ends a connection whose other end has been silent for long.
    fn on_ping(&mut self, event: &ping::Event) {
        match &event.result {
            Ok(_) | Err(ping::Failure::Unsupported) => drop(self.silent.remove(&event.connection)),
            Err(error) => {
                tracing::debug!(peer = %event.peer, %error, "ping failed");
                let silences = self.silent.entry(event.connection).or_default();
                *silences += 1;
                if *silences >= SILENCES_MAX {
                    self.swarm.close_connection(event.connection);
                }
            }
        }
    }

    /// Notes where this host can be reached, and what that means for its part in the table.
    fn tell_addresses(&mut self) {
        let all: Vec<Multiaddr> = self.announced.iter().chain(self.swarm.listeners()).cloned().collect();
        // Others are told in the table what is reached from everywhere; where nothing is, it is a network of its own.
        let public = |address: &&Multiaddr| kind(address) == Kind::Public || self.announced.contains(address);
        let external: Vec<Multiaddr> = all.iter().filter(public).cloned().collect();
        let external = if external.is_empty() { all.clone() } else { external };
        for gone in self.swarm.external_addresses().filter(|a| !external.contains(a)).cloned().collect::<Vec<_>>() {
            self.swarm.remove_external_address(&gone);
        }
        external.iter().for_each(|address| self.swarm.add_external_address(address.clone()));
        self.gate.set_strict(gate::is_public(&external, self.bootstrap.values().flatten()));
        let mode = dht::mode(self.wanted_dht, &external);
        if let Some(table) = self.swarm.behaviour_mut().dht.as_mut() {
            table.set_mode(Some(mode));
        }
        *lock(&self.shared.addresses) = all;
    }
}
