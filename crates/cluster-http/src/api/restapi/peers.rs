//! Routes about peers: who they are, how they are, what they measure, and their garbage.

use super::answer::{self, Answer};
use super::query;
use super::service::{Asked, Front};
use crate::server::RequestBody;
use cluster_component::rpc::{Cluster, PeerMonitor, Target};
use cluster_types::{GlobalRepoGc, graph_svg, peer_id};
use http::header::ACCEPT;
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most bytes of the body that names a peer.
const BODY_MAX: usize = 64 * 1024;

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

/// The body of an order to take in a peer.
#[derive(Deserialize)]
struct PeerToAdd {
    #[serde(default)]
    peer_id: String,
}

pub(super) async fn add(front: &Front, body: RequestBody) -> Answer {
    let Ok(body) = Limited::new(body, BODY_MAX).collect().await else {
        return query::bad_request("error decoding request body");
    };
    let Ok(named) = serde_json::from_slice::<PeerToAdd>(&body.to_bytes()) else {
        return query::bad_request("error decoding request body");
    };
    let Ok(peer) = peer_id::parse(&named.peer_id) else {
        return query::bad_request("error decoding peer_id");
    };
    answer::object(front.rpc.call::<Cluster::PeerAdd>(Target::Local, peer).await)
}

pub(super) async fn remove(front: &Front, name: &str) -> Answer {
    let peer = match peer_id::parse(name) {
        Ok(peer) => peer,
        Err(error) => return query::bad_request(format!("error decoding Peer ID: {error}")),
    };
    match front.rpc.call::<Cluster::PeerRemove>(Target::Local, peer).await {
        Ok(()) => answer::no_content(),
        Err(error) => answer::failure(&error),
    }
}

/// As JSON, or as a picture for who asks for one.
pub(super) async fn graph(front: &Front, asked: &Asked) -> Answer {
    let graph = front.rpc.call::<Cluster::ConnectGraph>(Target::Local, ()).await;
    let accept = asked.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let picture = query::first(&asked.query, "format") == "svg" || accept.starts_with("image/svg+xml");
    match graph {
        Ok(graph) if picture => answer::svg(graph_svg::svg(&graph)),
        graph => answer::object(graph),
    }
}

pub(super) async fn bandwidth(front: &Front) -> Answer {
    answer::object(front.rpc.call::<Cluster::BandwidthByProtocol>(Target::Local, ()).await)
}

pub(super) async fn alerts(front: &Front) -> Answer {
    answer::object(front.rpc.call::<Cluster::Alerts>(Target::Local, ()).await)
}

pub(super) async fn state_digest(front: &Front) -> Answer {
    answer::object(front.rpc.call::<Cluster::StateDigest>(Target::Local, ()).await)
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
