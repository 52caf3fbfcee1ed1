//! A component's part of `service.json`.

use super::error::ConfigError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The parts of `service.json`, in the order in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// The main component: a single object, not one per component.
    Cluster,
    /// `crdt` or `raft`.
    Consensus,
    /// Ways in.
    Api,
    /// `ipfshttp` or `embedded`.
    IpfsConnector,
    /// States.
    State,
    /// Trackers.
    PinTracker,
    /// Monitors.
    Monitor,
    /// Allocators.
    Allocator,
    /// Informers.
    Informer,
    /// Metrics and tracing.
    Observations,
    /// Stores.
    Datastore,
}

impl Section {
    /// All of them, in the file's order.
    pub const ALL: [Self; 11] = [
        Self::Cluster,
        Self::Consensus,
        Self::Api,
        Self::IpfsConnector,
        Self::State,
        Self::PinTracker,
        Self::Monitor,
        Self::Allocator,
        Self::Informer,
        Self::Observations,
        Self::Datastore,
    ];

    /// Its key in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Section::Cluster => "cluster",
            Section::Consensus => "consensus",
            Section::Api => "api",
            Section::IpfsConnector => "ipfs_connector",
            Section::State => "state",
            Section::PinTracker => "pin_tracker",
            Section::Monitor => "monitor",
            Section::Allocator => "allocator",
            Section::Informer => "informer",
            Section::Observations => "observations",
            Section::Datastore => "datastore",
        }
    }
}

/// A component's configuration: fields with their defaults and checks. Everything else is derived from that.
///
/// As the reference: a key that is missing takes its default or its zero value, field by field.
pub trait ComponentConfig: Default + Serialize + DeserializeOwned {
    /// The part of the file it belongs to.
    const SECTION: Section;

    /// Its key within that part, such as `crdt`; also the prefix of its variables, as in `CLUSTER_CRDT_…`.
    const KEY: &'static str;

    /// Checks the values.
    ///
    /// # Errors
    /// The first mistake, in the reference's words and order.
    fn validate(&self) -> Result<(), ConfigError>;

    /// Keys (dotted) whose values are secrets, hidden when a configuration is shown.
    const SECRETS: &'static [&'static str] = &[];

    /// Keys (dotted) that are not written while they have their default, with that default as JSON. They can be set
    /// in the file and by variables all the same.
    const HIDDEN: &'static [(&'static str, &'static str)] = &[];
}
