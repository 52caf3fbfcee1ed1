//! The repositories of all members, as if they were one.

use super::service::{Answer, Asked, Front};
use crate::server::{Ending, chunked};
use bytes::Bytes;
use cluster_component::rpc::{Cluster, Consensus, IPFSConnector, Target};
use cluster_types::{Cid, RepoGcKey};
use http::HeaderValue;
use http::StatusCode;
use http::header::TRAILER;
use serde::Serialize;

#[derive(Serialize, Default)]
struct Stat {
    #[serde(rename = "RepoSize")]
    repo_size: u64,
    #[serde(rename = "StorageMax")]
    storage_max: u64,
}

/// As the reference: the sum over all members that answer.
pub(super) async fn stat(front: &Front, asked: &Asked) -> Answer {
    let peers = match front.rpc.call::<Consensus::Peers>(Target::Local, ()).await {
        Ok(peers) => peers.into_iter().collect::<Vec<_>>(),
        Err(error) => return asked.failure(&error),
    };
    let mut sum = Stat::default();
    for (peer, stat) in front.rpc.broadcast::<IPFSConnector::RepoStat>(&peers, ()).await {
        match stat {
            Ok(stat) => {
                sum.repo_size = sum.repo_size.saturating_add(stat.repo_size);
                sum.storage_max = sum.storage_max.saturating_add(stat.storage_max);
            }
            Err(error) => tracing::error!(target: "ipfsproxy", %peer, %error, "its repository was left out of a sum"),
        }
    }
    asked.object(&sum)
}

#[derive(Serialize)]
struct Link {
    #[serde(rename = "/")]
    cid: Cid,
}

#[derive(Serialize)]
struct Removed {
    #[serde(rename = "Key")]
    key: Option<Link>,
    #[serde(rename = "Error", skip_serializing_if = "String::is_empty")]
    error: String,
}

/// As the reference: a line for each block that was removed anywhere; errors within it, or all at the end.
pub(super) async fn gc(front: &Front, asked: &Asked) -> Answer {
    let collected = match front.rpc.call::<Cluster::RepoGC>(Target::Local, ()).await {
        Ok(collected) => collected,
        Err(error) => return asked.failure(&error),
    };
    let within = asked.value("stream-errors") == "true";
    let (mut lines, mut errors) = (Vec::new(), String::new());
    for key in collected.peer_map.into_values().flat_map(|peer| peer.keys) {
        let RepoGcKey { key, error } = key;
        if !error.is_empty() && !within {
            errors.push_str(&format!("{error}; "));
        }
        let error = if within { error } else { String::new() };
        let removed = Removed { key: key.map(|cid| Link { cid }), error };
        lines.extend_from_slice(&cluster_types::json::to_go_json(&removed));
        lines.push(b'\n');
    }
    let end = (!errors.is_empty()).then_some(Err(errors));
    let chunks = futures::stream::iter([Ok(Bytes::from(lines))].into_iter().chain(end));
    let ending = Ending { takes_trailers: asked.takes_trailers(), empty_trailer: false };
    let mut response = asked.answer(StatusCode::OK, chunked(chunks, ending));
    response.headers_mut().insert(TRAILER, HeaderValue::from_static("X-Stream-Error"));
    response
}
