//! Routes about peers: who they are, how they are, what they measure, and their garbage.

use super::answer::{self, Answer};
use super::query;
use super::service::{Asked, Front};
use cluster_component::rpc::{Cluster, PeerMonitor, Target};
use cluster_types::GlobalRepoGc;
use std::collections::BTreeMap;

pub(super) async fn id(front: &Front) -> Answer {
    answer::object(front.rpc.call::<Cluster::ID>(Target::Local, ()).await)
}

pub(super) async fn version(front: &Front) -> Answer {
    answer::object(front.rpc.call::<Cluster::Version>(Target::Local, ()).await)
}

pub(super) async fn list(front: &Front, asked: &Asked) -> Answer {
    let peers = front.rpc.stream::<Cluster::Peers>(Target::Local, ());
    answer::stream(peers, asked.takes_trailers, |peer, out| out.extend_from_slice(&answer::line(peer))).await
}

pub(super) async fn alerts(front: &Front) -> Answer {
    answer::object(front.rpc.call::<Cluster::Alerts>(Target::Local, ()).await)
}

pub(super) async fn metrics(front: &Front, name: &str) -> Answer {
    answer::object(front.rpc.call::<PeerMonitor::LatestMetrics>(Target::Local, name.to_owned()).await)
}

pub(super) async fn metric_names(front: &Front) -> Answer {
    answer::object(front.rpc.call::<PeerMonitor::MetricNames>(Target::Local, ()).await)
}

pub(super) async fn repo_gc(front: &Front, asked: &Asked) -> Answer {
    if !query::is_local(&asked.query) {
        return answer::object(front.rpc.call::<Cluster::RepoGC>(Target::Local, ()).await);
    }
    let local = front.rpc.call::<Cluster::RepoGCLocal>(Target::Local, ()).await;
    answer::object(local.map(|gc| GlobalRepoGc { peer_map: BTreeMap::from([(gc.peer, gc)]) }))
}
