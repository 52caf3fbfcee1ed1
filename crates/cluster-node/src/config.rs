//! All sections together: which components there are is what the file has.

use crate::choice::{AllocatorChoice, ConnectorChoice, StateChoice, TrackerChoice, one_of};
use crate::folder::Folder;
use crate::source;
use cluster_component::config::{ComponentConfig, ConfigError, Document, Environment, Section};
use cluster_component::errors::io_text;
use cluster_crdt::CrdtConfig;
pub use cluster_embedded::EmbeddedConfig;
pub use cluster_http::api::ipfsproxy::IpfsProxyConfig;
use cluster_http::api::metrics::MetricsConfig;
pub use cluster_http::api::pinsvcapi::PinSvcApiConfig;
pub use cluster_http::api::restapi::RestApiConfig;
pub use cluster_ipfs::IpfsHttpConfig;
pub use cluster_otlp::TracingConfig;
use cluster_peer::cluster::ClusterConfig;
pub use cluster_peer::cluster::config::Secret;
use cluster_peer::informer::disk::DiskConfig;
use cluster_peer::informer::numpin::NumPinConfig;
use cluster_peer::informer::pinqueue::PinQueueConfig;
use cluster_peer::informer::tags::TagsConfig;
use cluster_peer::monitor::pubsubmon::PubsubmonConfig;
pub use cluster_raft::RaftConfig;
use cluster_types::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, TcpListener};

/// The reference's stores. A file that names one is served by ours.
pub(crate) const OTHER_STORES: [&str; 4] = ["badger", "badger3", "leveldb", "pebble"];

/// Section `datastore.fjall`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FjallConfig {
    /// The folder, within the peer's. Default `fjall`.
    #[serde(skip_serializing_if = "is_fjall")]
    pub folder: String,
}

impl Default for FjallConfig {
    fn default() -> Self {
        Self { folder: "fjall".into() }
    }
}

fn is_fjall(folder: &str) -> bool {
    folder == "fjall"
}

impl ComponentConfig for FjallConfig {
    const SECTION: Section = Section::Datastore;
    const KEY: &'static str = "fjall";
    const HIDDEN: &'static [(&'static str, &'static str)] = &[("folder", "\"fjall\"")];

    fn validate(&self) -> Result<(), ConfigError> {
        if self.folder.is_empty() {
            return Err(ConfigError::new("fjall.folder", "fjall.folder is empty: name a folder or remove the key"));
        }
        Ok(())
    }
}

/// A peer's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// The main component.
    pub cluster: ClusterConfig,
    /// The consensus, unless it is raft.
    pub crdt: CrdtConfig,
    /// The consensus, if it is raft.
    pub raft: Option<RaftConfig>,
    /// Raft's state.
    pub state: StateChoice,
    /// The REST API; `None`: there is none.
    pub restapi: Option<RestApiConfig>,
    /// The IPFS proxy; `None`: there is none.
    pub ipfsproxy: Option<IpfsProxyConfig>,
    /// The Pinning Service API; `None`: there is none.
    pub pinsvcapi: Option<PinSvcApiConfig>,
    /// The IPFS daemon.
    pub connector: ConnectorChoice,
    /// The tracker.
    pub tracker: TrackerChoice,
    /// The monitor.
    pub monitor: PubsubmonConfig,
    /// The allocator.
    pub allocator: AllocatorChoice,
    /// Informers that are there.
    pub disk: Option<DiskConfig>,
    /// As above.
    pub tags: Option<TagsConfig>,
    /// As above.
    pub pinqueue: Option<PinQueueConfig>,
    /// As above; not in new files.
    pub numpin: Option<NumPinConfig>,
    /// Figures; `None`: none are served.
    pub metrics: Option<MetricsConfig>,
    /// Traces; `None`: none are sent.
    pub tracing: Option<TracingConfig>,
    /// The store.
    pub datastore: FjallConfig,
    /// Members that this start asks to be taken in by; not part of the file.
    pub bootstrap: Vec<Multiaddr>,
}

impl Configuration {
    /// A new one, with a secret of its own.
    #[must_use]
    pub fn new() -> Self {
        let secret: [u8; 32] = rand::random();
        Self {
            cluster: ClusterConfig { secret: Secret::new(secret), ..ClusterConfig::default() },
            crdt: CrdtConfig::default(),
            raft: None,
            state: StateChoice::default(),
            restapi: Some(RestApiConfig::default()),
            ipfsproxy: Some(IpfsProxyConfig::default()),
            pinsvcapi: Some(PinSvcApiConfig::default()),
            connector: ConnectorChoice::default(),
            tracker: TrackerChoice::default(),
            monitor: PubsubmonConfig::default(),
            allocator: AllocatorChoice::default(),
            disk: Some(DiskConfig::default()),
            tags: Some(TagsConfig::default()),
            pinqueue: Some(PinQueueConfig::default()),
            numpin: None,
            metrics: Some(MetricsConfig::default()),
            tracing: Some(TracingConfig::default()),
            datastore: FjallConfig::default(),
            bootstrap: Vec::new(),
        }
    }

    /// A new one whose IPFS node is in the process.
    #[must_use]
    pub fn new_embedded() -> Self {
        Self { connector: ConnectorChoice::Embedded(EmbeddedConfig::default()), ..Self::new() }
    }

    /// Reads `service.json` and applies variables.
    ///
    /// # Errors
    /// When the file is not there or not right; the text says what to do.
    pub fn load(folder: &Folder, environment: &Environment) -> Result<Self, ConfigError> {
        let path = folder.service_json();
        let text = std::fs::read_to_string(&path).map_err(|e| {
            let hint = "to make one, run: ipfs-cluster-service init";
            ConfigError::new("", format!("open {}: {} ({hint})", path.display(), io_text(&e)))
        })?;
        let mut document = Document::parse(&text)?;
        if let Some(url) = document.source() {
            document = source::fetch(url)?;
        }
        if !document.has(Section::Cluster, "") {
            let text = "cluster section failed to validate: cluster.listen_multiaddress is undefined";
            return Err(ConfigError::new("cluster", text));
        }
        tell_what_is_not_here(&document);
        Self::read(&document, environment)
    }

    pub(crate) fn read(document: &Document, environment: &Environment) -> Result<Self, ConfigError> {
        let raft = match one_of(document, Section::Consensus, &[CrdtConfig::KEY, RaftConfig::KEY]) {
            Ok(Some(key)) => key == RaftConfig::KEY,
            _ => {
                let text = "could not determine the consensus component: one of consensus.crdt and consensus.raft must \
                            be there, and only one";
                return Err(ConfigError::new("consensus", text));
            }
        };
        Ok(Self {
            cluster: document.load(environment)?.config,
            crdt: document.load(environment)?.config,
            raft: optional(document, environment)?,
            state: StateChoice::read(document, raft)?,
            restapi: optional(document, environment)?,
            ipfsproxy: optional(document, environment)?,
            pinsvcapi: optional(document, environment)?,
            connector: ConnectorChoice::read(document, environment)?,
            tracker: TrackerChoice::read(document, environment)?,
            monitor: document.load(environment)?.config,
            allocator: AllocatorChoice::read(document, environment)?,
            disk: optional(document, environment)?,
            tags: optional(document, environment)?,
            pinqueue: optional(document, environment)?,
            numpin: optional(document, environment)?,
            metrics: optional(document, environment)?,
            tracing: optional(document, environment)?,
            datastore: document.load(environment)?.config,
            bootstrap: Vec::new(),
        })
    }

    /// Applies variables to what there is.
    ///
    /// # Errors
    /// When one of them is not right.
    pub fn apply(&mut self, environment: &Environment) -> Result<(), ConfigError> {
        *self = Self::read(&self.document(), environment)?;
        Ok(())
    }

    /// Checks every section.
    ///
    /// # Errors
    /// The first mistake.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Self::read(&self.document(), &Environment::default()).map(drop)
    }

    fn document(&self) -> Document {
        let mut document = Document::new();
        document.store(&self.cluster);
        match &self.raft {
            Some(raft) => document.store(raft),
            None => document.store(&self.crdt),
        }
        self.state.store(&mut document);
        store_if_some(&mut document, self.ipfsproxy.as_ref());
        store_if_some(&mut document, self.pinsvcapi.as_ref());
        store_if_some(&mut document, self.restapi.as_ref());
        self.connector.store(&mut document);
        self.tracker.store(&mut document);
        document.store(&self.monitor);
        self.allocator.store(&mut document);
        store_if_some(&mut document, self.disk.as_ref());
        store_if_some(&mut document, self.pinqueue.as_ref());
        store_if_some(&mut document, self.numpin.as_ref());
        store_if_some(&mut document, self.tags.as_ref());
        store_if_some(&mut document, self.metrics.as_ref());
        store_if_some(&mut document, self.tracing.as_ref());
        document.store(&self.datastore);
        document
    }

    /// Has this start ask members at these addresses to take it in. Under raft it founds no cluster of its own then;
    /// under crdt they are trusted, unless `distrust`.
    pub fn join(&mut self, addresses: Vec<Multiaddr>, distrust: bool) {
        if !distrust {
            self.crdt.trusted_peers.extend(addresses.iter().filter_map(name_of).map(|peer| peer.to_string()));
        }
        self.bootstrap = addresses;
    }

    /// Has the consensus begin with these peers: the crdt trusts them and no others, raft has them as members. Does
    /// nothing when there are none.
    pub fn trust_only(&mut self, peers: &[PeerId]) {
        let mut names: Vec<String> = Vec::new();
        for name in peers.iter().map(ToString::to_string) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return;
        }
        match &mut self.raft {
            Some(raft) => raft.init_peerset = names,
            None => self.crdt.trusted_peers = names,
        }
    }

    /// The text of a `service.json` that only says where the configuration is fetched from.
    #[must_use]
    pub fn text_of_source(url: &str) -> String {
        serde_json::to_string_pretty(&serde_json::json!({ "source": url })).unwrap_or_default()
    }

    /// The text of `service.json`.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.document().to_text()
    }

    /// Puts a free port in the place of each that is listened on.
    ///
    /// # Errors
    /// When there is none.
    pub fn randomize_ports(&mut self) -> std::io::Result<()> {
        let lists = [&mut self.cluster.listen_multiaddress]
            .into_iter()
            .chain(self.restapi.as_mut().map(|api| &mut api.http_listen_multiaddress))
            .chain(self.ipfsproxy.as_mut().map(|proxy| &mut proxy.listen_multiaddress))
            .chain(self.pinsvcapi.as_mut().map(|api| &mut api.http_listen_multiaddress));
        for list in lists {
            for text in &mut list.0 {
                *text = with_free_port(text)?;
            }
        }
        if let ConnectorChoice::Embedded(embedded) = &mut self.connector {
            embedded.gateway_multiaddress = with_free_port(&embedded.gateway_multiaddress)?;
            for text in &mut embedded.swarm.listen_multiaddresses {
                *text = with_free_port(text)?;
            }
        }
        Ok(())
    }

    /// Gives the gateway a free port if another program has the one it would have.
    ///
    /// # Errors
    /// When there is none.
    pub fn yield_gateway_port(&mut self) -> std::io::Result<()> {
        if let ConnectorChoice::Embedded(embedded) = &mut self.connector {
            let parts: Vec<&str> = embedded.gateway_multiaddress.split('/').collect();
            if let ["", "ip4" | "ip6", ip, "tcp", port] = parts[..]
                && let (Ok(ip), Ok(port)) = (ip.parse::<IpAddr>(), port.parse::<u16>())
                && TcpListener::bind((ip, port)).is_err()
            {
                embedded.gateway_multiaddress = with_free_port(&embedded.gateway_multiaddress)?;
            }
        }
        Ok(())
    }
}

impl Default for Configuration {
    fn default() -> Self {
        Self::new()
    }
}

fn optional<C: ComponentConfig>(document: &Document, environment: &Environment) -> Result<Option<C>, ConfigError> {
    let loaded = document.load::<C>(environment)?;
    Ok(loaded.present.then_some(loaded.config))
}

fn store_if_some<C: ComponentConfig>(document: &mut Document, config: Option<&C>) {
    if let Some(config) = config {
        document.store(config);
    }
}

fn tell_what_is_not_here(document: &Document) {
    for store in OTHER_STORES.iter().filter(|store| document.has(Section::Datastore, store)) {
        tracing::info!(
            "datastore.{store} is in service.json; the pinset is kept in fjall here: bring it with state import"
        );
    }
}

/// The peer that an address ends with.
#[must_use]
pub fn name_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(multiaddr::Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// A port that is free now. First one is looked for below those that Linux gives to outgoing connections: it is still
/// free when it is used later.
fn free_port(ip: IpAddr) -> std::io::Result<u16> {
    const QUIET: std::ops::Range<u16> = 10_000..32_000;
    let tries = (0..32).map(|_| rand::random_range(QUIET));
    match tries.into_iter().find(|port| TcpListener::bind((ip, *port)).is_ok()) {
        Some(port) => Ok(port),
        None => Ok(TcpListener::bind((ip, 0))?.local_addr()?.port()),
    }
}

/// The address with a port that is free now. What is no IP and port stays as it is.
fn with_free_port(text: &str) -> std::io::Result<String> {
    let mut parts: Vec<String> = text.split('/').map(str::to_owned).collect();
    let Some(at) = parts.iter().position(|part| part == "tcp" || part == "udp") else { return Ok(text.to_owned()) };
    let ip: Option<IpAddr> = at.checked_sub(1).and_then(|before| parts[before].parse().ok());
    if let (Some(ip), Some(port)) = (ip, parts.get_mut(at + 1)) {
        *port = free_port(ip)?.to_string();
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let temp = tempfile::tempdir().expect("temp folder");
        let folder = Folder::new(temp.path());
        let configuration = Configuration::new();
        folder.write_private(&folder.service_json(), &configuration.to_text()).expect("written");

        let read = Configuration::load(&folder, &Environment::default());
        assert_eq!(read, Ok(configuration));
    }

    #[test]
    fn either_consensus_is_written_and_read_back_and_both_together_are_refused() {
        let raft = Configuration { raft: Some(RaftConfig::default()), state: StateChoice::Map, ..Configuration::new() };
        let text = raft.to_text();
        assert!(text.contains("\"raft\"") && !text.contains("\"crdt\"") && text.contains("\"mapstate\""), "{text}");
        let document = Document::parse(&text).expect("JSON");
        let read = Configuration::read(&document, &Environment::default()).expect("right");
        assert_eq!((read.raft, read.state), (raft.raft, StateChoice::Map));

        for wrong in [r#"{"consensus": {"raft": {}, "crdt": {}}}"#, r#"{"consensus": {}}"#] {
            let document = Document::parse(wrong).expect("JSON");
            let error = Configuration::read(&document, &Environment::default()).expect_err("not one");
            assert!(error.message.starts_with("could not determine the consensus component"), "{}", error.message);
        }
    }

    #[test]
    fn free_ports_take_the_place_of_fixed_ones() {
        let given = with_free_port("/ip4/127.0.0.1/tcp/9094").expect("a port");
        assert!(given.starts_with("/ip4/127.0.0.1/tcp/") && !given.ends_with("/9094"));
        assert_eq!(with_free_port("/unix/run/x").expect("as it is"), "/unix/run/x");
    }
}
