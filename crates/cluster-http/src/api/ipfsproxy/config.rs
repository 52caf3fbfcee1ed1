//! Section `api.ipfsproxy`.

use crate::api::door::config::{default_stall, is_default_stall};
use cluster_component::config::{ComponentConfig, ConfigError, Section, Strings};
use cluster_types::{GoDuration, Multiaddr};
use serde::{Deserialize, Serialize};

/// Least value of `max_header_bytes`.
const HEADER_BYTES_MIN: i64 = 4096;

/// Where the proxy listens, and which daemon is behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpfsProxyConfig {
    /// Where it listens, one multiaddr or several. Default `/ip4/127.0.0.1/tcp/9095`.
    pub listen_multiaddress: Strings,
    /// The daemon's API. Default `/ip4/127.0.0.1/tcp/5001`.
    pub node_multiaddress: String,
    /// Whether the daemon is asked over TLS. Its certificate must be for the host of `node_multiaddress`, and from an
    /// authority that the system, or `SSL_CERT_FILE`, trusts. Default no.
    #[serde(skip_serializing_if = "is_false")]
    pub node_https: bool,
    /// File of the access log, relative to the folder; empty: the log.
    pub log_file: String,
    /// From the first byte of a request to the end of its body; 0: no limit. Default `0s`.
    pub read_timeout: GoDuration,
    /// From the first byte of a request to the end of its headers. Default `5s`.
    pub read_header_timeout: GoDuration,
    /// From the end of a request's headers to the end of the answer; 0: no limit. Default `0s`.
    pub write_timeout: GoDuration,
    /// For the next bytes of a body that is waited for, and for a client to take more of an answer; 0: no limit, as the
    /// reference. Default `5m`.
    #[serde(skip_serializing_if = "is_default_stall")]
    pub stall_timeout: GoDuration,
    /// Between requests on a connection. Default `1m`.
    pub idle_timeout: GoDuration,
    /// Bytes of a request's headers, 4096 or more. Default 4096.
    pub max_header_bytes: i64,
    /// Headers of the daemon's answers, besides those of CORS, that answers of the proxy carry too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extract_headers_extra: Option<Vec<String>>,
    /// What the daemon is asked to learn them. Default `/api/v0/version`.
    #[serde(skip_serializing_if = "is_default_path")]
    pub extract_headers_path: String,
    /// How long they are remembered; 0: for ever. Default `5m`.
    #[serde(skip_serializing_if = "is_default_ttl")]
    pub extract_headers_ttl: GoDuration,
}

impl Default for IpfsProxyConfig {
    fn default() -> Self {
        Self {
            listen_multiaddress: Strings(vec!["/ip4/127.0.0.1/tcp/9095".into()]),
            node_multiaddress: "/ip4/127.0.0.1/tcp/5001".into(),
            node_https: false,
            log_file: String::new(),
            read_timeout: GoDuration(0),
            read_header_timeout: GoDuration::from_secs(5),
            write_timeout: GoDuration(0),
            stall_timeout: default_stall(),
            idle_timeout: GoDuration::from_secs(60),
            max_header_bytes: HEADER_BYTES_MIN,
            extract_headers_extra: None,
            extract_headers_path: default_path(),
            extract_headers_ttl: default_ttl(),
        }
    }
}

fn default_path() -> String {
    "/api/v0/version".into()
}

fn default_ttl() -> GoDuration {
    GoDuration::from_secs(300)
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde asks.
fn is_false(value: &bool) -> bool {
    !value
}

fn is_default_path(path: &str) -> bool {
    path == default_path()
}

fn is_default_ttl(ttl: &GoDuration) -> bool {
    *ttl == default_ttl()
}

impl IpfsProxyConfig {
    /// The addresses to listen on.
    ///
    /// # Errors
    /// When one of them is no multiaddr.
    pub fn listen_addresses(&self) -> Result<Vec<Multiaddr>, ConfigError> {
        let key = "ipfsproxy.listen_multiaddress";
        let default = Self::default().listen_multiaddress;
        let listed = if self.listen_multiaddress.0.is_empty() { &default } else { &self.listen_multiaddress };
        let parse = |text: &String| {
            let wrong = |e| ConfigError::new(key, format!("error parsing proxy listen_multiaddress: {e}"));
            cluster_types::address::parse(text).map_err(wrong)
        };
        listed.0.iter().map(parse).collect()
    }

    /// The daemon's address.
    ///
    /// # Errors
    /// When it is no multiaddr.
    pub fn node_address(&self) -> Result<Multiaddr, ConfigError> {
        let wrong = |e| {
            let text = format!("error parsing ipfs node_multiaddress: {e}");
            ConfigError::new("ipfsproxy.node_multiaddress", text)
        };
        cluster_types::address::parse(&self.node_multiaddress).map_err(wrong)
    }
}

impl ComponentConfig for IpfsProxyConfig {
    const SECTION: Section = Section::Api;
    const KEY: &'static str = "ipfsproxy";
    const HIDDEN: &'static [(&'static str, &'static str)] = &[
        ("stall_timeout", "\"5m0s\""),
        ("node_https", "false"),
        ("extract_headers_extra", "[]"),
        ("extract_headers_path", "\"/api/v0/version\""),
        ("extract_headers_ttl", "\"5m0s\""),
    ];

    fn validate(&self) -> Result<(), ConfigError> {
        self.listen_addresses()?;
        self.node_address()?;
        let checked = [
            ("ipfsproxy.read_timeout", self.read_timeout, "ipfsproxy.read_timeout is invalid"),
            ("ipfsproxy.read_header_timeout", self.read_header_timeout, "ipfsproxy.read_header_timeout is invalid"),
            ("ipfsproxy.write_timeout", self.write_timeout, "ipfsproxy.write_timeout is invalid"),
            ("ipfsproxy.idle_timeout", self.idle_timeout, "ipfsproxy.idle_timeout invalid"),
            ("ipfsproxy.stall_timeout", self.stall_timeout, "ipfsproxy.stall_timeout is invalid"),
            ("ipfsproxy.extract_headers_ttl", self.extract_headers_ttl, "ipfsproxy.extract_headers_ttl is invalid"),
        ];
        if let Some((key, _, message)) = checked.into_iter().find(|(_, value, _)| value.0 < 0) {
            return Err(ConfigError::new(key, message));
        }
        if self.extract_headers_path.is_empty() {
            let message = "ipfsproxy.extract_headers_path should not be empty";
            return Err(ConfigError::new("ipfsproxy.extract_headers_path", message));
        }
        if self.max_header_bytes < HEADER_BYTES_MIN {
            let message = format!("ipfsproxy.max_header_size must be greater or equal to {HEADER_BYTES_MIN}");
            return Err(ConfigError::new("ipfsproxy.max_header_bytes", message));
        }
        Ok(())
    }
}
