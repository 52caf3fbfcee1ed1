//! The task that drives the swarm: one loop, which never waits for anything but the next thing to do.

use super::bandwidth::LOOK_EVERY;
use super::command::{Command, Reply};
use super::dials::{self, Dials};
use super::inbound::Served;
use super::{Shared, lock};
use crate::addresses::{Announce, Lasting, is_relayed};
use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::pubsub::Verdict;
use cluster_component::tasks::TaskScope;
use cluster_types::{Multiaddr, PeerId};
use futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, PublishError};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, ListenError, SwarmEvent};
use libp2p::{Swarm, identify};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

/// Peers of whom it is remembered that they were told of, so that they are told of once.
const TOLD_MAX: usize = 1_024;

/// Addresses where others have seen us that are kept: with a port of our own there are few.
const OBSERVED_MAX: usize = 8;

/// Peers that are dialed at first, as the reference.
const FIRST_PEERS: usize = 3;

/// Drives the swarm.
pub(super) struct Driver {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    shared: Shared,
    announce: Announce,
    served: Served,
    dials: Dials,
    /// Topics that the swarm listens to, by the library's name.
    topics: BTreeMap<String, IdentTopic>,
    /// Where others have seen us.
    observed: Vec<Multiaddr>,
    /// Who was told to have another secret.
    strangers: BTreeSet<String>,
}

impl Driver {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        commands: mpsc::Receiver<Command>,
        shared: Shared,
        announce: Announce,
        served: Served,
    ) -> Self {
        let mut driver = Self {
            swarm,
            commands,
            shared,
            announce,
            served,
            dials: Dials::default(),
            topics: BTreeMap::new(),
            observed: Vec::new(),
            strangers: BTreeSet::new(),
        };
        driver.tell_addresses();
        driver
    }

    /// Until the scope is told to stop.
    pub(super) async fn run(mut self, tasks: TaskScope) {
        let stopping = tasks.stopping();
        let topics = self.shared.topics.clone();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.follow_topics();
        self.find_cluster();
        loop {
            // The end first; then what is ours, which is little; then the network.
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = topics.changed() => self.follow_topics(),
                Some(command) = self.commands.recv() => self.obey(command),
                _ = look.tick() => self.shared.rates.look(Instant::now()),
                event = self.swarm.select_next_some() => self.on_event(event, &tasks),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Connect { peer, addresses, reply } => self.connect(peer, addresses, reply),
            Command::Open { peer, protocol, reply } => self.swarm.behaviour_mut().streams.open(peer, protocol, reply),
            Command::Publish { topic, data, reply } => {
                let published = self.swarm.behaviour_mut().gossipsub.publish(IdentTopic::new(topic), data);
                let outcome = match published {
                    // Nobody else listens yet: that is no fault of the message.
                    Ok(_) | Err(PublishError::NoPeersSubscribedToTopic | PublishError::Duplicate) => Ok(()),
                    Err(error) => Err(format!("the message could not be sent: {error}")),
                };
                let _caller_is_gone = reply.send(outcome);
            }
            Command::Forget { peer, reply } => {
                lock(&self.shared.book).forget(&peer);
                let _not_connected = self.swarm.disconnect_peer_id(peer);
                let _caller_is_gone = reply.send(());
            }
        }
    }

    /// Dials a few peers, those that an operator wrote down first.
    fn find_cluster(&mut self) {
        let known = lock(&self.shared.book).by_priority(Instant::now());
        for (peer, _) in known.into_iter().take(FIRST_PEERS) {
            let (reply, _nobody_waits) = oneshot::channel();
            self.connect(peer, Vec::new(), reply);
        }
    }

    fn connect(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, reply: Reply<Result<(), String>>) {
        if self.swarm.is_connected(&peer) {
            let _caller_is_gone = reply.send(Ok(()));
            return;
        }
        // With an address of its own a dial goes on beside others: they may know worse ones.
        let condition =
            if addresses.is_empty() { PeerCondition::DisconnectedAndNotDialing } else { PeerCondition::Disconnected };
        let options =
            DialOpts::peer_id(peer).addresses(addresses).extend_addresses_through_behaviour().condition(condition);
        let options = options.build();
        let id = options.connection_id();
        self.dials.wait(peer, reply);
        match self.swarm.dial(options) {
            Ok(()) => self.dials.begin(peer, id),
            Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.dials.failed(&peer, id, &dials::reason(&error)),
        }
    }

    /// Lets the swarm listen to the topics that somebody here listens to.
    fn follow_topics(&mut self) {
        let wanted = self.shared.topics.names();
        let gossipsub = &mut self.swarm.behaviour_mut().gossipsub;
        for name in &wanted {
            if self.topics.contains_key(name) {
                continue;
            }
            let topic = IdentTopic::new(name);
            match gossipsub.subscribe(&topic) {
                Ok(_) => drop(self.topics.insert(name.clone(), topic)),
                Err(error) => tracing::error!(topic = name, %error, "the topic cannot be listened to"),
            }
        }
        self.topics.retain(|name, topic| wanted.contains(name) || !gossipsub.unsubscribe(topic));
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>, tasks: &TaskScope) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(inbound)) => self.served.serve(tasks, inbound),
            SwarmEvent::Behaviour(BehaviourEvent::Gossipsub(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => self.on_identify(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => {
                if let Err(error) = event.result {
                    tracing::debug!(peer = %event.peer, %error, "ping failed");
                }
            }
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } => {
                tracing::debug!(peer = %peer_id, address = %endpoint.get_remote_address(), "connected");
                self.dials.connected(&peer_id);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                let cause = cause.map(|cause| cause.to_string());
                tracing::debug!(peer = %peer_id, cause, "no longer connected");
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), connection_id, error } => {
                let reason = dials::reason(&error);
                if dials::is_stranger(&error) {
                    self.tell_of_stranger(&peer.to_string(), &reason);
                }
                self.dials.failed(&peer, connection_id, &reason);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                self.on_refused(&send_back_addr, &error);
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => self.tell_addresses(),
            SwarmEvent::NewExternalAddrCandidate { address } => self.on_observed(address),
            SwarmEvent::ListenerClosed { reason: Err(error), addresses, .. } => {
                tracing::error!(?addresses, %error, "no longer listened on");
                self.tell_addresses();
            }
            _ => {}
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let verdict = match message.source {
                    Some(author) => self.shared.topics.deliver(message.topic.as_str(), author, message.data),
                    None => Verdict::Reject,
                };
                let acceptance = match verdict {
                    Verdict::Accept => MessageAcceptance::Accept,
                    Verdict::Reject => MessageAcceptance::Reject,
                    Verdict::Ignore => MessageAcceptance::Ignore,
                };
                let gossipsub = &mut self.swarm.behaviour_mut().gossipsub;
                gossipsub.report_message_validation_result(&message_id, &propagation_source, acceptance);
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "it does not take messages in time");
            }
            _ => {}
        }
    }

    fn on_identify(&mut self, event: identify::Event) {
        let (identify::Event::Received { peer_id, info, .. } | identify::Event::Pushed { peer_id, info, .. }) = event
        else {
            return;
        };
        tracing::debug!(peer = %peer_id, agent = info.agent_version, "identified");
        let (mut book, now) = (lock(&self.shared.book), Instant::now());
        for address in info.listen_addrs {
            book.add(peer_id, address, Lasting::Seen, now);
        }
    }

    /// As the reference, which is told to believe the first peer who says where it sees us.
    fn on_observed(&mut self, address: Multiaddr) {
        if !is_relayed(&address) && !self.observed.contains(&address) && self.observed.len() < OBSERVED_MAX {
            self.observed.push(address);
            self.tell_addresses();
        }
    }

    /// Tells others what they shall be told.
    fn tell_addresses(&mut self) {
        let own = self.swarm.listeners().cloned().chain(self.observed.iter().cloned());
        let wanted = self.announce.choose(own.collect::<Vec<_>>());
        let told: Vec<Multiaddr> = self.swarm.external_addresses().cloned().collect();
        for address in told.iter().filter(|address| !wanted.contains(address)) {
            self.swarm.remove_external_address(address);
        }
        let new: Vec<&Multiaddr> = wanted.iter().filter(|address| !told.contains(address)).collect();
        for address in &new {
            self.swarm.add_external_address((*address).clone());
        }
        if !new.is_empty() {
            let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
            self.swarm.behaviour_mut().identify.push(peers);
        }
        *lock(&self.shared.announced) = wanted;
    }

    fn on_refused(&mut self, address: &Multiaddr, error: &ListenError) {
        if cluster_transport::is_wrong_secret(error) {
            // Without the secret a peer has no name; its host has.
            let host: Multiaddr = address.iter().take(1).collect();
            self.tell_of_stranger(&host.to_string(), &cluster_transport::WrongSecret.to_string());
        } else {
            tracing::debug!(%address, error = %cluster_transport::root_cause(error), "a connection came to nothing");
        }
    }

    fn tell_of_stranger(&mut self, who: &str, reason: &str) {
        if self.strangers.len() < TOLD_MAX && self.strangers.insert(who.to_owned()) {
            tracing::warn!(peer = who, "not connected: {reason}");
        }
    }
}
