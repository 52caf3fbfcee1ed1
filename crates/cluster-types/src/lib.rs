//! Words of the domain: what peers, clients and stores call things, and how those things are written down.
//!
//! Everything here is a plain value: no async, no I/O, no clock. Safe to import anywhere, also in the command-line tools.
//!
//! Reading order: identifiers ([`Cid`], [`PeerId`]), the pin ([`Pin`], [`PinOptions`]), what became of it
//! ([`TrackerStatus`], [`PinInfo`], [`GlobalPinInfo`]), figures of peers ([`Metric`]), answers of the API, and last the
//! two things that every layer needs: [`time`] and the [`store`] traits.

pub mod add;
pub mod address;
pub mod cid;
pub mod digest;
pub mod duration;
pub mod error;
pub mod explain;
pub mod graph_svg;
pub mod ipfs;
pub mod json;
pub mod metric;
pub mod msgpack;
pub mod path;
pub mod peer;
pub mod peer_id;
pub mod pin;
mod pin_json;
pub mod pin_proto;
pub mod pin_query;
pub mod status;
pub mod store;
mod text_map;
pub mod time;

pub use self::add::{AddBeyond, AddFormat, AddLayout, AddParams, Added};
pub use self::cid::Cid;
pub use self::digest::{PinsetDigest, StateDigest};
pub use self::duration::GoDuration;
pub use self::error::ErrorBody;
pub use self::explain::Explanation;
pub use self::ipfs::{IpfsId, IpfsPin, IpfsPinStatus, RepoGcKey, RepoStat};
pub use self::metric::{Alert, Metric, MetricName, PingValue};
pub use self::path::IpfsPath;
pub use self::peer::{
    BandwidthByProtocol, ConnectGraph, GlobalRepoGc, PeerInfo, PeerIpfs, ProtocolBandwidth, RepoGc, Version,
};
pub use self::pin::{Pin, PinMode, PinOptions, PinType};
pub use self::status::{GlobalPinInfo, PinInfo, PinInfoShort, PinProgress, TrackerStatus};
pub use self::time::{Time, Timestamp};
pub use libp2p_identity::PeerId;
pub use multiaddr::Multiaddr;
