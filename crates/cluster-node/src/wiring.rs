//! From a configuration to a running peer: which implementation, made of what, started and stopped in which order.

use crate::choice::BuiltConnector;
use crate::config::{Configuration, name_of};
use crate::folder::Folder;
use crate::identity::Identity;
use crate::metered::{Metered, MeteredStore};
use crate::network;
use crate::ports::{SystemClock, SystemEntropy, TokioSpawn};
use cluster_component::component::{
    Adder, Api, Cluster, Component, Consensus, Informer, IpfsConnector, PeerMonitor, PinTracker, StateRead,
};
use cluster_component::errors::{NetError, StartError};
use cluster_component::metrics::Metrics;
use cluster_component::ports::{BlockExchange, Clock, Network, PubSub, Wire};
use cluster_component::rpc::{
    Cluster as ClusterRpc, Components, PROTOCOL as RPC_PROTOCOL, Rpc, RpcError, RpcErrorKind, Target,
};
use cluster_component::tasks::TaskScope;
use cluster_component::trace::Tracer;
use cluster_crdt::config::Trust;
use cluster_crdt::{CrdtConsensus, ReplicaBlocks};
use cluster_datastore::{FjallOptions, FjallStore};
use cluster_embedded::connector::Wanted;
use cluster_http::api::door::{ApiConfig, Kind};
use cluster_http::api::gateway::Gateway;
use cluster_http::api::ipfsproxy::{self, IpfsProxy};
use cluster_http::api::metrics::{MetricsApi, Sources};
use cluster_http::api::{pinsvcapi, restapi};
use cluster_http::server::{STREAMS_PROTOCOL, Streams};
use cluster_net::{DoorHost, DoorOptions, Exchange, Host, Protocols, Serve};
use cluster_otlp::{Origin, Traces};
use cluster_peer::cluster::MainCluster;
use cluster_peer::informer::disk::DiskInformer;
use cluster_peer::informer::numpin::NumPinInformer;
use cluster_peer::informer::pinqueue::PinQueueInformer;
use cluster_peer::informer::tags::TagsInformer;
use cluster_peer::monitor::pubsubmon::{self, PubsubMonitor};
use cluster_peer::pintracker::{self, Tracked};
use cluster_peer::state::dsstate::DsState;
use cluster_raft::{RaftConsensus, RpcCourier};
use cluster_types::store::Datastore;
use cluster_types::{IpfsId, Multiaddr, PeerId, PingValue};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// A running peer.
pub struct Node {
    identity: Identity,
    rpc: Rpc,
    store: Arc<FjallStore>,
    /// APIs, which end first, and everything else, which ends last.
    scopes: (TaskScope, TaskScope),
    apis: Vec<Arc<dyn Api>>,
    /// libp2p hosts of single APIs.
    doors: Vec<Arc<dyn Component>>,
    /// In the order in which they were started.
    components: Vec<Arc<dyn Component>>,
    daemon_address: String,
    gateway: Option<Multiaddr>,
    watched: Option<Watched>,
    consensus: Option<Arc<dyn Consensus>>,
    /// The network and the pinset, if that is raft's.
    raft: Option<(Arc<Host>, Arc<dyn Consensus>)>,
    /// Members that are asked to take this peer in.
    bootstrap: Vec<Multiaddr>,
}

/// What the main component tells of itself.
struct Watched {
    removal: watch::Receiver<bool>,
    failure: watch::Receiver<Option<String>>,
}

/// Why a peer should stop by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was put out of its cluster: its state is to be removed.
    Removed,
    /// The pinset cannot be used, since.
    Failed(String),
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.identity.id()).finish_non_exhaustive()
    }
}

/// Parts that several components are made of.
struct Base {
    me: PeerId,
    rpc: Rpc,
    clock: Arc<dyn Clock>,
    store: Arc<dyn Datastore>,
    host: Arc<Host>,
    exchange: Arc<Exchange>,
    /// Streams for the REST API that come to the cluster's own host, if they may.
    streams: Option<Streams>,
    tracer: Tracer,
    traces: Option<Arc<Traces>>,
    metrics: Arc<Metrics>,
}

/// Hands the calls of other peers to the switchboard.
fn answer_calls(rpc: Rpc) -> Serve {
    Arc::new(move |peer, stream| {
        let rpc = rpc.clone();
        Box::pin(async move { rpc.serve(peer, stream).await })
    })
}

/// Hands streams to the API behind them.
fn answer_streams(streams: Streams) -> Serve {
    Arc::new(move |peer, stream| streams.serve(peer, stream))
}

/// Whether the REST API is reached through the cluster's own host. As the reference: only with raft, whose members all trust
/// each other; the secret of a crdt may be known to followers, who must not rule the cluster.
fn is_reached_by_members(configuration: &Configuration) -> bool {
    let has_own_host = |config: &restapi::RestApiConfig| !config.libp2p_listen_multiaddress.0.is_empty();
    configuration.raft.is_some() && configuration.restapi.as_ref().is_some_and(|config| !has_own_host(config))
}

fn named(addresses: &[Multiaddr], peer: PeerId) -> Vec<Multiaddr> {
    addresses.iter().filter_map(|address| address.clone().with_p2p(peer).ok()).collect()
}

fn failed(component: &'static str, reason: impl fmt::Display) -> StartError {
    StartError { component, reason: reason.to_string() }
}

impl Node {
    /// Builds every component, binds them together, and starts them. A component that cannot start ends it all.
    ///
    /// # Errors
    /// As the first component that fails says.
    pub async fn start(configuration: Configuration, identity: Identity, folder: Folder) -> Result<Self, StartError> {
        let (rpc, exchange) = (Rpc::new(identity.id()), Arc::new(Exchange::default()));
        let options = network::options(&configuration.cluster, &identity, folder.path());
        let mut protocols = Protocols::new();
        protocols.insert(RPC_PROTOCOL, answer_calls(rpc.clone()));
        protocols.extend(exchange.protocols());
        let streams = is_reached_by_members(&configuration).then(Streams::default);
        if let Some(streams) = &streams {
            protocols.insert(STREAMS_PROTOCOL, answer_streams(streams.clone()));
        }
        if configuration.cluster.follower_mode {
            // Who follows decides itself when its daemon is to be cleaned.
            rpc.close::<ClusterRpc::RepoGCLocal>();
        }
        let host = Host::bind(&options, protocols).await?;
        protect_trusted(&configuration, &host);
        let path = folder.path().join(&configuration.datastore.folder);
        let store = FjallStore::open(path, FjallOptions::default()).map_err(|e| failed("datastore", e))?;
        let store = Arc::new(store);
        let me = identity.id();
        let (host, clock) = (Arc::new(host), Arc::new(SystemClock::new()));
        rpc.connect(Arc::clone(&host) as Arc<dyn Wire>, Arc::clone(&clock) as Arc<dyn Clock>);
        exchange.connect(Arc::clone(&host));
        if let Some(streams) = &streams {
            streams.reached_at(named(&host.addresses(), me));
        }
        let traces = traces(&configuration, me)?;
        let tracer = tracer(traces.as_ref(), &(Arc::clone(&clock) as Arc<dyn Clock>), &me);
        if traces.is_some() {
            rpc.trace(tracer.clone());
        }
        let metrics = Arc::new(Metrics::default());
        let inner = Arc::clone(&store) as Arc<dyn Datastore>;
        let datastore = Arc::new(MeteredStore { inner, metrics: Arc::clone(&metrics) });
        let base = Base { me, rpc, clock, store: datastore, host, exchange, streams, tracer, traces, metrics };
        let mut node = Self {
            identity,
            rpc: base.rpc.clone(),
            store,
            scopes: (scope(), scope()),
            apis: Vec::new(),
            doors: Vec::new(),
            components: Vec::new(),
            daemon_address: configuration.connector.address().to_owned(),
            gateway: None,
            watched: None,
            consensus: None,
            raft: None,
            bootstrap: Vec::new(),
        };
        match node.build(configuration, &folder, base).await {
            Ok(()) => Ok(node),
            Err(error) => {
                node.stop().await;
                Err(error)
            }
        }
    }

    async fn build(&mut self, configuration: Configuration, folder: &Folder, base: Base) -> Result<(), StartError> {
        let monitor = Arc::new(monitor(&configuration, &base));
        let consensus = consensus(&configuration, &base, folder, Arc::clone(&monitor) as Arc<dyn PeerMonitor>)?;
        let BuiltConnector { connector, gateway, content, blocks } =
            connector(&configuration, folder, &base, &consensus)?;
        let metrics = Arc::clone(&base.metrics);
        base.rpc.count(Arc::clone(&metrics));
        let connector: Arc<dyn IpfsConnector> = Arc::new(Metered { inner: connector, metrics: Arc::clone(&metrics) });
        let tracker = Arc::new(tracker(&configuration, &base, &consensus, &connector, &monitor));
        let cluster = Arc::new(main_component(&configuration, &base, &consensus, &connector, &monitor));
        self.rpc.bind(Components {
            cluster: Arc::clone(&cluster) as Arc<dyn Cluster>,
            consensus: Arc::clone(&consensus),
            tracker: Arc::clone(&tracker) as Arc<dyn PinTracker>,
            connector: Arc::clone(&connector),
            monitor: Arc::clone(&monitor) as Arc<dyn PeerMonitor>,
        });
        // The pinset's, and what an embedded node has: members are the first to have what is pinned here and there.
        base.exchange.add(Arc::new(ReplicaBlocks(Arc::clone(&base.store))));
        blocks.into_iter().for_each(|blocks| base.exchange.add(blocks));
        if let Some(address) = gateway
            && let Some(content) = content.clone()
        {
            let gateway = Gateway::bind(&address, content, Arc::clone(&metrics)).await?;
            let gateway = gateway.traced(base.tracer.clone());
            self.gateway = gateway.listen_addrs().pop();
            self.apis.push(Arc::new(gateway));
        }
        let adder: Arc<dyn Adder> =
            Arc::new(cluster_peer::add::BlockAdder::new(base.rpc.clone(), Arc::clone(&connector)));
        if let Some(config) = &configuration.restapi {
            let clock = Arc::clone(&base.clock);
            let metrics = Arc::clone(&metrics);
            let adder = Arc::clone(&adder);
            let streams = self.open_door(config).await?.or_else(|| base.streams.clone());
            let api = restapi::bind(config, folder.path(), base.rpc.clone(), adder, clock, metrics).await?;
            self.apis.push(Arc::new(api.with_streams(streams).traced(base.tracer.clone())));
        }
        if let Some(config) = &configuration.ipfsproxy {
            let clock = Arc::clone(&base.clock);
            let (metrics, tracer) = (Arc::clone(&metrics), base.tracer.clone());
            let parts = ipfsproxy::Parts { rpc: base.rpc.clone(), adder, clock, content, metrics, tracer };
            self.apis.push(Arc::new(IpfsProxy::bind(config, folder.path(), parts).await?));
        }
        if let Some(config) = &configuration.pinsvcapi {
            let clock = Arc::clone(&base.clock);
            let metrics = Arc::clone(&metrics);
            let streams = self.open_door(config).await?;
            let api = pinsvcapi::bind(config, folder.path(), base.rpc.clone(), clock, metrics).await?;
            self.apis.push(Arc::new(api.with_streams(streams).traced(base.tracer.clone())));
        }
        if let Some(config) = configuration.metrics.as_ref().filter(|config| config.enable_stats) {
            let sources = metric_sources(&configuration, &base, metrics);
            self.apis.push(Arc::new(MetricsApi::bind(config, sources).await?));
        }
        // What others tell of themselves first; the network; then the pinset, and what follows its changes before what makes them.
        let host: [Arc<dyn Component>; 2] = [Arc::clone(&base.host) as _, Arc::clone(&base.exchange) as _];
        let connector: Arc<dyn Component> = connector;
        self.watched = Some(Watched { removal: cluster.removal(), failure: cluster.failure() });
        self.consensus = Some(Arc::clone(&consensus));
        self.raft = configuration.raft.is_some().then(|| (Arc::clone(&base.host), Arc::clone(&consensus)));
        self.bootstrap = configuration.bootstrap.clone();
        let rest: [Arc<dyn Component>; 5] = [consensus, monitor, connector, tracker, cluster];
        let doors = std::mem::take(&mut self.doors);
        let traces = base.traces.map(|traces| traces as Arc<dyn Component>);
        self.components = traces.into_iter().chain(host).chain(doors).chain(rest).collect();
        for component in &self.components {
            Arc::clone(component).start(&self.scopes.1).await?;
        }
        for api in &self.apis {
            Arc::clone(api).start(&self.scopes.0).await?;
        }
        Ok(())
    }

    /// Makes the libp2p host of an API's own, if it has one; returns where its streams come in.
    async fn open_door<K: Kind>(&mut self, config: &ApiConfig<K>) -> Result<Option<Streams>, StartError> {
        let own = config.own_host().map_err(|error| failed(K::KEY, error.message))?;
        let Some(own) = own else { return Ok(None) };
        let streams = Streams::default();
        let options = DoorOptions {
            key: own.key,
            listen: own.listen,
            setting: format!("{}.libp2p_listen_multiaddress", K::KEY),
            protocol: STREAMS_PROTOCOL,
            serve: answer_streams(streams.clone()),
        };
        let door = DoorHost::bind(options).await?;
        streams.reached_at(named(door.addresses(), door.id()));
        self.doors.push(Arc::new(door));
        Ok(Some(streams))
    }

    /// Who this peer is.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.identity.id()
    }

    /// Where its APIs listen; the gateway is none of them.
    #[must_use]
    pub fn api_addresses(&self) -> Vec<Multiaddr> {
        let addresses = self.apis.iter().flat_map(|api| api.listen_addrs());
        addresses.filter(|address| Some(address) != self.gateway.as_ref()).collect()
    }

    /// Where its content can be read over HTTP, if it has content of its own.
    #[must_use]
    pub fn gateway_address(&self) -> Option<&Multiaddr> {
        self.gateway.as_ref()
    }

    /// The daemon that it drives.
    #[must_use]
    pub fn daemon_address(&self) -> &str {
        &self.daemon_address
    }

    /// Returns when this peer should stop by itself.
    pub async fn ended(&self) -> Ended {
        let Some(watched) = &self.watched else { return std::future::pending().await };
        let (mut removal, mut failure) = (watched.removal.clone(), watched.failure.clone());
        // Order: a peer that was put out need not be able to use the pinset. Errors: the main component is gone, and so
        // is whoever waits here.
        tokio::select! {
            biased;
            Ok(_) = removal.wait_for(|removed| *removed) => Ended::Removed,
            Ok(reason) = failure.wait_for(Option::is_some) => Ended::Failed(reason.clone().unwrap_or_default()),
            else => std::future::pending().await,
        }
    }

    /// Has the members that it was told of take it in, one after the other until one does. Failures are logged.
    ///
    /// # Errors
    /// The last failure, when all failed.
    pub async fn join(&self) -> Result<(), NotJoined> {
        let mut failed = Ok(());
        for address in &self.bootstrap {
            tracing::info!("Bootstrapping to {address}");
            let joined = match &self.raft {
                // Raft takes in its members itself, whichever of them is asked.
                Some((host, consensus)) => join_raft(host, &**consensus, address).await,
                None => self.rpc.call::<ClusterRpc::Join>(Target::Local, address.clone()).await,
            };
            match joined {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::error!("bootstrap to {address} failed: {error}");
                    failed = Err(NotJoined::of(address, &error));
                }
            }
        }
        failed
    }

    /// Stops as [`stop`](Self::stop) does, and under raft removes the pinset, of which a backup is kept. What a peer of
    /// a crdt has stays: there may be pins among it that nobody else has heard of yet.
    pub async fn stop_and_clean(mut self) {
        let consensus = self.consensus.take();
        self.halt().await;
        if let Some(consensus) = consensus.filter(|consensus| consensus.key() == "raft")
            && let Err(error) = consensus.clean().await
        {
            tracing::error!(%error, "the state could not be removed");
        }
        self.close();
    }

    /// Stops in order: APIs, then everything else, the last started first; then the store.
    pub async fn stop(self) {
        self.halt().await;
        self.close();
    }

    async fn halt(&self) {
        for api in &self.apis {
            api.shutdown().await;
        }
        self.scopes.0.stop().await;
        for component in self.components.iter().rev() {
            component.shutdown().await;
        }
        self.scopes.1.stop().await;
        self.rpc.unbind();
    }

    fn close(&self) {
        if let Err(error) = self.store.close() {
            tracing::error!(%error, "the datastore could not be closed in order");
        }
    }
}

/// What sends traces, if they are to be sent.
fn traces(configuration: &Configuration, peer: PeerId) -> Result<Option<Arc<Traces>>, StartError> {
    let config = configuration.tracing.as_ref().filter(|config| config.enable_tracing);
    let origin = || Origin { peer, peername: configuration.cluster.peername.clone() };
    config.map(|config| Traces::new(config, &origin()).map(Arc::new)).transpose()
}

fn tracer(traces: Option<&Arc<Traces>>, clock: &Arc<dyn Clock>, me: &PeerId) -> Tracer {
    let on = |traces: &Arc<Traces>| Tracer::new(Arc::clone(traces) as _, Arc::clone(clock), me);
    traces.map(on).unwrap_or_default()
}

/// Why no member took this peer in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotJoined {
    /// None was there, or would have it: that can change.
    #[error("{0}")]
    Yet(String),
    /// The cluster's consensus is another one: it never can be a member.
    #[error("{0}")]
    OtherConsensus(String),
}

impl NotJoined {
    fn of(address: &Multiaddr, error: &RpcError) -> Self {
        let text = format!("bootstrap to {address} failed: {error}");
        match error.kind {
            _ if error.is_other_consensus() => Self::OtherConsensus(text),
            RpcErrorKind::Unreachable => {
                Self::Yet(format!("{text}. Does that peer run, and is its cluster.secret the one of this peer?"))
            }
            _ => Self::Yet(text),
        }
    }
}

fn metric_sources(configuration: &Configuration, base: &Base, metrics: Arc<Metrics>) -> Sources {
    let (store, crdt) = (Arc::clone(&base.store), configuration.raft.is_none());
    // The crdt keeps the count beside its rows. Raft's state does not, and counting would read all of it.
    let pins = move || cluster_core::crdt::replica::pin_count(&*store).ok().filter(|_| crdt);
    let store = Arc::clone(&base.store);
    let dropped = |traces: Arc<Traces>| Arc::new(move || traces.dropped()) as Arc<dyn Fn() -> u64 + Send + Sync>;
    Sources {
        metrics,
        rpc: base.rpc.clone(),
        clock: Arc::clone(&base.clock),
        pins: Arc::new(pins),
        store_bytes: Arc::new(move || store.disk_bytes()),
        spans_dropped: base.traces.clone().map(dropped),
    }
}

/// As the reference: connections to peers whose changes count are the last to be ended.
fn protect_trusted(configuration: &Configuration, host: &Host) {
    if let Ok(Trust::These(peers)) = configuration.crdt.trust() {
        peers.iter().for_each(|peer| host.protect(peer, true));
    }
}

async fn join_raft(host: &Host, consensus: &dyn Consensus, address: &Multiaddr) -> Result<(), RpcError> {
    let unreachable = |error: NetError| RpcError::new(RpcErrorKind::Unreachable, error.to_string());
    host.connect(address).await.map_err(unreachable)?;
    Ok(consensus.add_peer(host.me()).await?)
}

fn scope() -> TaskScope {
    TaskScope::new(Arc::new(TokioSpawn::current()))
}

fn monitor(configuration: &Configuration, base: &Base) -> PubsubMonitor {
    let pubsub = Some(Arc::clone(&base.host) as Arc<dyn PubSub>);
    let parts = pubsubmon::Parts { me: base.me, clock: Arc::clone(&base.clock), pubsub };
    PubsubMonitor::new(configuration.monitor.clone(), parts)
}

fn consensus(
    configuration: &Configuration,
    base: &Base,
    folder: &Folder,
    monitor: Arc<dyn PeerMonitor>,
) -> Result<Arc<dyn Consensus>, StartError> {
    if let Some(config) = &configuration.raft {
        let state = configuration.state.build(&base.store).map_err(|e| failed("raft", e))?;
        let parts = cluster_raft::Parts {
            me: base.me,
            store: Arc::clone(&base.store),
            state,
            courier: Arc::new(RpcCourier(base.rpc.clone())),
            clock: Arc::clone(&base.clock),
            join: configuration.bootstrap.iter().filter_map(name_of).collect(),
            backups: Some(folder.path().to_owned()),
        };
        return Ok(Arc::new(RaftConsensus::new(config.clone(), parts)));
    }
    let metric = configuration.crdt.peerset_metric.clone();
    let parts = cluster_crdt::Parts {
        me: base.me,
        store: Arc::clone(&base.store),
        state: Arc::new(DsState::new(Arc::clone(&base.store))) as Arc<dyn StateRead>,
        clock: Arc::clone(&base.clock),
        pubsub: Some(Arc::clone(&base.host) as Arc<dyn PubSub>),
        exchange: Some(Arc::clone(&base.exchange) as Arc<dyn BlockExchange>),
        members: Arc::new(move || monitor.latest(&metric).into_keys().collect::<BTreeSet<PeerId>>()),
        writer: cluster_crdt::WriterOn::Thread,
        metrics: Arc::clone(&base.metrics),
    };
    Ok(Arc::new(CrdtConsensus::new(configuration.crdt.clone(), parts)?))
}

fn connector(
    configuration: &Configuration,
    folder: &Folder,
    base: &Base,
    consensus: &Arc<dyn Consensus>,
) -> Result<BuiltConnector, StartError> {
    let embedded = cluster_embedded::Parts {
        folder: folder.embedded(),
        store: Arc::clone(&base.store),
        clock: Arc::clone(&base.clock),
        exchange: Some(Arc::clone(&base.exchange) as Arc<dyn BlockExchange>),
        wanted: Some(Wanted { pinset: consensus.state(), me: base.me }),
    };
    configuration.connector.build(base.rpc.clone(), Arc::clone(&base.metrics), embedded)
}

fn tracker(
    configuration: &Configuration,
    base: &Base,
    consensus: &Arc<dyn Consensus>,
    connector: &Arc<dyn IpfsConnector>,
    monitor: &Arc<PubsubMonitor>,
) -> Tracked {
    let (name, me, monitor) = (configuration.cluster.peername.clone(), base.me, Arc::clone(monitor));
    let whoami = move || {
        let ping = monitor.latest_for("ping", &me);
        let value: PingValue = ping.and_then(|m| serde_json::from_str(&m.value).ok()).unwrap_or_default();
        (name.clone(), IpfsId { id: value.ipfs_id, addresses: value.ipfs_addresses })
    };
    let parts = pintracker::Parts {
        me,
        whoami: Arc::new(whoami),
        store: Arc::clone(&base.store),
        consensus: Arc::clone(consensus),
        connector: Arc::clone(connector),
        others: pintracker::ask_by_rpc(base.rpc.clone(), Arc::clone(&base.clock)),
        clock: Arc::clone(&base.clock),
        entropy: Box::new(SystemEntropy::new()),
        tracer: base.tracer.clone(),
    };
    configuration.tracker.build(parts)
}

fn main_component(
    configuration: &Configuration,
    base: &Base,
    consensus: &Arc<dyn Consensus>,
    connector: &Arc<dyn IpfsConnector>,
    monitor: &Arc<PubsubMonitor>,
) -> MainCluster {
    let parts = cluster_peer::cluster::Parts {
        rpc: base.rpc.clone(),
        consensus: Arc::clone(consensus),
        connector: Arc::clone(connector),
        monitor: Arc::clone(monitor) as Arc<dyn PeerMonitor>,
        allocator: configuration.allocator.build(),
        informers: informers(configuration, base),
        clock: Arc::clone(&base.clock),
        network: Some(Arc::clone(&base.host) as Arc<dyn Network>),
        tracer: base.tracer.clone(),
    };
    MainCluster::new(configuration.cluster.clone(), parts)
}

fn informers(configuration: &Configuration, base: &Base) -> Vec<Arc<dyn Informer>> {
    let mut informers: Vec<Arc<dyn Informer>> = Vec::new();
    if let Some(config) = &configuration.disk {
        informers.push(Arc::new(DiskInformer::new(config.clone(), base.rpc.clone(), Arc::clone(&base.clock))));
    }
    if let Some(config) = &configuration.tags {
        informers.push(Arc::new(TagsInformer::new(config.clone(), base.me, Arc::clone(&base.clock))));
    }
    if let Some(config) = &configuration.pinqueue {
        informers.push(Arc::new(PinQueueInformer::new(config.clone(), base.rpc.clone(), Arc::clone(&base.clock))));
    }
    if let Some(config) = &configuration.numpin {
        informers.push(Arc::new(NumPinInformer::new(config.clone(), base.rpc.clone(), Arc::clone(&base.clock))));
    }
    informers
}
