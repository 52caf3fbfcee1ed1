//! The section of an API. Those of the REST API and of the pinning service have the same keys.

use crate::server::{STALL, Tls};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cluster_component::config::{ComponentConfig, ConfigError, Section, Strings};
use cluster_types::{GoDuration, Multiaddr};
use libp2p_identity::Keypair;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

/// Least value of `max_header_bytes`.
const HEADER_BYTES_MIN: i64 = 4096;

/// Which API a section is of.
pub trait Kind: fmt::Debug + Clone + PartialEq + Send + Sync + 'static {
    /// Its key in the file.
    const KEY: &'static str;
    /// Where it listens if nothing else is said.
    const LISTEN: &'static str;
}

/// Where an API listens, whom it lets in, and its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, bound = "K: Kind")]
pub struct ApiConfig<K: Kind> {
    /// Where it listens, one multiaddr or several.
    pub http_listen_multiaddress: Strings,
    /// TLS certificate, relative to the folder.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ssl_cert_file: String,
    /// TLS key, relative to the folder.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ssl_key_file: String,
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
    /// Between requests on a connection. Default `2m`.
    pub idle_timeout: GoDuration,
    /// Bytes of a request's headers, 4096 or more. Default 4096.
    pub max_header_bytes: i64,
    /// Where a libp2p host of the API's own listens; `id` and `private_key` must be set too. Without it the API is reached
    /// over libp2p only with raft, and through the cluster's own host.
    #[serde(skip_serializing_if = "is_empty")]
    pub libp2p_listen_multiaddress: Strings,
    /// Its name, a peer ID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Its key, in base64, as in `identity.json`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub private_key: String,
    /// Names and passwords; `null`: everyone is let in. Default `null`.
    #[serde(deserialize_with = "credentials")]
    pub basic_auth_credentials: Option<BTreeMap<String, String>>,
    /// How long a token of `POST /token` holds; 0: for ever, as the reference's. Default `24h`.
    #[serde(skip_serializing_if = "is_default_lifetime")]
    pub token_lifetime: GoDuration,
    /// File of the access log, relative to the folder; empty: the log.
    pub http_log_file: String,
    /// Headers that every answer carries.
    #[serde(deserialize_with = "headers")]
    pub headers: BTreeMap<String, Vec<String>>,
    /// Origins that browsers may ask from.
    #[serde(deserialize_with = "list")]
    pub cors_allowed_origins: Vec<String>,
    /// Methods that they may use.
    #[serde(deserialize_with = "list")]
    pub cors_allowed_methods: Vec<String>,
    /// Headers that they may send.
    #[serde(deserialize_with = "list")]
    pub cors_allowed_headers: Vec<String>,
    /// Headers that they may see.
    #[serde(deserialize_with = "list")]
    pub cors_exposed_headers: Vec<String>,
    /// Whether they may send credentials.
    pub cors_allow_credentials: bool,
    /// For how long they may remember that.
    pub cors_max_age: GoDuration,
    /// Which API.
    #[serde(skip)]
    pub kind: PhantomData<K>,
}

impl<K: Kind> Default for ApiConfig<K> {
    fn default() -> Self {
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect();
        Self {
            http_listen_multiaddress: default_listen::<K>(),
            ssl_cert_file: String::new(),
            ssl_key_file: String::new(),
            read_timeout: GoDuration(0),
            read_header_timeout: GoDuration::from_secs(5),
            write_timeout: GoDuration(0),
            stall_timeout: default_stall(),
            idle_timeout: GoDuration::from_secs(120),
            max_header_bytes: HEADER_BYTES_MIN,
            libp2p_listen_multiaddress: Strings::default(),
            id: String::new(),
            private_key: String::new(),
            basic_auth_credentials: None,
            token_lifetime: default_lifetime(),
            http_log_file: String::new(),
            headers: BTreeMap::new(),
            cors_allowed_origins: texts(&["*"]),
            cors_allowed_methods: texts(&["GET"]),
            cors_allowed_headers: Vec::new(),
            cors_exposed_headers: texts(&["Content-Type", "X-Stream-Output", "X-Chunked-Output", "X-Content-Length"]),
            cors_allow_credentials: true,
            cors_max_age: GoDuration(0),
            kind: PhantomData,
        }
    }
}

fn default_lifetime() -> GoDuration {
    GoDuration::from_secs(24 * 3600)
}

fn is_default_lifetime(lifetime: &GoDuration) -> bool {
    *lifetime == default_lifetime()
}

pub(in crate::api) fn default_stall() -> GoDuration {
    GoDuration::from_secs(STALL.as_secs().cast_signed())
}

pub(in crate::api) fn is_default_stall(span: &GoDuration) -> bool {
    *span == default_stall()
}

fn default_listen<K: Kind>() -> Strings {
    Strings(vec![K::LISTEN.into()])
}

fn key_of<K: Kind>(key: &str) -> String {
    format!("{}.{key}", K::KEY)
}

/// A mistake in a key, told with the key's whole name.
fn mistake<K: Kind>(key: &str, text: impl FnOnce(&str) -> String) -> ConfigError {
    let key = key_of::<K>(key);
    let text = text(&key);
    ConfigError::new(key, text)
}

fn is_empty(strings: &Strings) -> bool {
    strings.0.is_empty()
}

/// A list that is `null` or missing is empty: as the reference, whose defaults for these keys stand only in new files.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An object, or `user:password,user2:password2` as a variable gives it.
fn credentials<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Object(BTreeMap<String, String>),
        Text(String),
    }
    match Option::<Form>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Form::Object(object)) => Ok(Some(object)),
        Some(Form::Text(text)) if text.is_empty() => Ok(None),
        Some(Form::Text(text)) => {
            let pair = |item: &str| {
                let (user, password) = item.split_once(':')?;
                (!password.contains(':')).then(|| (user.to_owned(), password.to_owned()))
            };
            let pairs: Option<_> = text.split(',').map(pair).collect();
            pairs.map(Some).ok_or_else(|| D::Error::custom("expected a list such as user:password,user2:password2"))
        }
    }
}

/// Values as a list, or a single one as a variable gives it.
fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    let given = Option::<BTreeMap<String, Strings>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(given.into_iter().map(|(name, values)| (name, values.0)).collect())
}

impl<K: Kind> ApiConfig<K> {
    /// The addresses to listen on.
    ///
    /// # Errors
    /// When one of them is no multiaddr.
    pub fn listen_addresses(&self) -> Result<Vec<Multiaddr>, ConfigError> {
        let key = key_of::<K>("http_listen_multiaddress");
        let listed = &self.http_listen_multiaddress;
        // As the reference: an empty list is the default address. To have no API, remove the section.
        let listed = if listed.0.is_empty() { default_listen::<K>() } else { listed.clone() };
        let parse = |text: &String| {
            let wrong = |e| ConfigError::new(&*key, format!("error parsing {key}: {e}"));
            cluster_types::address::parse(text).map_err(wrong)
        };
        listed.0.iter().map(parse).collect()
    }

    fn check_durations(&self) -> Result<(), ConfigError> {
        // The words of the reference, one "is" left out like there.
        let checked = [
            ("read_timeout", self.read_timeout, "is invalid"),
            ("read_header_timeout", self.read_header_timeout, "is invalid"),
            ("write_timeout", self.write_timeout, "is invalid"),
            ("idle_timeout", self.idle_timeout, "invalid"),
            ("stall_timeout", self.stall_timeout, "is invalid"),
            ("token_lifetime", self.token_lifetime, "is invalid"),
            ("cors_max_age", self.cors_max_age, "is invalid"),
        ];
        match checked.into_iter().find(|(_, value, _)| value.0 < 0) {
            Some((key, _, words)) => Err(mistake::<K>(key, |key| format!("{key} {words}"))),
            None => Ok(()),
        }
    }

    /// The certificate that the API is served with, if one is set.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn tls(&self, folder: &Path) -> Result<Option<Tls>, ConfigError> {
        if self.ssl_cert_file.is_empty() && self.ssl_key_file.is_empty() {
            return Ok(None);
        }
        let loaded = Tls::load(folder.join(&self.ssl_cert_file), folder.join(&self.ssl_key_file));
        loaded.map(Some).map_err(|e| mistake::<K>("ssl_cert_file", |_| e.to_string()))
    }

    /// The libp2p host of the API's own, if one is set. It knows no secret of the cluster: whoever knows its name and
    /// address can ask, as over HTTP.
    ///
    /// # Errors
    /// When one of its three keys is missing or wrong. Worded as the reference.
    pub fn own_host(&self) -> Result<Option<OwnHost>, ConfigError> {
        let listen = self.libp2p_addresses()?;
        let key = self.libp2p_key()?;
        let id = (!self.id.is_empty()).then(|| cluster_types::peer_id::parse(&self.id));
        let id = id.transpose().map_err(|e| mistake::<K>("id", |_| format!("error parsing {}.ID: {e}", K::KEY)))?;
        match (id, key, listen.is_empty()) {
            (None, None, true) => Ok(None),
            (Some(id), Some(key), false) if key.public().to_peer_id() == id => Ok(Some(OwnHost { key, listen })),
            (Some(_), Some(_), false) => {
                Err(mistake::<K>("id", |_| format!("{}.ID does not match private_key", K::KEY)))
            }
            _ => Err(mistake::<K>("libp2p_listen_multiaddress", |_| {
                "all ID, private_key and libp2p_listen_multiaddress should be set".into()
            })),
        }
    }

    fn libp2p_addresses(&self) -> Result<Vec<Multiaddr>, ConfigError> {
        let parse = |text: &String| {
            let wrong = |e| mistake::<K>("libp2p_listen_multiaddress", |key| format!("error parsing {key}: {e}"));
            cluster_types::address::parse(text).map_err(wrong)
        };
        self.libp2p_listen_multiaddress.0.iter().map(parse).collect()
    }

    fn libp2p_key(&self) -> Result<Option<Keypair>, ConfigError> {
        if self.private_key.is_empty() {
            return Ok(None);
        }
        let wrong = |text: String| mistake::<K>("private_key", |key| text.replace("KEY", key));
        let bytes = STANDARD.decode(&self.private_key).map_err(|e| wrong(format!("error decoding KEY: {e}")))?;
        let key = Keypair::from_protobuf_encoding(&bytes).map_err(|e| wrong(format!("error parsing KEY ID: {e}")))?;
        Ok(Some(key))
    }
}

/// A libp2p host that serves nothing but an API.
#[derive(Clone)]
pub struct OwnHost {
    /// Who it is.
    pub key: Keypair,
    /// Where it listens.
    pub listen: Vec<Multiaddr>,
}

impl fmt::Debug for OwnHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnHost").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl<K: Kind> ComponentConfig for ApiConfig<K> {
    const SECTION: Section = Section::Api;
    const KEY: &'static str = K::KEY;
    const SECRETS: &'static [&'static str] = &["private_key", "basic_auth_credentials"];
    const HIDDEN: &'static [(&'static str, &'static str)] = &[
        ("stall_timeout", "\"5m0s\""),
        ("token_lifetime", "\"24h0m0s\""),
        ("ssl_cert_file", "\"\""),
        ("ssl_key_file", "\"\""),
        ("libp2p_listen_multiaddress", "[]"),
        ("id", "\"\""),
        ("private_key", "\"\""),
    ];

    fn validate(&self) -> Result<(), ConfigError> {
        self.listen_addresses()?;
        self.check_durations()?;
        if self.basic_auth_credentials.as_ref().is_some_and(BTreeMap::is_empty) {
            let message = format!("{}.basic_auth_creds should be null or have at least one entry", K::KEY);
            return Err(mistake::<K>("basic_auth_credentials", |_| message));
        }
        if self.max_header_bytes != 0 && self.max_header_bytes < HEADER_BYTES_MIN {
            let text = |key: &str| format!("{key} must be not less then {HEADER_BYTES_MIN}");
            return Err(mistake::<K>("max_header_bytes", text));
        }
        self.own_host().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::restapi::RestApiConfig;

    fn config(id: &str, private_key: &str, listen: &[&str]) -> RestApiConfig {
        RestApiConfig {
            id: id.into(),
            private_key: private_key.into(),
            libp2p_listen_multiaddress: Strings(listen.iter().map(|text| (*text).to_owned()).collect()),
            ..RestApiConfig::default()
        }
    }

    #[test]
    fn a_libp2p_host_needs_all_its_keys_and_they_must_fit() {
        let key = Keypair::generate_ed25519();
        let (id, other) = (key.public().to_peer_id(), Keypair::generate_ed25519().public().to_peer_id());
        let (id, other) = (id.to_string(), other.to_string());
        let text = STANDARD.encode(key.to_protobuf_encoding().expect("an Ed25519 key"));
        let listen = "/ip4/127.0.0.1/tcp/9100";

        let host = config(&id, &text, &[listen]).own_host().expect("right").expect("a host");
        assert_eq!(
            (host.key.public().to_peer_id().to_string(), host.listen[0].to_string()),
            (id.clone(), listen.into())
        );
        assert!(config("", "", &[]).own_host().expect("right").is_none());

        let refused = |config: RestApiConfig| config.validate().expect_err("refused").message;
        let all = "all ID, private_key and libp2p_listen_multiaddress should be set";
        assert_eq!(refused(config(&id, &text, &[])), all);
        assert_eq!(refused(config(&id, "", &[listen])), all);
        assert_eq!(refused(config("", &text, &[listen])), all);
        assert_eq!(refused(config(&other, &text, &[listen])), "restapi.ID does not match private_key");
        assert!(refused(config(&id, "%", &[listen])).starts_with("error decoding restapi.private_key: "));
        assert!(refused(config(&id, "AAAA", &[listen])).starts_with("error parsing restapi.private_key ID: "));
        assert!(refused(config("x", &text, &[listen])).starts_with("error parsing restapi.ID: "));
        assert!(refused(config(&id, &text, &["x"])).starts_with("error parsing restapi.libp2p_listen_multiaddress: "));
    }
}
