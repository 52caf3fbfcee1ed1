//! The table. One row is one operation: its documentation, who may ask, how it travels, its types, and what runs.

use super::client::Components;
use super::error::RpcError;
use super::method::{Form, Method, MethodInfo, Policy, Shape, StreamMethod, UnaryMethod, UploadMethod};
use super::server::{self, Run, Served};
use crate::PageStream;
use crate::component::StateRead;
use crate::errors::ClusterError;
use crate::ports::Block;
use cluster_types::explain::explain;
use cluster_types::{
    Alert, BandwidthByProtocol as Traffic, Cid as CidOf, ConnectGraph as ConnectGraphOf, Explanation, GlobalPinInfo,
    GlobalRepoGc, IpfsId, IpfsPin, IpfsPinStatus, Metric, MetricName, Multiaddr, PeerId, PeerInfo, Pin as PinOf,
    PinInfo, PinOptions, RepoGc as RepoGcOf, RepoStat as RepoStatOf, StateDigest as StateDigestOf, TrackerStatus,
    Version as VersionOf,
};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use std::sync::Arc;

macro_rules! rpc_table {
    ($( $(#[doc = $service_doc:literal])* $service:ident {
        $( #[doc = $doc:literal] $policy:ident $kind:ident $method:ident ($req:ty) -> $resp:ty = |$c:ident, $r:pat_param| $body:expr; )*
    } )*) => {
        $(
            $(#[doc = $service_doc])*
            #[allow(non_snake_case)]
            pub mod $service {
                $(
                    #[doc = $doc]
                    #[derive(Debug)]
                    pub struct $method;
                )*
            }
            $(
                impl Method for $service::$method {
                    const INFO: MethodInfo = MethodInfo {
                        name: concat!(stringify!($service), ".", stringify!($method)),
                        policy: Policy::$policy,
                        shape: rpc_table!(@shape $kind),
                        doc: $doc,
                    };
                    type Req = $req;
                    type Resp = $resp;
                    const FORM: Option<Form<$req, $resp>> = rpc_table!(@form $policy);
                }
                rpc_table!(@run $kind $service $method $req, $resp, $c, $r, $body);
            )*
        )*
        /// Every row, as it is run for other peers.
        pub(super) const SERVED: &[Served] = &[ $( $( Served {
            info: <$service::$method as Method>::INFO,
            run: rpc_table!(@served $kind $service::$method),
        }, )* )* ];
        /// Every row, in order.
        pub const METHODS: &[MethodInfo] = &[ $( $( <$service::$method as Method>::INFO, )* )* ];
    };
    (@shape unary) => { Shape::Unary };
    (@shape stream) => { Shape::Stream };
    (@shape upload) => { Shape::Upload };
    (@form Closed) => { None };
    (@form $policy:ident) => { Some(Form::OWN) };
    (@served unary $method:path) => { Run::Unary(server::unary::<$method>) };
    (@served stream $method:path) => { Run::Stream(server::streaming::<$method>) };
    (@served upload $method:path) => { Run::Upload(server::upload::<$method>) };
    (@run upload $service:ident $method:ident $req:ty, $resp:ty, $c:ident, $r:pat_param, $body:expr) => {
        impl UploadMethod for $service::$method {
            fn run(
                $c: Arc<Components>,
                $r: BoxStream<'static, Result<$req, RpcError>>,
            ) -> BoxFuture<'static, Result<(), RpcError>> {
                Box::pin(async move { $body.await.map_err(RpcError::from) })
            }
        }
    };
    (@run unary $service:ident $method:ident $req:ty, $resp:ty, $c:ident, $r:pat_param, $body:expr) => {
        impl UnaryMethod for $service::$method {
            fn run($c: Arc<Components>, $r: $req) -> BoxFuture<'static, Result<$resp, RpcError>> {
                Box::pin(async move { $body.await.map_err(RpcError::from) })
            }
        }
    };
    (@run stream $service:ident $method:ident $req:ty, $resp:ty, $c:ident, $r:pat_param, $body:expr) => {
        impl StreamMethod for $service::$method {
            fn run($c: Arc<Components>, $r: $req) -> PageStream<$resp, RpcError> {
                $body.map(|page| page.map_err(RpcError::from)).boxed()
            }
        }
    };
}

/// A plain value as the answer of a row.
fn value<T>(value: T) -> std::future::Ready<Result<T, RpcError>> {
    std::future::ready(Ok(value))
}

fn digest(state: &dyn StateRead) -> Result<StateDigestOf, ClusterError> {
    Ok(StateDigestOf { pins: state.len()?, digest: state.digest()? })
}

rpc_table! {
    /// The main component.
    Cluster {
        /// What this peer says of itself.
        Open unary ID (()) -> PeerInfo = |c, ()| async move { value(c.cluster.id().await).await };
        /// The same, for callers that read a stream.
        Open stream IDStream (()) -> PeerInfo = |c, ()| stream::once(async move { Ok::<_, RpcError>(vec![c.cluster.id().await]) });
        /// The version that clients see.
        Open unary Version (()) -> VersionOf = |c, ()| value(VersionOf { version: c.cluster.version() });
        /// What every member says of itself.
        Trusted stream Peers (()) -> PeerInfo = |c, ()| Arc::clone(&c.cluster).peers();
        /// Takes in a peer.
        Open unary PeerAdd (PeerId) -> PeerInfo = |c, peer| c.cluster.peer_add(peer);
        /// Moves a peer's pins and puts it out.
        Trusted unary PeerRemove (PeerId) -> () = |c, peer| c.cluster.peer_remove(peer);
        /// Has a member take this peer in.
        Closed unary Join (Multiaddr) -> () = |c, address| c.cluster.join(&address);
        /// Who is connected to whom.
        Closed unary ConnectGraph (()) -> ConnectGraphOf = |c, ()| c.cluster.connect_graph();
        /// Traffic by protocol.
        Closed unary BandwidthByProtocol (()) -> Traffic = |c, ()| value(c.cluster.bandwidth());
        /// Pins a CID, with everything of the pin given.
        Closed unary Pin (PinOf) -> PinOf = |c, pin| c.cluster.pin_object(pin);
        /// Pins what a path leads to.
        Closed unary PinPath ((String, PinOptions)) -> PinOf = |c, (path, options)| c.cluster.pin_path(&path, options);
        /// Unpins.
        Closed unary Unpin (CidOf) -> PinOf = |c, cid| c.cluster.unpin(&cid);
        /// Unpins what a path leads to.
        Closed unary UnpinPath (String) -> PinOf = |c, path| c.cluster.unpin_path(&path);
        /// A pin as it is stored.
        Closed unary PinGet (CidOf) -> PinOf = |c, cid| c.cluster.pin_get(&cid);
        /// All pins.
        Closed stream Pins (()) -> PinOf = |c, ()| Arc::clone(&c.cluster).pins();
        /// Peers for blocks that are about to be put.
        Closed unary BlockAllocate (PinOf) -> Vec<PeerId> = |c, pin| c.cluster.block_allocate(pin);
        /// How one item stands at all peers.
        Closed unary Status (CidOf) -> GlobalPinInfo = |c, cid| c.cluster.status(&cid);
        /// How one item stands at all peers, why, and what to do.
        Closed unary Explain (CidOf) -> Explanation = |c, cid| async move {
            let status = c.cluster.status(&cid).await?;
            let pin = c.consensus.state().get(&cid)?;
            Ok::<_, ClusterError>(explain(cid, pin.as_ref(), &status))
        };
        /// How one item stands at this peer.
        Closed unary StatusLocal (CidOf) -> PinInfo = |c, cid| async move { value(c.tracker.status(&cid).await).await };
        /// How all items stand at all peers.
        Closed stream StatusAll (TrackerStatus) -> GlobalPinInfo = |c, filter| Arc::clone(&c.cluster).status_all(filter);
        /// How all items stand at this peer.
        Closed stream StatusAllLocal (TrackerStatus) -> PinInfo = |c, filter| Arc::clone(&c.tracker).status_all(filter);
        /// Tries again at all peers what failed of one item.
        Closed unary Recover (CidOf) -> GlobalPinInfo = |c, cid| c.cluster.recover(&cid);
        /// Tries again at this peer what failed of one item.
        Trusted unary RecoverLocal (CidOf) -> PinInfo = |c, cid| c.cluster.recover_local(&cid);
        /// Tries again at all peers everything that failed.
        Closed stream RecoverAll (()) -> GlobalPinInfo = |c, ()| Arc::clone(&c.cluster).recover_all();
        /// Tries again at this peer everything that failed.
        Trusted stream RecoverAllLocal (()) -> PinInfo = |c, ()| Arc::clone(&c.tracker).recover_all();
        /// Collects garbage at all peers.
        Closed unary RepoGC (()) -> GlobalRepoGc = |c, ()| c.cluster.repo_gc();
        /// Collects garbage at this peer.
        Trusted unary RepoGCLocal (()) -> RepoGcOf = |c, ()| c.cluster.repo_gc_local();
        /// What stands for the whole pinset.
        Closed unary StateDigest (()) -> StateDigestOf = |c, ()| async move { digest(&*c.consensus.state()) };
        /// What was noticed of failing peers, newest first.
        Closed unary Alerts (()) -> Vec<Alert> = |c, ()| value(c.cluster.alerts());
        /// The daemon of a peer, from its latest ping.
        Closed unary IPFSID (PeerId) -> IpfsId = |c, peer| value(c.cluster.ipfs_id_of(&peer));
        /// Finds out and publishes this peer's metrics now.
        Closed unary SendInformersMetrics (()) -> () = |c, ()| c.cluster.send_metrics();
    }
    /// What the daemon shall hold.
    PinTracker {
        /// Takes note of a pin.
        Closed unary Track (PinOf) -> () = |c, pin| c.tracker.track(pin);
        /// Takes note that a pin is gone.
        Closed unary Untrack (CidOf) -> () = |c, cid| c.tracker.untrack(&cid);
        /// How one item stands.
        Trusted unary Status (CidOf) -> PinInfo = |c, cid| async move { value(c.tracker.status(&cid).await).await };
        /// How all items stand.
        Trusted stream StatusAll (TrackerStatus) -> PinInfo = |c, filter| Arc::clone(&c.tracker).status_all(filter);
        /// Tries again what failed of one item.
        Trusted unary Recover (CidOf) -> PinInfo = |c, cid| c.tracker.recover(&cid);
        /// Tries again everything that failed.
        Closed stream RecoverAll (()) -> PinInfo = |c, ()| Arc::clone(&c.tracker).recover_all();
        /// How many pins wait.
        Closed unary PinQueueSize (()) -> u64 = |c, ()| value(c.tracker.pin_queue_len());
    }
    /// The IPFS daemon.
    IPFSConnector {
        /// Has the daemon pin.
        Closed unary Pin (PinOf) -> () = |c, pin| c.connector.pin(&pin, None);
        /// Has the daemon unpin.
        Closed unary Unpin (CidOf) -> () = |c, cid| c.connector.unpin(&cid);
        /// What the daemon holds.
        Closed stream PinLs (Vec<IpfsPinStatus>) -> IpfsPin = |c, kinds| Arc::clone(&c.connector).pin_ls(&kinds);
        /// How the daemon holds one item.
        Closed unary PinLsCid (PinOf) -> IpfsPinStatus = |c, pin| c.connector.pin_ls_cid(&pin);
        /// The CID that a path leads to.
        Closed unary Resolve (String) -> CidOf = |c, path| c.connector.resolve(&path);
        /// How full the daemon's repository is.
        Trusted unary RepoStat (()) -> RepoStatOf = |c, ()| c.connector.repo_stat();
        /// Whom the daemon is connected to.
        Trusted unary SwarmPeers (()) -> Vec<PeerId> = |c, ()| c.connector.swarm_peers();
        /// Stores blocks; the end tells that all are stored.
        Trusted upload BlockStream (Block) -> () = |c, blocks| c.connector.block_put(blocks.map(|block| block.map_err(ClusterError::from)).boxed());
        /// One block.
        Closed unary BlockGet (CidOf) -> bytes::Bytes = |c, cid| c.connector.block_get(&cid);
    }
    /// The pinset.
    Consensus {
        /// Makes a pin part of the pinset.
        Trusted unary LogPin (PinOf) -> () = |c, pin| c.consensus.log_pin(pin);
        /// Removes a pin from the pinset.
        Trusted unary LogUnpin (PinOf) -> () = |c, pin| async move { c.consensus.log_unpin(&pin.cid).await };
        /// Takes in a member.
        Trusted unary AddPeer (PeerId) -> () = |c, peer| c.consensus.add_peer(peer);
        /// Puts out a member.
        Trusted unary RmPeer (PeerId) -> () = |c, peer| c.consensus.remove_peer(&peer);
        /// The members.
        Closed unary Peers (()) -> std::collections::BTreeSet<PeerId> = |c, ()| c.consensus.peers();
        /// Takes a message of a member of the same kind of consensus, such as raft's, and answers it.
        Trusted unary Message (bytes::Bytes) -> bytes::Bytes = |c, message| c.consensus.message(message);
    }
    /// Figures of all peers.
    PeerMonitor {
        /// The latest valid metrics of a name, by peer.
        Closed unary LatestMetrics (MetricName) -> Vec<Metric> = |c, name| value(c.monitor.latest(&name).into_values().collect());
        /// All names of metrics seen.
        Closed unary MetricNames (()) -> std::collections::BTreeSet<MetricName> = |c, ()| value(c.monitor.names());
    }
}
