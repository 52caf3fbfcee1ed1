//! One peer of a simulated cluster: whole, but for the network, the disk and the daemon, which are played.

use cluster_component::component::{
    Cluster, Component, Consensus, Informer, IpfsConnector, PeerMonitor, PinTracker, StateRead,
};
use cluster_component::ports::{BlockExchange, Clock, Network, PubSub};
use cluster_component::rpc::{Components, MethodInfo, Others, Rpc, RpcError, RpcErrorKind};
use cluster_component::tasks::TaskScope;
use cluster_component::trace::Tracer;
use cluster_core::crdt::Replica;
use cluster_core::pinset::leaving::Report;
use cluster_core::tracker::row::{Class, Row, read_attention_key};
use cluster_crdt::{CrdtConfig, CrdtConsensus, ReplicaBlocks, WriterOn};
use cluster_datastore::MemoryStore;
use cluster_peer::allocator::balanced::{BalancedAllocator, BalancedConfig};
use cluster_peer::cluster::{ClusterConfig, MainCluster};
use cluster_peer::informer::disk::{DiskConfig, DiskInformer};
use cluster_peer::informer::tags::{TagsConfig, TagsInformer};
use cluster_peer::monitor::pubsubmon::{self, PubsubMonitor, PubsubmonConfig};
use cluster_peer::pintracker::{self, StatelessConfig, Tracked, ask_by_rpc, stateless};
use cluster_peer::state::dsstate::DsState;
use cluster_testkit::invariant::PeerView;
use cluster_testkit::scheduler::{Group, SimClock};
use cluster_testkit::{Chance, FakeConnector, Net, Scheduler};
use cluster_types::store::{Datastore, DatastoreReadExt, StoreError, Table};
use cluster_types::{Cid, GoDuration, IpfsId, PeerId, PingValue};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Longer than a start or a stop may take, in the world's time.
const START_MAX: Duration = Duration::from_secs(30);

/// How the peers of a world are set up.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) factor_min: i32,
    pub(super) factor_max: i32,
    pub(super) repins: bool,
    pub(super) leaves: bool,
    /// Planted: it lets go of what is others' without asking them.
    pub(super) heedless: bool,
    pub(super) trusted: Vec<String>,
}

pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) daemon: Arc<FakeConnector>,
    pub(super) clock: Arc<SimClock>,
    pub(super) setup: Setup,
    store: Arc<MemoryStore>,
    disk_broken: bool,
    running: Option<Running>,
}

/// From a start to the next end.
struct Running {
    group: Group,
    tasks: TaskScope,
    rpc: Rpc,
    cluster: Arc<MainCluster>,
    consensus: Arc<CrdtConsensus>,
    tracker: Arc<Tracked>,
    /// In the order in which they were started.
    components: Vec<Arc<dyn Component>>,
}

/// What the parts of a peer live in.
pub(super) struct Ground<'a> {
    pub(super) scheduler: &'a Scheduler,
    pub(super) net: &'a Net,
    pub(super) chance: &'a Chance,
    pub(super) directory: &'a Directory,
}

/// Switchboards of the peers that run, and what they answered to whom. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Directory(Arc<Mutex<Listed>>);

#[derive(Default)]
struct Listed {
    net: Option<Net>,
    rpcs: BTreeMap<PeerId, Rpc>,
    answered: BTreeMap<PeerId, Vec<(PeerId, String)>>,
}

impl Directory {
    pub(super) fn new(net: &Net) -> Self {
        Self(Arc::new(Mutex::new(Listed { net: Some(net.clone()), ..Listed::default() })))
    }

    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.0.lock().expect("no panic holds it")
    }

    /// Calls since the last look.
    fn take_answered(&self, peer: &PeerId) -> Vec<(PeerId, String)> {
        self.listed().answered.remove(peer).unwrap_or_default()
    }
}

impl Others for Directory {
    fn find(
        &self,
        from: PeerId,
        to: PeerId,
        method: MethodInfo,
    ) -> BoxFuture<'static, Result<Arc<Components>, RpcError>> {
        let this = self.clone();
        Box::pin(async move {
            let net = this.listed().net.clone().expect("a network");
            net.travel(from, to).await.map_err(|e| RpcError::new(RpcErrorKind::Unreachable, e.to_string()))?;
            let rpc = this.listed().rpcs.get(&to).cloned();
            let components = rpc.ok_or_else(|| RpcError::new(RpcErrorKind::Unreachable, "gone"))?.local()?;
            components.admit(&from, &method)?;
            this.listed().answered.entry(to).or_default().push((from, method.name.to_owned()));
            Ok(components)
        })
    }
}

impl Peer {
    pub(super) fn new(number: usize, setup: Setup, ground: &Ground<'_>) -> Self {
        let daemon = Arc::new(FakeConnector::default());
        daemon.world().id = name_of(100 + number);
        let clock = ground.scheduler.clock(0);
        daemon.set_pace(Arc::clone(&clock) as Arc<dyn Clock>, Duration::from_millis(20 + ground.chance.below(400)));
        let store = Arc::new(MemoryStore::new());
        Self { id: name_of(number), daemon, clock, setup, store, disk_broken: false, running: None }
    }

    pub(super) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn is_disk_broken(&self) -> bool {
        self.disk_broken
    }

    /// Its main component, while it runs.
    pub(super) fn cluster(&self) -> Option<Arc<MainCluster>> {
        self.running.as_ref().map(|running| Arc::clone(&running.cluster))
    }

    pub(super) fn start(&mut self, ground: &Ground<'_>) {
        let group = ground.scheduler.new_group();
        let tasks = TaskScope::new(ground.scheduler.spawner(group));
        let port = ground.net.join(self.id);
        port.serve(Arc::new(ReplicaBlocks(Arc::clone(&self.store) as Arc<dyn Datastore>)));
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let connector = Arc::clone(&self.daemon) as Arc<dyn IpfsConnector>;
        let rpc = Rpc::among(self.id, Arc::new(ground.directory.clone()));
        ground.directory.listed().rpcs.insert(self.id, rpc.clone());
        let pubsub = Some(Arc::clone(&port) as Arc<dyn PubSub>);
        let parts = pubsubmon::Parts { me: self.id, clock: Arc::clone(&clock), pubsub: pubsub.clone() };
        let monitor = Arc::new(PubsubMonitor::new(PubsubmonConfig::default(), parts));
        let members = Arc::clone(&monitor);
        let parts = cluster_crdt::Parts {
            me: self.id,
            store: Arc::clone(&self.store) as Arc<dyn Datastore>,
            state: Arc::new(DsState::new(Arc::clone(&self.store) as Arc<dyn Datastore>)) as Arc<dyn StateRead>,
            clock: Arc::clone(&clock),
            pubsub,
            exchange: Some(Arc::clone(&port) as Arc<dyn BlockExchange>),
            members: Arc::new(move || members.latest("ping").into_keys().collect()),
            writer: WriterOn::Task,
            metrics: Arc::default(),
        };
        let consensus = Arc::new(CrdtConsensus::new(self.crdt_config(), parts).expect("names of peers"));
        let whoami = {
            let (monitor, me) = (Arc::clone(&monitor), self.id);
            Arc::new(move || {
                let ping = monitor.latest_for("ping", &me).and_then(|m| serde_json::from_str(&m.value).ok());
                let ping: PingValue = ping.unwrap_or_default();
                (ping.peer_name, IpfsId { id: ping.ipfs_id, addresses: ping.ipfs_addresses })
            })
        };
        let parts = pintracker::Parts {
            me: self.id,
            whoami,
            store: Arc::clone(&self.store) as Arc<dyn Datastore>,
            consensus: Arc::clone(&consensus) as Arc<dyn Consensus>,
            connector: Arc::clone(&connector),
            others: match self.setup.heedless {
                true => Arc::new(|_, _| Box::pin(std::future::ready(Report::Holds))),
                false => ask_by_rpc(rpc.clone(), Arc::clone(&clock)),
            },
            clock: Arc::clone(&clock),
            entropy: Box::new(Chance::new(ground.chance.next())),
            tracer: Tracer::default(),
        };
        let tracker = Arc::new(stateless(&StatelessConfig::default(), parts));
        let informers: Vec<Arc<dyn Informer>> = vec![
            Arc::new(DiskInformer::new(DiskConfig::default(), rpc.clone(), Arc::clone(&clock))),
            Arc::new(TagsInformer::new(TagsConfig::default(), self.id, Arc::clone(&clock))),
        ];
        let parts = cluster_peer::cluster::Parts {
            rpc: rpc.clone(),
            consensus: Arc::clone(&consensus) as Arc<dyn Consensus>,
            connector: Arc::clone(&connector),
            monitor: Arc::clone(&monitor) as Arc<dyn PeerMonitor>,
            allocator: Arc::new(BalancedAllocator::new(BalancedConfig::default())),
            informers,
            clock,
            network: Some(port as Arc<dyn Network>),
            tracer: Tracer::default(),
        };
        let cluster = Arc::new(MainCluster::new(self.cluster_config(), parts));
        rpc.bind(Components {
            cluster: Arc::clone(&cluster) as Arc<dyn Cluster>,
            consensus: Arc::clone(&consensus) as Arc<dyn Consensus>,
            tracker: Arc::clone(&tracker) as Arc<dyn PinTracker>,
            connector,
            monitor: Arc::clone(&monitor) as Arc<dyn PeerMonitor>,
        });
        let components: Vec<Arc<dyn Component>> =
            vec![Arc::clone(&consensus) as _, monitor, Arc::clone(&tracker) as _, Arc::clone(&cluster) as _];
        for component in &components {
            let (component, tasks) = (Arc::clone(component), tasks.clone());
            let started = ground.scheduler.complete(START_MAX, async move { component.start(&tasks).await });
            started.expect("a component starts").expect("it can");
        }
        self.running = Some(Running { group, tasks, rpc, cluster, consensus, tracker, components });
    }

    fn cluster_config(&self) -> ClusterConfig {
        ClusterConfig {
            peername: format!("peer {}", self.id),
            replication_factor_min: self.setup.factor_min,
            replication_factor_max: self.setup.factor_max,
            disable_repinning: !self.setup.repins,
            leave_on_shutdown: self.setup.leaves,
            state_sync_interval: GoDuration::from_secs(60),
            pin_recover_interval: GoDuration::from_secs(120),
            ..ClusterConfig::default()
        }
    }

    fn crdt_config(&self) -> CrdtConfig {
        CrdtConfig {
            trusted_peers: self.setup.trusted.clone(),
            rebroadcast_interval: GoDuration::from_secs(10),
            repair_interval: GoDuration::from_secs(60),
            ..CrdtConfig::default()
        }
    }

    /// Everything that is not durable is gone, but for what the device happened to have stored.
    /// `forgets`: the disk loses everything, whatever it said.
    pub(super) fn crash(&mut self, ground: &Ground<'_>, forgets: bool) {
        let Some(running) = self.running.take() else { return };
        let kept = ground.chance.below(self.store.unsynced() as u64 + 1) as usize;
        // The disk first: nobody may write while the tasks end.
        let left = self.store.crash_keeping(kept);
        self.store = Arc::new(if forgets { MemoryStore::new() } else { left });
        self.disk_broken = false;
        ground.net.leave(&self.id);
        ground.directory.listed().rpcs.remove(&self.id);
        ground.scheduler.crash(running.group);
        running.rpc.unbind();
    }

    /// Power fails while the disk is being synced: what waits for that is not acknowledged.
    pub(super) fn break_disk(&mut self) {
        self.disk_broken = self.is_up();
        if !self.disk_broken {
            return;
        }
        self.store.break_syncs(Some(StoreError::Io("the disk does not answer".into())));
    }

    /// An orderly end.
    pub(super) fn stop(&mut self, ground: &Ground<'_>) {
        let Some(running) = self.running.take() else { return };
        let Running { tasks, rpc, components, .. } = running;
        let stopped = async move {
            for component in components.iter().rev() {
                component.shutdown().await;
            }
            tasks.stop().await;
            rpc.unbind();
        };
        ground.scheduler.complete(START_MAX, stopped).expect("a peer stops");
        ground.directory.listed().rpcs.remove(&self.id);
        ground.net.leave(&self.id);
        self.store = Arc::new(self.store.reopen());
    }

    /// Whom it trusts; `None`: everybody.
    fn trusted(&self) -> Option<BTreeSet<PeerId>> {
        let names = &self.setup.trusted;
        (!names.iter().any(|name| name == "*")).then(|| names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// What invariants look at.
    pub(super) fn view(&self, directory: &Directory) -> Option<PeerView> {
        let running = self.running.as_ref()?;
        let replica = Replica::load(&*self.store).ok()?;
        let pins = running.consensus.state().page(None, 10_000).ok()?;
        let (mut rows, mut index) = (BTreeSet::new(), Vec::new());
        let mut pins_in_index = 0;
        let read = self.store.scan_prefix(Table::Status, &[], &mut |key, row| {
            if Row::decode(row).is_some_and(|row| row.waiting.is_some()) {
                rows.extend(Cid::from_sort_key(key).ok());
            }
            ControlFlow::Continue(())
        });
        let listed = self.store.scan_prefix(Table::Attention, &[], &mut |key, _| {
            if let Some((class, _, cid)) = read_attention_key(key) {
                index.push(cid);
                pins_in_index += u64::from(class != Class::Unpin);
            }
            ControlFlow::Continue(())
        });
        read.and(listed).ok()?;
        Some(PeerView {
            heads: replica.heads().keys().copied().collect(),
            is_behind: !replica.wanted().is_empty(),
            pins: pins.into_iter().map(|pin| (pin.cid, pin)).collect(),
            digest: running.consensus.state().digest().ok()?,
            held: self.daemon.world().pins.clone(),
            waiting_rows: rows,
            waiting_index: index,
            queue_len: running.tracker.pin_queue_len(),
            pins_in_index,
            answered: directory.take_answered(&self.id),
            trusts: self.trusted(),
        })
    }
}

/// A name that is the same in every run.
pub(super) fn name_of(number: usize) -> PeerId {
    let mut bytes = vec![0x12, 0x20];
    bytes.extend([u8::try_from(number).unwrap_or(255); 32]);
    PeerId::from_bytes(&bytes).expect("a name")
}
