//! Many members' streams of statuses becoming one: each comes in the listing order, for which `source` sees, so that the
//! merge needs constant memory.

use super::MainCluster;
use super::source::Source;
use cluster_component::PageStream;
use cluster_component::errors::ClusterError;
use cluster_component::rpc::{RpcError, RpcErrorKind};
use cluster_types::{Cid, GlobalPinInfo, PeerId, Pin, PinInfo, TrackerStatus};
use futures::StreamExt;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Items of lists in no order that are sorted for one listing, over all members: about 100 MB while it lasts.
const SORTED_MAX: usize = 131_072;

/// Members' streams becoming one.
pub(super) struct Merge {
    cluster: Arc<MainCluster>,
    sources: Vec<Source>,
    failed: BTreeMap<PeerId, RpcError>,
}

impl Merge {
    /// The streams of these members, for a main component that knows their names.
    pub(super) fn new(cluster: Arc<MainCluster>, streams: Vec<(PeerId, PageStream<PinInfo, RpcError>)>) -> Self {
        let (me, sorted_max) = (cluster.parts.rpc.me(), SORTED_MAX / streams.len().max(1));
        let source = |(peer, pages)| match peer == me {
            true => Source::ordered(peer, pages),
            false => Source::unknown(peer, pages, sorted_max),
        };
        let sources = streams.into_iter().map(source).collect();
        Self { cluster, sources, failed: BTreeMap::new() }
    }

    pub(super) fn pages(self) -> PageStream<GlobalPinInfo, ClusterError> {
        // With one member its pages pass through as they are.
        if self.sources.len() == 1 {
            return self.single();
        }
        let pages = futures::stream::unfold(self, |mut merge| async move {
            let page = merge.page().await;
            if page.is_empty() { None } else { Some((Ok(page), merge)) }
        });
        pages.boxed()
    }

    fn single(mut self) -> PageStream<GlobalPinInfo, ClusterError> {
        let pages = self.sources.remove(0).into_pages();
        let global = |info: PinInfo| {
            let mut global = GlobalPinInfo::default();
            global.add(info);
            global
        };
        pages.map(move |page| Ok(page?.into_iter().map(global).collect())).boxed()
    }

    async fn page(&mut self) -> Vec<GlobalPinInfo> {
        let mut page = Vec::new();
        while page.len() < cluster_component::PAGE_MAX {
            for (peer, filled) in join_all(self.sources.iter_mut().map(Source::fill)).await {
                if let Err(error) = filled
                    && error.kind != RpcErrorKind::Unauthorized
                {
                    self.failed.insert(peer, error);
                }
            }
            let Some(key) = self.sources.iter().filter_map(Source::key).min().map(<[u8]>::to_vec) else { break };
            page.push(self.item(&key));
        }
        page
    }

    /// The item of a key: what each member says, and an error for each that could not be asked.
    fn item(&mut self, key: &[u8]) -> GlobalPinInfo {
        let mut global = GlobalPinInfo::default();
        for source in &mut self.sources {
            source.take(key).into_iter().for_each(|info| global.add(info));
        }
        let now = self.cluster.parts.clock.now().wall;
        let cid = global.cid.unwrap_or_else(|| Cid::from_sort_key(key).unwrap_or_else(|_| Cid(Default::default())));
        let pin = Pin::new(cid, Default::default());
        for (peer, error) in &self.failed {
            let entry = self.cluster.entry(&pin, *peer, TrackerStatus::CLUSTER_ERROR, now, &error.message);
            global.peer_map.insert(*peer, entry.status);
        }
        global
    }
}
