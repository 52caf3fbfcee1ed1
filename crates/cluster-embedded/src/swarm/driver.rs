//! The task that drives the swarm: one loop, which never waits for anything but the next thing to do.

use super::behaviour::{Behaviour, BehaviourEvent};
use super::config::{SwarmConfig, addresses};
use super::{Command, Shared, lock};
use bitswap::{Bitswap, PROTOCOLS};
use cluster_component::tasks::TaskScope;
use cluster_transport::streams::Inbound;
use cluster_transport::{Options, Shares};
use cluster_types::{Multiaddr, PeerId};
use futures::StreamExt;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Swarm, identify, ping};
use libp2p_identity::Keypair;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

/// Streams of one peer that are served at a time: one carries everything, and Kubo opens few.
const STREAMS_PER_PEER_MAX: usize = 16;

/// Streams of all peers that are served at a time.
const STREAMS_MAX: usize = 1_024;

/// Streams of one connection that may be agreeing on a protocol at a time; more wait in the multiplexer.
const NEGOTIATING_MAX: usize = 64;

/// How often peers are dialed that the node should be connected to and is not.
const DIAL_EVERY: Duration = Duration::from_secs(10);

/// Failures of pings that are reported before the connection is ended. The library tells of the second in a row and
/// those after it.
const SILENCES_MAX: u8 = 2;

/// Drives the swarm.
pub(super) struct Driver {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
    bitswap: Arc<Bitswap>,
    shares: Shares,
    connections_max: usize,
    /// Whom it stays connected to.
    peers: BTreeMap<PeerId, Vec<Multiaddr>>,
    /// Where it can be reached, as the operator says.
    announced: Vec<Multiaddr>,
    /// Dials that somebody waits for.
    dials: HashMap<ConnectionId, (PeerId, oneshot::Sender<Result<(), String>>)>,
    /// Since when peers are connected.
    since: BTreeMap<PeerId, Instant>,
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
        let mut swarm = Swarm::new(transport, Behaviour::new(key, config), key.public().to_peer_id(), with);
        let announced = addresses(&config.announce_multiaddresses);
        announced.iter().for_each(|address| swarm.add_external_address(address.clone()));
        let listened = addresses(&config.listen_multiaddresses);
        let setting = "ipfs_connector.embedded.swarm.listen_multiaddresses";
        cluster_transport::listen(&mut swarm, &listened, setting).await?;
        let mut peers = BTreeMap::<PeerId, Vec<Multiaddr>>::new();
        for (peer, address) in config.named_peers() {
            peers.entry(peer).or_default().push(address);
        }
        let driver = Self {
            swarm,
            commands,
            shared,
            bitswap: Arc::clone(bitswap),
            shares: Shares::new(STREAMS_PER_PEER_MAX, STREAMS_MAX),
            connections_max: usize::try_from(config.connections_max).unwrap_or(usize::MAX),
            peers,
            announced,
            dials: HashMap::new(),
            since: BTreeMap::new(),
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
                _ = dial.tick() => self.dial_peers(),
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
        match self.swarm.dial(options) {
            Ok(()) => drop(self.dials.insert(id, (peer, reply))),
            Err(error) => {
                let _caller_is_gone = reply.send(Err(error.to_string()));
            }
        }
    }

    /// Dials those whom it stays connected to.
    fn dial_peers(&mut self) {
        for (peer, addresses) in &self.peers {
            let options = DialOpts::peer_id(*peer)
                .addresses(addresses.clone())
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .build();
            match self.swarm.dial(options) {
                Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
                Err(error) => tracing::debug!(%peer, %error, "not dialed"),
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>, tasks: &TaskScope) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event, tasks),
            SwarmEvent::ConnectionEstablished { peer_id, num_established, .. } if num_established.get() == 1 => {
                self.connected(peer_id);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                self.silent.remove(&connection_id);
                if num_established == 0 {
                    let cause = cause.map(|cause| cause.to_string());
                    tracing::debug!(peer = %peer_id, cause, "no longer connected");
                    self.since.remove(&peer_id);
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

    fn connected(&mut self, peer: PeerId) {
        self.since.insert(peer, Instant::now());
        lock(&self.shared.connected).insert(peer);
        let waiting: Vec<ConnectionId> =
            self.dials.iter().filter(|(_, (other, _))| *other == peer).map(|(id, _)| *id).collect();
        for (_, reply) in waiting.iter().filter_map(|id| self.dials.remove(id)) {
            let _caller_is_gone = reply.send(Ok(()));
        }
        self.trim(peer);
    }

    /// Ends the oldest connections of too many. Whoever comes last stays: it may be one that is needed now.
    fn trim(&mut self, newest: PeerId) {
        let excess = self.since.len().saturating_sub(self.connections_max);
        let free = self.since.iter().filter(|(peer, _)| **peer != newest && !self.peers.contains_key(peer));
        let mut free: Vec<(Instant, PeerId)> = free.map(|(peer, since)| (*since, *peer)).collect();
        free.sort();
        for (_, peer) in free.into_iter().take(excess) {
            tracing::debug!(%peer, "disconnected: too many are connected");
            let _not_connected = self.swarm.disconnect_peer_id(peer);
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent, tasks: &TaskScope) {
        match event {
            BehaviourEvent::Streams(inbound) => self.serve(inbound, tasks),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                let speaks = info.protocols.iter().any(|protocol| PROTOCOLS.contains(&protocol.as_ref()));
                if speaks && self.since.contains_key(&peer_id) {
                    lock(&self.shared.speakers).insert(peer_id);
                }
            }
            BehaviourEvent::Identify(_) => {}
            BehaviourEvent::Ping(event) => self.on_ping(&event),
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

    fn tell_addresses(&self) {
        let all = self.announced.iter().chain(self.swarm.listeners()).cloned().collect();
        *lock(&self.shared.addresses) = all;
    }
}
