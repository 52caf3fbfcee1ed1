//! Waiting until an item stands as it should at enough peers.

use crate::client::Client;
use crate::error::ClientError;
use cluster_types::{Cid, GlobalPinInfo, TrackerStatus};
use std::time::Duration;

/// What to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitFor {
    /// The item.
    pub cid: Cid,
    /// How it shall stand.
    pub target: TrackerStatus,
    /// At how many peers; 0 or less: at all that it concerns.
    pub limit: i64,
    /// How often to ask.
    pub interval: Duration,
}

/// Why the wait ended before the item stood as it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// A peer failed.
    #[error("error has occurred while attempting to reach status: {0}")]
    Failed(TrackerStatus),
    /// A request failed.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl WaitFor {
    /// Whether an answer is what is waited for.
    ///
    /// # Errors
    /// When any peer failed.
    pub fn is_reached(&self, info: &GlobalPinInfo) -> Result<bool, WaitError> {
        let failed = TrackerStatus::CLUSTER_ERROR | TrackerStatus::PIN_ERROR | TrackerStatus::UNPIN_ERROR;
        let statuses = || info.peer_map.values().map(|peer| peer.status);
        if statuses().any(|s| s == TrackerStatus::UNDEFINED || s.intersects(failed)) {
            return Err(WaitError::Failed(self.target));
        }
        let limit = self.limit.min(i64::try_from(info.peer_map.len()).unwrap_or(i64::MAX));
        if limit > 0 {
            let reached = statuses().filter(|s| *s == self.target).count();
            return Ok(i64::try_from(reached).unwrap_or(i64::MAX) >= limit);
        }
        let concerned = |s: &TrackerStatus| !(self.target == TrackerStatus::PINNED && *s == TrackerStatus::REMOTE);
        Ok(statuses().filter(concerned).all(|s| s == self.target))
    }
}

impl Client {
    /// Asks again and again until the item stands as it should; returns the answer that said so.
    /// *Cancel safety:* may be dropped at any time.
    ///
    /// # Errors
    /// When a peer failed, or a request.
    pub async fn wait_for(&self, wait: &WaitFor) -> Result<GlobalPinInfo, WaitError> {
        loop {
            let info = self.status(&wait.cid, false).await?;
            if wait.is_reached(&info)? {
                return Ok(info);
            }
            tokio::time::sleep(wait.interval).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_types::{PeerId, PinInfoShort};

    fn info(statuses: &[TrackerStatus]) -> GlobalPinInfo {
        let peer =
            |status: &TrackerStatus| (PeerId::random(), PinInfoShort { status: *status, ..PinInfoShort::default() });
        GlobalPinInfo { peer_map: statuses.iter().map(peer).collect(), ..GlobalPinInfo::default() }
    }

    fn wait(limit: i64) -> WaitFor {
        let cid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN".parse().expect("cid");
        WaitFor { cid, target: TrackerStatus::PINNED, limit, interval: Duration::from_secs(1) }
    }

    #[test]
    fn as_many_peers_as_the_limit_says_are_enough() {
        let two_of_three = info(&[TrackerStatus::PINNED, TrackerStatus::PINNED, TrackerStatus::PINNING]);
        assert_eq!(wait(2).is_reached(&two_of_three), Ok(true));
        assert_eq!(wait(3).is_reached(&two_of_three), Ok(false));
        assert_eq!(wait(-1).is_reached(&two_of_three), Ok(false));
    }

    #[test]
    fn remote_peers_do_not_count_and_no_more_than_there_are_is_wanted() {
        let one = info(&[TrackerStatus::PINNED, TrackerStatus::REMOTE]);
        assert_eq!(wait(0).is_reached(&one), Ok(true));
        assert_eq!(wait(5).is_reached(&info(&[TrackerStatus::PINNED])), Ok(true));
    }

    #[test]
    fn a_failed_peer_ends_the_wait() {
        let failed = info(&[TrackerStatus::PINNED, TrackerStatus::PIN_ERROR]);
        assert_eq!(wait(1).is_reached(&failed), Err(WaitError::Failed(TrackerStatus::PINNED)));
    }
}
