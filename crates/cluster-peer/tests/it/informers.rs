//! Every informer keeps the contract.

use cluster_component::component::{Consensus, Informer, IpfsConnector, PeerMonitor};
use cluster_component::ports::{Clock, Entropy};
use cluster_component::rpc::{Components, Rpc};
use cluster_component::trace::Tracer;
use cluster_core::pinset::leaving::Report;
use cluster_datastore::MemoryStore;
use cluster_peer::allocator::balanced::{BalancedAllocator, BalancedConfig};
use cluster_peer::cluster::{self, ClusterConfig, MainCluster};
use cluster_peer::informer::disk::{DiskConfig, DiskInformer};
use cluster_peer::informer::numpin::{NumPinConfig, NumPinInformer};
use cluster_peer::informer::pinqueue::{PinQueueConfig, PinQueueInformer};
use cluster_peer::informer::tags::{TagsConfig, TagsInformer};
use cluster_peer::monitor::pubsubmon::{self, PubsubMonitor, PubsubmonConfig};
use cluster_peer::pintracker::{self, StatelessConfig, stateless};
use cluster_peer::state::mapstate::MapState;
use cluster_testkit::{Chance, FakeConnector, FakeConsensus, ManualClock, contract};
use cluster_types::{IpfsId, PeerId};
use std::sync::Arc;

/// A peer of which informers ask: its switchboard and its daemon.
struct World {
    rpc: Rpc,
    daemon: Arc<FakeConnector>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        let (me, clock) = (PeerId::random(), Arc::new(ManualClock::default()));
        let (rpc, daemon) = (Rpc::new(me), Arc::new(FakeConnector::default()));
        let consensus: Arc<dyn Consensus> = Arc::new(FakeConsensus::new(me, Arc::new(MapState::new())));
        let connector = Arc::clone(&daemon) as Arc<dyn IpfsConnector>;
        let parts = pubsubmon::Parts { me, clock: Arc::clone(&clock) as Arc<dyn Clock>, pubsub: None };
        let monitor: Arc<dyn PeerMonitor> = Arc::new(PubsubMonitor::new(PubsubmonConfig::default(), parts));
        let entropy: Box<dyn Entropy> = Box::new(Chance::new(1));
        let parts = pintracker::Parts {
            me,
            whoami: Arc::new(|| (String::new(), IpfsId::default())),
            store: Arc::new(MemoryStore::new()),
            consensus: Arc::clone(&consensus),
            connector: Arc::clone(&connector),
            others: Arc::new(|_, _| Box::pin(std::future::ready(Report::Holds))),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy,
            tracer: Tracer::default(),
        };
        let tracker = Arc::new(stateless(&StatelessConfig::default(), parts));
        let parts = cluster::Parts {
            rpc: rpc.clone(),
            consensus: Arc::clone(&consensus),
            connector: Arc::clone(&connector),
            monitor: Arc::clone(&monitor),
            allocator: Arc::new(BalancedAllocator::new(BalancedConfig::default())),
            informers: Vec::new(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            network: None,
            tracer: Tracer::default(),
        };
        let cluster = Arc::new(MainCluster::new(ClusterConfig::default(), parts));
        rpc.bind(Components { cluster, consensus, tracker, connector, monitor });
        Self { rpc, daemon, clock }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }

    /// The contract, with a daemon that goes away in the middle of it; whether the figures are valid then.
    async fn keeps_contract(&self, informer: &dyn Informer) -> bool {
        contract::informer::run(informer, self.rpc.me(), &*self.clock, || self.daemon.set_down(true)).await;
        let valid = informer.metrics().await.iter().all(|metric| metric.valid);
        self.daemon.set_down(false);
        valid
    }
}

#[tokio::test]
async fn every_informer_keeps_the_contract_and_says_when_it_does_not_know() {
    let world = World::new();
    let (rpc, clock) = (|| world.rpc.clone(), || world.clock());
    let disk = DiskInformer::new(DiskConfig::default(), rpc(), clock());
    assert!(!world.keeps_contract(&disk).await, "without the daemon nobody knows how full it is");
    let numpin = NumPinInformer::new(NumPinConfig::default(), rpc(), clock());
    assert!(!world.keeps_contract(&numpin).await, "without the daemon nobody knows what it holds");
    let queue = PinQueueInformer::new(PinQueueConfig::default(), rpc(), clock());
    assert!(world.keeps_contract(&queue).await, "the queue is the tracker's");
    let tags = TagsInformer::new(TagsConfig::default(), world.rpc.me(), clock());
    assert!(world.keeps_contract(&tags).await);

    world.rpc.unbind();
    assert!(queue.metrics().await.iter().all(|metric| !metric.valid), "without the tracker nobody knows its queue");
}
