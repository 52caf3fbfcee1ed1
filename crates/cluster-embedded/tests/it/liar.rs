//! A peer that speaks bitswap and gives nothing.

use bitswap::{Message, PROTOCOLS, Presence, Version, read_message, write_message};
use cluster_transport::streams;
use cluster_types::{Multiaddr, PeerId};
use futures::StreamExt;
use libp2p::swarm::{NetworkBehaviour, StreamProtocol, SwarmEvent};
use libp2p::{Swarm, identify};
use libp2p_identity::Keypair;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    streams: streams::Behaviour,
}

pub(crate) struct Liar {
    pub(crate) address: Multiaddr,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Liar {
    /// One that says that it has everything; or one that takes streams and never reads or says anything.
    pub(crate) async fn start(promises: bool) -> Self {
        let key = Keypair::generate_ed25519();
        let me = key.public().to_peer_id();
        let options = cluster_transport::Options::default();
        let transport = cluster_transport::build(&key, &options, None).expect("a transport");
        let behaviour = Behaviour {
            identify: identify::Behaviour::new(identify::Config::new("ipfs/0.1.0".into(), key.public())),
            streams: streams::Behaviour::new(PROTOCOLS.into_iter().map(StreamProtocol::new).collect()),
        };
        let config = libp2p::swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(std::time::Duration::from_secs(600));
        let mut swarm = Swarm::new(transport, behaviour, me, config);
        let listened = ["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
        cluster_transport::listen(&mut swarm, &listened, "the test").await.expect("listens");
        let address = swarm.listeners().next().expect("listens").clone().with_p2p(me).expect("unnamed");
        let asked = Arc::<AtomicUsize>::default();
        let task = tokio::spawn(run(swarm, promises, Arc::clone(&asked)));
        Self { address, asked, task }
    }

    /// Streams or messages that it has been given.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn stop(self) {
        self.task.abort();
    }
}

async fn run(mut swarm: Swarm<Behaviour>, promises: bool, asked: Arc<AtomicUsize>) {
    let (answers, mut answered) = tokio::sync::mpsc::unbounded_channel::<(PeerId, Message)>();
    let mut kept = Vec::new();
    loop {
        tokio::select! {
            Some((peer, message)) = answered.recv() => {
                let (opened, stream) = oneshot::channel();
                swarm.behaviour_mut().streams.open(peer, vec![StreamProtocol::new(PROTOCOLS[0])], opened);
                tokio::spawn(async move {
                    if let Ok(Ok((mut stream, _))) = stream.await {
                        let _may_be_gone = write_message(&mut stream, &message, Version::V1_2_0).await;
                    }
                });
            }
            event = swarm.select_next_some() => {
                let SwarmEvent::Behaviour(BehaviourEvent::Streams(inbound)) = event else { continue };
                if !promises {
                    asked.fetch_add(1, Ordering::SeqCst);
                    kept.push(inbound.stream);
                    continue;
                }
                let (answers, asked, mut stream) = (answers.clone(), Arc::clone(&asked), inbound.stream);
                tokio::spawn(async move {
                    while let Ok(Some(message)) = read_message(&mut stream).await {
                        asked.fetch_add(1, Ordering::SeqCst);
                        let wants = message.wants.iter().filter(|entry| !entry.cancel);
                        let presences = wants.map(|entry| (entry.cid, Presence::Have)).collect();
                        let _may_be_gone = answers.send((inbound.peer, Message { presences, ..Message::default() }));
                    }
                });
            }
        }
    }
}
