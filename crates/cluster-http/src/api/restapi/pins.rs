//! Routes about pins: what is pinned, how it stands, and changing it.
//!
//! A parameter that is wrong ends a request before anything is done (the reference answers 400 and goes on).

use super::answer::{self, Answer};
use super::query::{self, bad_request};
use super::service::{Asked, Front};
use cluster_component::PageStream;
use cluster_component::rpc::{Cluster, Rpc, RpcError, Target};
use cluster_types::{Cid, GlobalPinInfo, IpfsPath, Pin, PinInfo, PinOptions, TrackerStatus, pin_query};
use futures::StreamExt;

/// How many of the items of `cids=` are asked about at a time.
const STATUS_AT_ONCE: usize = 32;

/// Most items of `cids=`.
const STATUS_CIDS_MAX: usize = 100_000;

pub(super) async fn allocations(front: &Front, asked: &Asked) -> Answer {
    let Ok(filter) = cluster_types::pin::PinTypeFilter::parse(query::first(&asked.query, "filter")) else {
        return bad_request("invalid filter value");
    };
    let pins = front.rpc.stream::<Cluster::Pins>(Target::Local, ());
    let pins = if filter.is_all() { pins } else { only(pins, move |pin: &Pin| filter.matches(pin.kind)) };
    answer::stream(pins, asked.takes_trailers, |pin, out| {
        pin.write_json(out);
        out.push(b'\n');
    })
    .await
}

/// The items of a stream that pass; pages that would be empty are left out.
fn only<T: Send + 'static>(
    pages: PageStream<T, RpcError>,
    pass: impl Fn(&T) -> bool + Send + Sync + Clone + 'static,
) -> PageStream<T, RpcError> {
    let filtered = pages.map(move |page| page.map(|items| items.into_iter().filter(|i| pass(i)).collect::<Vec<_>>()));
    filtered.filter(|page| std::future::ready(!matches!(page, Ok(items) if items.is_empty()))).boxed()
}

pub(super) async fn allocation(front: &Front, hash: &str) -> Answer {
    match query::cid(hash) {
        Ok(cid) => answer::object(front.rpc.call::<Cluster::PinGet>(Target::Local, cid).await),
        Err(refusal) => refusal,
    }
}

pub(super) async fn status_all(front: &Front, asked: &Asked) -> Answer {
    let (local, cids) = (query::is_local(&asked.query), query::first(&asked.query, "cids"));
    if !cids.is_empty() {
        return status_of(front, asked, cids, local).await;
    }
    let text = query::first(&asked.query, "filter");
    let filter = TrackerStatus::parse_filter(text);
    if filter == TrackerStatus::UNDEFINED && !text.is_empty() {
        return bad_request("invalid filter value");
    }
    if local {
        let items = front.rpc.stream::<Cluster::StatusAllLocal>(Target::Local, filter);
        return answer::stream(items, asked.takes_trailers, write_local).await;
    }
    let items = front.rpc.stream::<Cluster::StatusAll>(Target::Local, filter);
    answer::stream(items, asked.takes_trailers, write_global).await
}

/// The status of each CID of a list. All are read before the first is asked about.
async fn status_of(front: &Front, asked: &Asked, cids: &str, local: bool) -> Answer {
    if cids.split(',').count() > STATUS_CIDS_MAX {
        return bad_request(format!("more than {STATUS_CIDS_MAX} CIDs in one request: ask in several"));
    }
    let cids: Vec<Cid> = match cids.split(',').map(query::cid).collect() {
        Ok(cids) => cids,
        Err(refusal) => return refusal,
    };
    let rpc = front.rpc.clone();
    let items = futures::stream::iter(cids)
        .map(move |cid| {
            let rpc = rpc.clone();
            async move { status_one(&rpc, cid, local).await.map(|item| vec![item]) }
        })
        .buffer_unordered(STATUS_AT_ONCE);
    answer::stream(items.boxed(), asked.takes_trailers, write_global).await
}

async fn status_one(rpc: &Rpc, cid: Cid, local: bool) -> Result<GlobalPinInfo, RpcError> {
    if local {
        return rpc.call::<Cluster::StatusLocal>(Target::Local, cid).await.map(global);
    }
    rpc.call::<Cluster::Status>(Target::Local, cid).await
}

fn global(info: PinInfo) -> GlobalPinInfo {
    let mut global = GlobalPinInfo::default();
    global.add(info);
    global
}

fn write_global(item: &GlobalPinInfo, out: &mut Vec<u8>) {
    item.write_json(out);
    out.push(b'\n');
}

fn write_local(item: &PinInfo, out: &mut Vec<u8>) {
    item.write_global_json(out);
    out.push(b'\n');
}

pub(super) async fn status(front: &Front, hash: &str, asked: &Asked) -> Answer {
    match query::cid(hash) {
        Ok(cid) => answer::object(status_one(&front.rpc, cid, query::is_local(&asked.query)).await),
        Err(refusal) => refusal,
    }
}

pub(super) async fn explain(front: &Front, hash: &str) -> Answer {
    match query::cid(hash) {
        Ok(cid) => answer::object(front.rpc.call::<Cluster::Explain>(Target::Local, cid).await),
        Err(refusal) => refusal,
    }
}

pub(super) async fn recover(front: &Front, hash: &str, asked: &Asked) -> Answer {
    let cid = match query::cid(hash) {
        Ok(cid) => cid,
        Err(refusal) => return refusal,
    };
    if query::is_local(&asked.query) {
        let info = front.rpc.call::<Cluster::RecoverLocal>(Target::Local, cid).await;
        return answer::object(info.map(global));
    }
    answer::object(front.rpc.call::<Cluster::Recover>(Target::Local, cid).await)
}

pub(super) async fn recover_all(front: &Front, asked: &Asked) -> Answer {
    if query::is_local(&asked.query) {
        let items = front.rpc.stream::<Cluster::RecoverAllLocal>(Target::Local, ());
        return answer::stream(items, asked.takes_trailers, write_local).await;
    }
    let items = front.rpc.stream::<Cluster::RecoverAll>(Target::Local, ());
    answer::stream(items, asked.takes_trailers, write_global).await
}

fn options(front: &Front, asked: &Asked) -> Result<PinOptions, Answer> {
    let now = front.clock.now().wall;
    pin_query::options_from_query(&asked.query, now).map_err(|e| bad_request(e.to_string()))
}

pub(super) async fn pin(front: &Front, hash: &str, asked: &Asked) -> Answer {
    let order = query::cid(hash).and_then(|cid| Ok(Pin::new(cid, options(front, asked)?)));
    match order {
        Ok(pin) => answer::object(front.rpc.call::<Cluster::Pin>(Target::Local, pin).await),
        Err(refusal) => refusal,
    }
}

pub(super) async fn pin_path(front: &Front, path: &str, asked: &Asked) -> Answer {
    let order = check_path(path).and_then(|()| options(front, asked));
    match order {
        Ok(options) => {
            answer::object(front.rpc.call::<Cluster::PinPath>(Target::Local, (path.to_owned(), options)).await)
        }
        Err(refusal) => refusal,
    }
}

pub(super) async fn unpin(front: &Front, hash: &str) -> Answer {
    match query::cid(hash) {
        Ok(cid) => answer::object(front.rpc.call::<Cluster::Unpin>(Target::Local, cid).await),
        Err(refusal) => refusal,
    }
}

pub(super) async fn unpin_path(front: &Front, path: &str) -> Answer {
    match check_path(path) {
        Ok(()) => answer::object(front.rpc.call::<Cluster::UnpinPath>(Target::Local, path.to_owned()).await),
        Err(refusal) => refusal,
    }
}

/// A path must make sense before anybody is asked to follow it.
fn check_path(path: &str) -> Result<(), Answer> {
    path.parse::<IpfsPath>().map(drop).map_err(|e| bad_request(format!("error parsing path: {e}")))
}
