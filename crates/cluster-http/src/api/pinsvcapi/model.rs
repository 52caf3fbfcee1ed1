//! Pins as this API shows them: what a client asks for, how a pin stands, its request id and its creation time.

use cluster_types::{Cid, GlobalPinInfo, Multiaddr, Pin, PinInfoShort, PinOptions, Timestamp, TrackerStatus};
use multiaddr::Protocol;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Most characters of a name.
pub(super) const NAME_MAX: usize = 255;

/// Most origins of a pin, and most delegates that are told.
const ADDRESSES_MAX: usize = 20;

/// Most words of metadata.
const META_MAX: usize = 1000;

/// A pin as a client asks for it, and as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) cid: Cid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origins: Option<Vec<Multiaddr>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) meta: Option<BTreeMap<String, String>>,
}

impl Wanted {
    /// Reads a body; the error says what is wrong with it.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        if body.is_empty() {
            return Err("the body is empty: it must be a JSON object with a \"cid\"".into());
        }
        // A list of its values in order would be read as one, too.
        if matches!(body.trim_ascii_start().first(), Some(b'[' | b'n')) {
            return Err("the body must be a JSON object with a \"cid\"".into());
        }
        let wanted: Self = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        if wanted.name.as_ref().is_some_and(|name| name.chars().count() > NAME_MAX) {
            return Err(format!("pin name is over {NAME_MAX} chars"));
        }
        if wanted.origins.as_ref().is_some_and(|list| list.len() > ADDRESSES_MAX) {
            return Err(format!("more than {ADDRESSES_MAX} origins"));
        }
        if wanted.meta.as_ref().is_some_and(|meta| meta.len() > META_MAX) {
            return Err(format!("more than {META_MAX} words of meta"));
        }
        Ok(wanted)
    }

    /// Puts what was asked for into the options of a pin; what was not said stays as it is.
    pub(super) fn apply(&self, options: &mut PinOptions) {
        if let Some(name) = &self.name {
            options.name.clone_from(name);
        }
        if self.origins.is_some() {
            options.origins.clone_from(&self.origins);
        }
        if self.meta.is_some() {
            options.metadata.clone_from(&self.meta);
        }
    }

    fn of(pin: &Pin) -> Self {
        let options = &pin.options;
        Self {
            cid: pin.cid,
            name: Some(options.name.clone()).filter(|name| !name.is_empty()),
            origins: options.origins.clone().filter(|list| !list.is_empty()),
            meta: options.metadata.clone().filter(|meta| !meta.is_empty()),
        }
    }
}

/// How a pin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Queued,
    Pinning,
    Pinned,
    Failed,
}

impl Status {
    /// From what the peers say, the worst first, as the reference. What no peer has begun with yet is queued.
    pub(super) fn of(info: Option<&GlobalPinInfo>) -> Self {
        let states = info.into_iter().flat_map(|info| info.peer_map.values());
        let all = states.fold(TrackerStatus::UNDEFINED, |all, peer| all | peer.status);
        let rules = [
            (TrackerStatus::ERROR, Self::Failed),
            (TrackerStatus::PIN_QUEUED, Self::Queued),
            (TrackerStatus::PINNING, Self::Pinning),
            (TrackerStatus::PINNED, Self::Pinned),
        ];
        rules.into_iter().find(|(bits, _)| all.intersects(*bits)).map_or(Self::Queued, |(_, status)| status)
    }
}

/// Without the errors of peers that need not hold the pin. In a list of all items a peer that is away has an error in each
/// of them; one that is asked about alone has none.
pub(super) fn without_strangers(mut info: GlobalPinInfo, pin: &Pin) -> GlobalPinInfo {
    if !pin.allocations.is_empty() {
        let failed = |short: &PinInfoShort| short.status.intersects(TrackerStatus::ERROR);
        info.peer_map.retain(|peer, short| pin.allocations.contains(peer) || !failed(short));
    }
    info
}

/// When a pin was made: the second that the cluster keeps, and a fraction that is made of what is pinned, so that pins of
/// one second have different times, which are the same at every peer and at every time.
pub(super) fn created(pin: &Pin) -> Timestamp {
    const SECOND: u64 = 1_000_000_000;
    let asked = cluster_types::json::to_go_json(&Wanted::of(pin));
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(&asked));
    let fraction = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % SECOND;
    Timestamp::from_unix(pin.timestamp.unix_secs(), u32::try_from(fraction).unwrap_or(0))
}

/// What a request id says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId {
    pub(super) cid: Cid,
    /// The creation time of the pin that is meant, in our form. Ids of the reference are a CID alone, and mean whatever
    /// pin of it there is.
    made: Option<String>,
}

impl RequestId {
    pub(super) fn of(pin: &Pin) -> Self {
        let created = created(pin);
        let made = format!("{:x}{:08x}", created.unix_secs(), created.subsec_nanos());
        Self { cid: pin.cid, made: Some(made) }
    }

    /// Reads `CID.TIME` or a CID.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let is_time = |tail: &str| !tail.is_empty() && tail.bytes().all(|b| b.is_ascii_hexdigit());
        let (cid, made) = match text.rsplit_once('.') {
            Some((head, tail)) if is_time(tail) => (head, Some(tail.to_owned())),
            _ => (text, None),
        };
        let cid = cid.parse().map_err(|e| format!("error decoding requestID: {e}"))?;
        Ok(Self { cid, made })
    }

    /// Whether this pin is the one that is meant.
    pub(super) fn means(&self, pin: &Pin) -> bool {
        self.cid == pin.cid && (self.made.is_none() || *self == Self::of(pin))
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.made {
            Some(made) => write!(f, "{}.{made}", self.cid),
            None => write!(f, "{}", self.cid),
        }
    }
}

/// A pin with how it stands, as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct PinStatus {
    pub(super) requestid: String,
    status: Status,
    created: Timestamp,
    pin: Wanted,
    delegates: Vec<Multiaddr>,
    info: BTreeMap<&'static str, String>,
}

impl PinStatus {
    /// The pin, with what its peers say.
    pub(super) fn new(pin: &Pin, info: Option<&GlobalPinInfo>) -> Self {
        let mut more = BTreeMap::from([("source", "IPFS cluster API".to_owned())]);
        let errors = info.into_iter().flat_map(|info| info.peer_map.values());
        if let Some(error) = errors.map(|peer| &peer.error).find(|error| !error.is_empty()) {
            more.insert("status_details", error.clone());
        }
        Self {
            requestid: RequestId::of(pin).to_string(),
            status: Status::of(info),
            created: created(pin),
            pin: Wanted::of(pin),
            delegates: info.map(delegates).unwrap_or_default(),
            info: more,
        }
    }

    /// An order that was taken: what becomes of it shows later, as with the reference.
    pub(super) fn taken(self) -> Self {
        Self { status: Status::Queued, ..self }
    }
}

/// Where the daemons of a pin's peers can be reached, those first that hold it. If none has an address that others can use,
/// they are named by their ids, by which they can be looked up: the specification wants one delegate at least.
fn delegates(info: &GlobalPinInfo) -> Vec<Multiaddr> {
    let mut peers: Vec<_> = info.peer_map.values().collect();
    peers.sort_by_key(|peer| peer.status == TrackerStatus::REMOTE);
    let mut seen = BTreeSet::new();
    let known = peers.iter().flat_map(|peer| peer.ipfs_peer_addresses.iter().cloned());
    let known: Vec<Multiaddr> = known.filter(|address| seen.insert(address.to_string())).take(ADDRESSES_MAX).collect();
    if !known.is_empty() {
        return known;
    }
    let names = peers.iter().filter_map(|peer| peer.ipfs_peer_id).collect::<BTreeSet<_>>();
    names.into_iter().map(|id| Multiaddr::empty().with(Protocol::P2p(id))).take(ADDRESSES_MAX).collect()
}
