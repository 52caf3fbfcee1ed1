//! Waiting for an item after a command, and showing how it stands.

use super::Context;
use super::options::POLL;
use crate::cli::Wait;
use crate::failure::Failure;
use crate::format::Show;
use cluster_client::WaitFor;
use cluster_types::{Cid, GlobalPinInfo, GoDuration, Pin, TrackerStatus};
use std::time::{Duration, Instant};

/// What the pin is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    Pinned,
    Unpinned,
}

impl Goal {
    fn status(self) -> TrackerStatus {
        match self {
            Goal::Pinned => TrackerStatus::PINNED,
            Goal::Unpinned => TrackerStatus::UNPINNED,
        }
    }
}

/// How long a peer has to get on with an item before its status is shown.
const SETTLE: Duration = Duration::from_secs(1);

/// Waits if asked to, then shows the status, or the pin where no status is wanted.
pub(super) async fn finish(context: &Context, pin: &Pin, args: &Wait, goal: Goal) -> Result<(), Failure> {
    let seen = if args.wait {
        let limit = match (args.wait_limit, goal) {
            (0, Goal::Pinned) => i64::from(pin.options.replication_factor_min),
            (limit, _) => limit,
        };
        Some(wait(context, pin.cid, goal, limit, args.wait_timeout).await?)
    } else {
        None
    };
    if args.no_status {
        pin.show(context.encoding);
        return Ok(());
    }
    let info = match seen {
        Some(info) => info,
        None => settled(context, &pin.cid).await?,
    };
    info.show(context.encoding);
    Ok(())
}

/// Waits until the item stands as it should, or the time is over.
pub(super) async fn wait(
    context: &Context,
    cid: Cid,
    goal: Goal,
    limit: i64,
    timeout: GoDuration,
) -> Result<GlobalPinInfo, Failure> {
    let wait = WaitFor { cid, target: goal.status(), limit, interval: POLL };
    let reached = context.client.wait_for(&wait);
    if timeout.0 <= 0 {
        return Ok(reached.await?);
    }
    match tokio::time::timeout(timeout.get(), reached).await {
        Ok(reached) => Ok(reached?),
        Err(_) => Err(Failure::Timeout),
    }
}

/// The status once no peer has the item on its way any more, or after a second: as the reference, which always waits
/// for that second.
async fn settled(context: &Context, cid: &Cid) -> Result<GlobalPinInfo, Failure> {
    let moving = TrackerStatus::QUEUED | TrackerStatus::PINNING | TrackerStatus::UNPINNING;
    let begun = Instant::now();
    loop {
        let info = context.client.status(cid, false).await?;
        let moves = info.peer_map.values().any(|peer| peer.status.intersects(moving));
        if !moves || begun.elapsed() >= SETTLE {
            return Ok(info);
        }
        tokio::time::sleep(POLL / 2).await;
    }
}
