//! Which implementation of a component the configuration chooses: the one whose section is there.

use cluster_component::component::{IpfsConnector, PinAllocator, State};
use cluster_component::config::{ComponentConfig, ConfigError, Document, Environment, Section};
use cluster_component::content::Content;
use cluster_component::errors::{StartError, StateError};
use cluster_component::metrics::Metrics;
use cluster_component::ports::LocalBlocks;
use cluster_component::rpc::Rpc;
use cluster_embedded::{Embedded, EmbeddedConfig};
use cluster_ipfs::{IpfsHttp, IpfsHttpConfig};
use cluster_peer::allocator::ascendalloc::{AscendAllocator, AscendConfig};
use cluster_peer::allocator::balanced::{BalancedAllocator, BalancedConfig};
use cluster_peer::allocator::descendalloc::{DescendAllocator, DescendConfig};
use cluster_peer::pintracker::{self, MapTrackerConfig, StatelessConfig, Tracked, maptracker, stateless};
use cluster_peer::state::mapstate::{MapState, MapStateConfig};
use cluster_peer::state::pinstate::{DsStateConfig, PinState};
use cluster_types::Multiaddr;
use cluster_types::store::Datastore;
use std::sync::Arc;

/// The IPFS daemon.
#[derive(Debug, Clone, PartialEq)]
pub enum ConnectorChoice {
    /// A Kubo beside the peer.
    IpfsHttp(IpfsHttpConfig),
    /// A node in the process.
    Embedded(EmbeddedConfig),
}

/// A connector, and what a node in the process has besides.
#[allow(missing_debug_implementations)] // Its parts are traits that need not show themselves.
pub(crate) struct BuiltConnector {
    pub(crate) connector: Arc<dyn IpfsConnector>,
    /// Where its content can be read over HTTP.
    pub(crate) gateway: Option<Multiaddr>,
    /// Its content; a daemon is asked for that by itself.
    pub(crate) content: Option<Arc<dyn Content>>,
    /// What it serves to others; a daemon beside the peer does that by itself.
    pub(crate) blocks: Option<Arc<dyn LocalBlocks>>,
}

impl ConnectorChoice {
    /// The one whose section is there; `ipfshttp` if none is.
    ///
    /// # Errors
    /// When both are there, or the section is not right.
    pub(crate) fn read(document: &Document, environment: &Environment) -> Result<Self, ConfigError> {
        let keys = [IpfsHttpConfig::KEY, EmbeddedConfig::KEY];
        Ok(match one_of(document, Section::IpfsConnector, &keys)? {
            Some(EmbeddedConfig::KEY) => Self::Embedded(document.load(environment)?.config),
            _ => Self::IpfsHttp(document.load(environment)?.config),
        })
    }

    pub(crate) fn store(&self, document: &mut Document) {
        match self {
            Self::IpfsHttp(config) => document.store(config),
            Self::Embedded(config) => document.store(config),
        }
    }

    /// Where the daemon is, in words.
    #[must_use]
    pub fn address(&self) -> &str {
        match self {
            Self::IpfsHttp(config) => &config.node_multiaddress,
            Self::Embedded(_) => "in this process",
        }
    }

    pub(crate) fn build(
        &self,
        rpc: Rpc,
        metrics: Arc<Metrics>,
        embedded: cluster_embedded::Parts,
    ) -> Result<BuiltConnector, StartError> {
        match self.clone() {
            Self::IpfsHttp(config) => {
                let parts = cluster_ipfs::Parts { rpc, clock: embedded.clock, metrics };
                let connector = Arc::new(IpfsHttp::new(config, parts)?);
                Ok(BuiltConnector { connector, gateway: None, content: None, blocks: None })
            }
            Self::Embedded(config) => {
                let gateway = config.gateway();
                let node = Embedded::open(config, embedded)?;
                let (content, blocks) = (Some(node.content()), Some(node.blocks()));
                Ok(BuiltConnector { connector: Arc::new(node), gateway, content, blocks })
            }
        }
    }
}

impl Default for ConnectorChoice {
    fn default() -> Self {
        Self::IpfsHttp(IpfsHttpConfig::default())
    }
}

/// The tracker.
#[derive(Debug, Clone, PartialEq)]
pub enum TrackerChoice {
    /// Its index is in the datastore.
    Stateless(StatelessConfig),
    /// Its index is in memory.
    Map(MapTrackerConfig),
}

impl TrackerChoice {
    /// The one whose section is there; `stateless` if none is.
    ///
    /// # Errors
    /// When both are there, or the section is not right.
    pub(crate) fn read(document: &Document, environment: &Environment) -> Result<Self, ConfigError> {
        Ok(match one_of(document, Section::PinTracker, &[StatelessConfig::KEY, MapTrackerConfig::KEY])? {
            Some(MapTrackerConfig::KEY) => Self::Map(document.load(environment)?.config),
            _ => Self::Stateless(document.load(environment)?.config),
        })
    }

    pub(crate) fn store(&self, document: &mut Document) {
        match self {
            Self::Stateless(config) => document.store(config),
            Self::Map(config) => document.store(config),
        }
    }

    pub(crate) fn build(&self, parts: pintracker::Parts) -> Tracked {
        match self {
            Self::Stateless(config) => stateless(config, parts),
            Self::Map(config) => maptracker(config, parts),
        }
    }
}

impl Default for TrackerChoice {
    fn default() -> Self {
        Self::Stateless(StatelessConfig::default())
    }
}

/// The allocator.
#[derive(Debug, Clone, PartialEq)]
pub enum AllocatorChoice {
    /// Divides by one metric after the other.
    Balanced(BalancedConfig),
    /// The smallest value first.
    Ascend(AscendConfig),
    /// The largest value first.
    Descend(DescendConfig),
}

impl AllocatorChoice {
    /// The one whose section is there. If none is: `balanced` by free space alone, as the reference, whose new files
    /// have another default.
    ///
    /// # Errors
    /// When several are there, or the section is not right.
    pub(crate) fn read(document: &Document, environment: &Environment) -> Result<Self, ConfigError> {
        let keys = [BalancedConfig::KEY, AscendConfig::KEY, DescendConfig::KEY];
        Ok(match one_of(document, Section::Allocator, &keys)? {
            Some(BalancedConfig::KEY) => Self::Balanced(document.load(environment)?.config),
            Some(AscendConfig::KEY) => Self::Ascend(document.load(environment)?.config),
            Some(DescendConfig::KEY) => Self::Descend(document.load(environment)?.config),
            _ => Self::Balanced(BalancedConfig { allocate_by: vec!["freespace".into()] }),
        })
    }

    pub(crate) fn store(&self, document: &mut Document) {
        match self {
            Self::Balanced(config) => document.store(config),
            Self::Ascend(config) => document.store(config),
            Self::Descend(config) => document.store(config),
        }
    }

    pub(crate) fn build(&self) -> Arc<dyn PinAllocator> {
        match self.clone() {
            Self::Balanced(config) => Arc::new(BalancedAllocator::new(config)),
            Self::Ascend(config) => Arc::new(AscendAllocator::new(config)),
            Self::Descend(config) => Arc::new(DescendAllocator::new(config)),
        }
    }
}

impl Default for AllocatorChoice {
    fn default() -> Self {
        Self::Balanced(BalancedConfig::default())
    }
}

/// The state of a consensus that keeps no pins of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StateChoice {
    /// In the datastore.
    #[default]
    Ds,
    /// In memory.
    Map,
}

impl StateChoice {
    /// The one whose section is there; `dsstate` if none is.
    ///
    /// # Errors
    /// When both are there, or the consensus has no use for the one.
    pub(crate) fn read(document: &Document, raft: bool) -> Result<Self, ConfigError> {
        match one_of(document, Section::State, &[DsStateConfig::KEY, MapStateConfig::KEY])? {
            Some(MapStateConfig::KEY) if raft => Ok(Self::Map),
            Some(MapStateConfig::KEY) => {
                let text = "state.mapstate goes with consensus raft: the crdt keeps its pins in the datastore. Remove \
                            the section state, or choose raft";
                Err(ConfigError::new("state.mapstate", text))
            }
            _ => Ok(Self::Ds),
        }
    }

    pub(crate) fn store(self, document: &mut Document) {
        if self == Self::Map {
            document.store(&MapStateConfig::default());
        }
    }

    /// # Errors
    /// When the datastore cannot be read.
    pub(crate) fn build(self, store: &Arc<dyn Datastore>) -> Result<Arc<dyn State>, StateError> {
        Ok(match self {
            Self::Ds => Arc::new(PinState::open(Arc::clone(store))?),
            Self::Map => Arc::new(MapState::new()),
        })
    }
}

/// The one of these keys that the section of the file has. Keys of others are none of ours to judge.
pub(crate) fn one_of<'a>(
    document: &Document,
    section: Section,
    keys: &[&'a str],
) -> Result<Option<&'a str>, ConfigError> {
    let there: Vec<&str> = keys.iter().copied().filter(|key| document.has(section, key)).collect();
    match there.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let text = format!("{} names {}: keep one of them", section.name(), several.join(" and "));
            Err(ConfigError::new(section.name(), text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(text).expect("JSON")
    }

    fn none() -> Environment {
        Environment::default()
    }

    #[test]
    fn the_section_that_is_there_chooses() {
        let file =
            document(r#"{"pin_tracker": {"maptracker": {"concurrent_pins": 3}}, "allocator": {"descendalloc": {}}}"#);
        let tracker = TrackerChoice::read(&file, &none()).expect("a tracker");
        assert!(matches!(&tracker, TrackerChoice::Map(config) if config.0.concurrent_pins == 3));
        assert_eq!(AllocatorChoice::read(&file, &none()), Ok(AllocatorChoice::Descend(DescendConfig::default())));

        let mut written = Document::new();
        tracker.store(&mut written);
        assert_eq!(TrackerChoice::read(&written, &none()), Ok(tracker));
    }

    #[test]
    fn without_a_section_it_is_as_the_reference() {
        let empty = document("{}");
        assert_eq!(TrackerChoice::read(&empty, &none()), Ok(TrackerChoice::default()));
        let by_space = BalancedConfig { allocate_by: vec!["freespace".into()] };
        assert_eq!(AllocatorChoice::read(&empty, &none()), Ok(AllocatorChoice::Balanced(by_space)));
    }

    #[test]
    fn the_daemon_is_a_kubo_unless_the_file_names_the_embedded_node() {
        let file = document(r#"{"ipfs_connector": {"embedded": {"storage_max": "5GB"}}}"#);
        let chosen = ConnectorChoice::read(&file, &none()).expect("a connector");
        let wanted = EmbeddedConfig { storage_max: "5GB".into(), ..EmbeddedConfig::default() };
        assert_eq!(chosen, ConnectorChoice::Embedded(wanted));

        let mut written = Document::new();
        chosen.store(&mut written);
        assert_eq!(ConnectorChoice::read(&written, &none()), Ok(chosen));

        let kubo = document(r#"{"ipfs_connector": {"ipfshttp": {"node_multiaddress": "/ip4/10.0.0.1/tcp/5001"}}}"#);
        let chosen = ConnectorChoice::read(&kubo, &none()).expect("a connector");
        assert_eq!(chosen.address(), "/ip4/10.0.0.1/tcp/5001");

        let both = document(r#"{"ipfs_connector": {"ipfshttp": {}, "embedded": {}}}"#);
        let error = ConnectorChoice::read(&both, &none()).expect_err("two connectors");
        assert_eq!(error.message, "ipfs_connector names ipfshttp and embedded: keep one of them");
    }

    #[test]
    fn two_of_a_kind_are_refused_by_name() {
        let file = document(r#"{"allocator": {"balanced": {}, "ascendalloc": {}}}"#);
        let error = AllocatorChoice::read(&file, &none()).expect_err("two allocators");
        assert_eq!(error.message, "allocator names balanced and ascendalloc: keep one of them");
    }

    #[test]
    fn a_state_that_the_consensus_cannot_use_is_explained() {
        let file = document(r#"{"state": {"mapstate": {}}}"#);
        assert_eq!(StateChoice::read(&file, true), Ok(StateChoice::Map));
        let error = StateChoice::read(&file, false).expect_err("crdt");
        assert!(error.message.contains("goes with consensus raft"), "{}", error.message);
        assert_eq!(StateChoice::read(&document("{}"), true), Ok(StateChoice::Ds));
    }

    #[test]
    fn an_allocator_that_goes_by_nothing_is_refused() {
        let file = document(r#"{"allocator": {"ascendalloc": {"allocate_by": ""}}}"#);
        assert!(AllocatorChoice::read(&file, &none()).is_err());
    }
}
