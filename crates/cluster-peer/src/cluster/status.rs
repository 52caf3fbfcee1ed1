//! How items stand over all peers, and trying again what failed.

use super::MainCluster;
use cluster_component::PageStream;
use cluster_component::errors::ClusterError;
use cluster_component::ports::sleep;
use cluster_component::rpc::{
    Cluster as ClusterRpc, PinTracker as TrackerRpc, RpcError, RpcErrorKind, Target, UnaryMethod,
};
use cluster_types::{Cid, GlobalPinInfo, PeerId, Pin, PinInfo, PinInfoShort, Timestamp, TrackerStatus};
use futures::StreamExt;
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The longest that a peer may take over one item.
const ITEM_TIMEOUT: Duration = Duration::from_secs(15);

impl MainCluster {
    /// The members that are asked: all, or in follower mode this peer alone.
    async fn asked(&self) -> Result<BTreeSet<PeerId>, ClusterError> {
        if self.config.follower_mode {
            return Ok(BTreeSet::from([self.parts.rpc.me()]));
        }
        Ok(self.parts.consensus.peers().await?)
    }

    /// Asks the peers that hold an item (`Status`, or `Recover`, which answers with the status too).
    pub(super) async fn ask_about<M>(&self, cid: &Cid) -> Result<GlobalPinInfo, ClusterError>
    where
        M: UnaryMethod<Req = Cid, Resp = PinInfo>,
    {
        let members = self.asked().await?;
        let now = self.parts.clock.now().wall;
        let Some(pin) = self.state.get(cid)? else { return self.ask_about_gone::<M>(cid, &members, now).await };
        let mut global = GlobalPinInfo { cid: Some(*cid), name: pin.options.name.clone(), ..GlobalPinInfo::default() };
        let (holders, others): (BTreeSet<PeerId>, BTreeSet<PeerId>) =
            match pin.is_everywhere() || pin.allocations.is_empty() {
                true => (members, BTreeSet::new()),
                false => (pin.allocations.iter().copied().collect(), members),
            };
        for peer in others.difference(&holders) {
            global.add(self.entry(&pin, *peer, TrackerStatus::REMOTE, now, ""));
        }
        for (peer, answer) in join_all(holders.iter().map(|peer| self.ask_one::<M>(*peer, *cid))).await {
            match answer {
                Ok(info) => global.add(info),
                Err(error) if error.kind == RpcErrorKind::Unauthorized => {}
                Err(error) => global.add(self.entry(&pin, peer, TrackerStatus::CLUSTER_ERROR, now, &error.message)),
            }
        }
        Ok(global)
    }

    /// An item that is not in the pinset: unpinned everywhere, but for what this peer still has to do about it.
    async fn ask_about_gone<M>(
        &self,
        cid: &Cid,
        members: &BTreeSet<PeerId>,
        now: Timestamp,
    ) -> Result<GlobalPinInfo, ClusterError>
    where
        M: UnaryMethod<Req = Cid, Resp = PinInfo>,
    {
        let me = self.parts.rpc.me();
        let gone = Pin { timestamp: now, ..Pin::new(*cid, Default::default()) };
        let mut global = GlobalPinInfo::default();
        for peer in members {
            let entry = self.entry(&gone, *peer, TrackerStatus::UNPINNED, now, "");
            let own = if *peer == me { self.ask_one::<M>(me, *cid).await.1.ok() } else { None };
            let short = own.filter(|own| own.status.status != TrackerStatus::UNDEFINED).map(|own| own.status);
            global.add(PinInfo { status: short.unwrap_or_else(|| entry.status.clone()), ..entry });
        }
        Ok(global)
    }

    async fn ask_one<M>(&self, peer: PeerId, cid: Cid) -> (PeerId, Result<PinInfo, RpcError>)
    where
        M: UnaryMethod<Req = Cid, Resp = PinInfo>,
    {
        let late = || RpcError::new(RpcErrorKind::Unreachable, "context deadline exceeded");
        // Order: an answer before the end of the time for it.
        let answer = tokio::select! {
            biased;
            answer = self.parts.rpc.call::<M>(Target::Peer(peer), cid) => answer,
            () = sleep(&*self.parts.clock, ITEM_TIMEOUT) => Err(late()),
        };
        (peer, answer)
    }

    /// What this peer says for another.
    fn entry(&self, pin: &Pin, peer: PeerId, status: TrackerStatus, now: Timestamp, error: &str) -> PinInfo {
        let daemon = self.daemon_of(&peer);
        PinInfo {
            cid: pin.cid,
            name: pin.options.name.clone(),
            peer,
            allocations: Some(pin.allocations.clone()),
            origins: pin.options.origins.clone(),
            created: pin.timestamp,
            metadata: pin.options.metadata.clone(),
            status: PinInfoShort {
                peername: self.name_of(&peer),
                ipfs_peer_id: daemon.id,
                ipfs_peer_addresses: daemon.addresses,
                status,
                timestamp: now,
                error: error.to_owned(),
                attempt_count: 0,
                priority_pin: false,
            },
        }
    }

    /// Streams of all members, merged by CID: each is in the listing order.
    pub(super) fn list_status(self: Arc<Self>, filter: TrackerStatus) -> PageStream<GlobalPinInfo, ClusterError> {
        self.merged(move |this, peer| this.parts.rpc.stream::<TrackerRpc::StatusAll>(Target::Peer(peer), filter))
    }

    pub(super) fn list_recovered(self: Arc<Self>) -> PageStream<GlobalPinInfo, ClusterError> {
        self.merged(|this, peer| this.parts.rpc.stream::<ClusterRpc::RecoverAllLocal>(Target::Peer(peer), ()))
    }

    fn merged(
        self: Arc<Self>,
        open: impl Fn(&Self, PeerId) -> PageStream<PinInfo, RpcError> + Send + 'static,
    ) -> PageStream<GlobalPinInfo, ClusterError> {
        let merge = async move {
            let members = match self.asked().await {
                Ok(members) => members,
                Err(error) => return futures::stream::iter([Err(error)]).boxed(),
            };
            let sources = members.into_iter().map(|peer| Source::new(peer, open(&self, peer))).collect();
            Merge { cluster: self, sources, failed: BTreeMap::new() }.pages()
        };
        futures::stream::once(merge).flatten().boxed()
    }
}

/// One member's stream, with the items that were read and not yet passed on.
struct Source {
    peer: PeerId,
    pages: PageStream<PinInfo, RpcError>,
    ahead: std::collections::VecDeque<(Vec<u8>, PinInfo)>,
    ended: bool,
}

impl Source {
    fn new(peer: PeerId, pages: PageStream<PinInfo, RpcError>) -> Self {
        Self { peer, pages, ahead: std::collections::VecDeque::new(), ended: false }
    }

    /// Reads on if nothing is ahead.
    async fn fill(&mut self) -> Result<(), RpcError> {
        while self.ahead.is_empty() && !self.ended {
            match self.pages.next().await {
                Some(Ok(page)) => self.ahead.extend(page.into_iter().map(|info| (info.cid.sort_key(), info))),
                Some(Err(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                None => self.ended = true,
            }
        }
        Ok(())
    }
}

/// Members' streams becoming one.
struct Merge {
    cluster: Arc<MainCluster>,
    sources: Vec<Source>,
    failed: BTreeMap<PeerId, RpcError>,
}

impl Merge {
    fn pages(self) -> PageStream<GlobalPinInfo, ClusterError> {
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
        let pages = self.sources.remove(0).pages;
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
            for source in &mut self.sources {
                if let Err(error) = source.fill().await
                    && error.kind != RpcErrorKind::Unauthorized
                {
                    self.failed.insert(source.peer, error);
                }
            }
            let Some(key) = self.sources.iter().filter_map(|s| s.ahead.front()).map(|(key, _)| key).min().cloned()
            else {
                break;
            };
            page.push(self.item(&key));
        }
        page
    }

    /// The item of a key: what each member says, and an error for each that could not be asked.
    fn item(&mut self, key: &[u8]) -> GlobalPinInfo {
        let mut global = GlobalPinInfo::default();
        for source in &mut self.sources {
            if source.ahead.front().is_some_and(|(front, _)| front == key)
                && let Some((_, info)) = source.ahead.pop_front()
            {
                global.add(info);
            }
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
