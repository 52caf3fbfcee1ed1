//! Why an item is not everywhere where it should be, and what can be done about it: made of the pin and of what each
//! peer says, without asking anybody.

use crate::{Cid, GlobalPinInfo, PeerId, Pin, PinInfoShort, PinProgress, Timestamp, TrackerStatus};
use serde::{Deserialize, Serialize};

/// How an item stands, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The item.
    pub cid: Cid,
    /// The pin's name.
    pub name: String,
    /// Whether it is in the pinset.
    pub in_pinset: bool,
    /// How many peers must hold it at least; -1: all.
    pub wanted_min: i32,
    /// How many do.
    pub holders: u64,
    /// One sentence.
    pub summary: String,
    /// Each peer, those that shall hold it first.
    pub peers: Vec<ExplainedPeer>,
}

/// How it stands at a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedPeer {
    /// The peer.
    pub peer: PeerId,
    /// Its name.
    pub peername: String,
    /// Whether it shall hold the item.
    pub should_hold: bool,
    /// What it says.
    pub status: TrackerStatus,
    /// Since when.
    pub since: Timestamp,
    /// What went wrong, or empty.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried again, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// How far pinning is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<PinProgress>,
    /// What to do, or empty where nothing is to be done.
    pub advice: String,
}

/// Explains how an item stands. `pin` is what the pinset has of it.
#[must_use]
pub fn explain(cid: Cid, pin: Option<&Pin>, status: &GlobalPinInfo) -> Explanation {
    let everywhere = pin.is_some_and(|pin| pin.is_everywhere() || pin.allocations.is_empty());
    let is_for = |peer: &PeerId| pin.is_some_and(|pin| everywhere || pin.allocations.contains(peer));
    let mut peers: Vec<ExplainedPeer> =
        status.peer_map.iter().map(|(peer, short)| explained(*peer, short, is_for(peer))).collect();
    peers.sort_by_key(|peer| !peer.should_hold);
    let holders = peers.iter().filter(|peer| peer.status == TrackerStatus::PINNED).count() as u64;
    let shall = peers.iter().filter(|peer| peer.should_hold).count() as u64;
    let min = pin.map_or(0, |pin| pin.options.replication_factor_min);
    let needed = u64::try_from(min).unwrap_or(shall);
    let summary = match pin {
        None if peers.iter().all(|peer| peer.status == TrackerStatus::UNPINNED) => {
            "It is not in the pinset, and no peer has anything to do about it.".to_owned()
        }
        None => "It is not in the pinset any more; a peer still has to let go of it.".to_owned(),
        Some(_) if holders >= shall => format!("All is well: {holders} of {shall} peers hold it."),
        Some(_) if holders >= needed => {
            format!(
                "{holders} of {shall} peers hold it, which is enough (at least {needed}); the others are on their way."
            )
        }
        Some(_) => format!("{holders} of {shall} peers hold it, and at least {needed} must."),
    };
    let name = pin.map(|pin| pin.options.name.clone()).unwrap_or_default();
    Explanation { cid, name, in_pinset: pin.is_some(), wanted_min: min, holders, summary, peers }
}

fn explained(peer: PeerId, short: &PinInfoShort, should_hold: bool) -> ExplainedPeer {
    ExplainedPeer {
        peer,
        peername: short.peername.clone(),
        should_hold,
        status: short.status,
        since: short.timestamp,
        error: short.error.clone(),
        attempts: short.attempt_count,
        retry_at: short.retry_at,
        progress: short.progress,
        advice: advice(short).to_owned(),
    }
}

/// What to do about an item that stands like this.
fn advice(short: &PinInfoShort) -> &'static str {
    let error = short.error.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| error.contains(word));
    match short.status {
        TrackerStatus::CLUSTER_ERROR if says(&["dial", "deadline", "unreachable", "connect"]) => {
            "The peer does not answer: see that it runs and can be reached. If it is gone for good, put it out with \
             `ipfs-cluster-ctl peers rm`."
        }
        TrackerStatus::CLUSTER_ERROR => "The peer cannot tell: look at its log.",
        TrackerStatus::PIN_ERROR if says(&["no progress"]) => {
            "Nobody was found who has the content: see that a peer that has it is online (`ipfs routing findprovs`), \
             or name one with --origins. It is tried again by itself."
        }
        TrackerStatus::PIN_ERROR | TrackerStatus::UNPIN_ERROR if says(&["refused", "daemon", "connect", "dial"]) => {
            "The IPFS daemon does not answer: see that it runs at the address of `ipfs_connector`. It is tried again by \
             itself."
        }
        TrackerStatus::PIN_ERROR if says(&["no space", "storage", "full"]) => {
            "The disk of the IPFS daemon is full: make room (`ipfs-cluster-ctl ipfs gc`), or pin elsewhere."
        }
        TrackerStatus::PIN_ERROR | TrackerStatus::UNPIN_ERROR => {
            "It is tried again by itself; `ipfs-cluster-ctl recover` tries at once."
        }
        TrackerStatus::UNEXPECTEDLY_UNPINNED => {
            "Somebody unpinned it at the IPFS daemon itself. It is pinned again; `ipfs-cluster-ctl recover` does so at once."
        }
        TrackerStatus::PINNING if short.progress.is_none() => "The daemon looks for the content; nothing has come yet.",
        TrackerStatus::REMOTE if !short.error.is_empty() => {
            "It is kept here until enough of the peers that shall hold it do."
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PinOptions;

    fn short(status: TrackerStatus, error: &str) -> PinInfoShort {
        PinInfoShort { status, error: error.into(), ..PinInfoShort::default() }
    }

    #[test]
    fn what_is_wrong_where_and_what_to_do_is_told() {
        let (one, other, third) = (PeerId::random(), PeerId::random(), PeerId::random());
        let options = PinOptions { replication_factor_min: 2, replication_factor_max: 2, ..PinOptions::default() };
        let cid = Cid(Default::default());
        let pin = Pin { allocations: vec![one, other], ..Pin::new(cid, options) };
        let mut status = GlobalPinInfo::default();
        status.peer_map.insert(one, short(TrackerStatus::PINNED, ""));
        status.peer_map.insert(other, short(TrackerStatus::PIN_ERROR, "the daemon made no progress for 120 s"));
        status.peer_map.insert(third, short(TrackerStatus::REMOTE, "kept for now"));

        let told = explain(cid, Some(&pin), &status);
        assert_eq!((told.holders, told.wanted_min, told.peers.len()), (1, 2, 3));
        assert!(told.summary.contains("at least 2 must"), "{}", told.summary);
        assert!(!told.peers[2].should_hold && told.peers[2].advice.contains("kept here"));
        let failed = told.peers.iter().find(|peer| peer.peer == other).expect("it is told");
        assert!(failed.should_hold && failed.advice.contains("findprovs"), "{failed:?}");

        status.peer_map.insert(other, short(TrackerStatus::PINNED, ""));
        assert!(explain(cid, Some(&pin), &status).summary.starts_with("All is well"));
        assert!(explain(cid, None, &status).summary.contains("not in the pinset"));
    }
}
