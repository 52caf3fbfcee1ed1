//! Pin options from flags.

use crate::cli::Options;
use crate::failure::{Doing, Failure};
use cluster_types::{GoDuration, IpfsPath, PeerId, PinOptions, Timestamp};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whether allocations that cannot be read are an error, or left out as `add` of the reference does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadAllocations {
    Refuse,
    LeaveOut,
}

pub(super) fn options(args: &Options, bad: BadAllocations) -> Result<PinOptions, Failure> {
    Ok(PinOptions {
        replication_factor_min: args.replication_min,
        replication_factor_max: args.replication_max,
        name: args.name.clone(),
        user_allocations: allocations(&args.allocations, bad)?,
        expire_at: args.expire_in.as_deref().map_or(Ok(Timestamp::ZERO), expiry)?,
        metadata: metadata(&args.metadata)?,
        ..PinOptions::default()
    })
}

fn allocations(text: &str, bad: BadAllocations) -> Result<Option<Vec<PeerId>>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let read: Vec<Option<PeerId>> = text.split(',').map(|id| cluster_types::peer_id::parse(id.trim()).ok()).collect();
    if bad == BadAllocations::Refuse && read.contains(&None) {
        return Err(Failure::local("decoding allocations", "some peer IDs could not be decoded"));
    }
    Ok(Some(read.into_iter().flatten().collect()))
}

/// The moment that lies so far ahead; a negative span lies behind, which the peer refuses.
pub(super) fn expiry(text: &str) -> Result<Timestamp, Failure> {
    let span: GoDuration = text.parse().doing("parsing expire-in")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_unix(i64::try_from(now.as_secs()).unwrap_or(i64::MAX), now.subsec_nanos());
    if span.0 >= 0 {
        return Ok(now.saturating_add(span.get()));
    }
    Ok(Timestamp::from_unix_nanos(now.unix_nanos().saturating_add(span.0)))
}

fn metadata(pairs: &[String]) -> Result<Option<BTreeMap<String, String>>, Failure> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').ok_or("metadata were not in the format key=value")?;
        Ok::<_, &str>((key.to_owned(), value.to_owned()))
    };
    let pairs: BTreeMap<_, _> = pairs.iter().map(pair).collect::<Result<_, _>>().doing("parsing metadata")?;
    Ok((!pairs.is_empty()).then_some(pairs))
}

/// A path as the API takes it: `/ipfs/…`, `/ipns/…` or `/ipld/…`; anything else is taken for what follows `/ipfs/`.
pub(super) fn path(text: &str) -> Result<String, Failure> {
    let path = IpfsPath::parse_lenient(text).doing("")?;
    Ok(path.as_str().to_owned())
}

/// How often to ask while waiting.
pub(super) const POLL: Duration = Duration::from_millis(200);
