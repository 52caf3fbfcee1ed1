//! How items stand over all peers, and trying again what failed.

use super::MainCluster;
use super::merge::Merge;
use cluster_component::PageStream;
use cluster_component::errors::ClusterError;
use cluster_component::ports::sleep;
use cluster_component::rpc::{
    Cluster as ClusterRpc, PinTracker as TrackerRpc, RpcError, RpcErrorKind, Target, UnaryMethod,
};
use cluster_types::{Cid, GlobalPinInfo, PeerId, Pin, PinInfo, PinInfoShort, Timestamp, TrackerStatus};
use futures::StreamExt;
use futures::future::join_all;
use std::collections::BTreeSet;
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
        // Order: an answer before the end of the time for it.
        let answer = tokio::select! {
            biased;
            answer = self.parts.rpc.call::<M>(Target::Peer(peer), cid) => answer,
            () = sleep(&*self.parts.clock, ITEM_TIMEOUT) => Err(super::late()),
        };
        (peer, answer)
    }

    /// What this peer says for another.
    pub(super) fn entry(&self, pin: &Pin, peer: PeerId, status: TrackerStatus, now: Timestamp, error: &str) -> PinInfo {
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
                progress: None,
                retry_at: None,
            },
        }
    }

    /// Streams of all members, merged by CID.
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
            let sources = members.into_iter().map(|peer| (peer, open(&self, peer))).collect();
            Merge::new(self, sources).pages()
        };
        futures::stream::once(merge).flatten().boxed()
    }
}
