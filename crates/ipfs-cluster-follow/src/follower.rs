//! A follower: its folder, and the configuration that it runs with.

use crate::failure::{Doing, Failure};
use cluster_client::{Client, Host};
use cluster_component::config::{ConfigError, Document, Environment};
use cluster_node::config::Configuration;
use cluster_node::folder::Folder;
use std::path::Path;
use std::time::Duration;

/// A running follower answers at once; one that does not within this time counts as not running.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The variable that puts its API elsewhere.
const LISTEN: &str = "CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS";

/// The follower of one cluster.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Follower {
    name: String,
    folder: Folder,
}

impl Follower {
    /// That of the cluster of this name, below `folder`.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        Self { name: name.to_owned(), folder: Folder::new(folder.join(name)) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn is_initialized(&self) -> bool {
        self.folder.path().exists()
    }

    /// # Errors
    /// Advice to initialize it first.
    pub(crate) fn must_be_initialized(&self) -> Result<(), Failure> {
        if self.is_initialized() {
            return Ok(());
        }
        Err(Failure::Advice(format!(
            "\nThis cluster peer has not been initialized.\n\nTry running \"ipfs-cluster-follow {} init <config-url>\" first.",
            self.name
        )))
    }

    /// Where its configuration is; empty if it is in the folder.
    pub(crate) fn source(&self) -> String {
        let text = std::fs::read_to_string(self.folder.service_json()).unwrap_or_default();
        let document = Document::parse(&text).unwrap_or_default();
        document.source().unwrap_or_default().to_owned()
    }

    /// The configuration as it is, wherever it is.
    pub(crate) fn configuration(&self) -> Result<Configuration, ConfigError> {
        Configuration::load(&self.folder, &Environment::of_process()?)
    }

    /// What a failed reading of it is called.
    pub(crate) fn reading(&self) -> String {
        format!("reading the configurations in {}", self.folder.path().display())
    }

    /// The address of its API, as a multiaddr.
    pub(crate) fn api_address(&self) -> String {
        std::env::var(LISTEN).ok().filter(|text| !text.is_empty()).unwrap_or_else(|| self.socket_address())
    }

    /// The socket in its folder.
    pub(crate) fn socket_address(&self) -> String {
        format!("/unix{}", self.folder.path().join("api-socket").display())
    }

    /// A client of its API. Of several addresses the first counts.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let address = self.api_address();
        let first = address.split(',').next().unwrap_or_default().trim();
        let doing = format!("error parsing the value of {LISTEN}: {first}");
        let host = Host::parse(first, false).doing(doing)?;
        Client::builder().host(host).timeout(ANSWER_MAX).build().doing("error creating client")
    }
}

/// A runtime for one command.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().doing("starting")
}
