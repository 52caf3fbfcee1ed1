//! The node as a member of the IPFS network: nodes that fetch from each other, and peers that mean no good.

use crate::liar::Liar;
use crate::support::{Made, bytes, file, node_with, put, read, recursive, reopen_with, stream_of};
use async_trait::async_trait;
use cluster_component::component::{Component, IpfsConnector};
use cluster_component::errors::{ConnectorError, NetError};
use cluster_component::ports::{Block, BlockExchange};
use cluster_component::tasks::TaskScope;
use cluster_datastore::MemoryStore;
use cluster_embedded::{Dht, EmbeddedConfig, SwarmConfig};
use cluster_testkit::{TokioSpawn, eventually};
use cluster_types::{Cid, IpfsPinStatus, Multiaddr, PeerId, Pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// A node that takes part in the network.
pub(crate) struct Member {
    pub(crate) made: Made,
    tasks: TaskScope,
}

pub(crate) fn open_to_others() -> SwarmConfig {
    let listen_multiaddresses = vec!["/ip4/127.0.0.1/tcp/0".into()];
    SwarmConfig { enabled: true, listen_multiaddresses, ..SwarmConfig::default() }
}

impl Member {
    pub(crate) async fn start(swarm: SwarmConfig) -> Self {
        Self::start_with(swarm, None).await
    }

    async fn start_with(swarm: SwarmConfig, members: Option<Arc<dyn BlockExchange>>) -> Self {
        Self::run(node_with(EmbeddedConfig { swarm, ..EmbeddedConfig::default() }, members, None)).await
    }

    async fn start_again(swarm: SwarmConfig, folder: TempDir, store: Arc<MemoryStore>) -> Self {
        Self::run(reopen_with(EmbeddedConfig { swarm, ..EmbeddedConfig::default() }, folder, store)).await
    }

    async fn run(made: Made) -> Self {
        let tasks = TaskScope::new(Arc::new(TokioSpawn));
        Component::start(Arc::clone(&made.node), &tasks).await.expect("started");
        Self { made, tasks }
    }

    pub(crate) async fn id(&self) -> PeerId {
        self.made.node.id().await.expect("told").id.expect("a name")
    }

    pub(crate) async fn address(&self) -> Multiaddr {
        self.made.node.id().await.expect("told").addresses.remove(0)
    }

    pub(crate) async fn peers(&self) -> Vec<PeerId> {
        self.made.node.swarm_peers().await.expect("told")
    }

    /// Pins; the time for it is real, since the node's own clock stands still.
    pub(crate) async fn pin(&self, pin: &Pin) -> Result<(), ConnectorError> {
        let work = self.made.node.pin(pin, None);
        tokio::time::timeout(Duration::from_secs(60), work).await.expect("it has an end")
    }

    pub(crate) async fn connect(&self, address: Multiaddr) {
        self.made.node.connect_swarms(&[address]).await.expect("asked");
    }

    pub(crate) async fn stop(self) -> Made {
        self.tasks.stop().await;
        self.made.node.shutdown().await;
        self.made
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_it_is_alone() {
    let alone = Member::start(SwarmConfig::default()).await;
    let other = Member::start(open_to_others()).await;

    alone.connect(other.address().await).await;

    assert_eq!((alone.peers().await, other.peers().await), (vec![], vec![]));
    assert_eq!(alone.made.node.id().await.expect("told").addresses, []);
    alone.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_connected_node_holds_is_fetched_from_it() {
    let (holder, wanter) = (Member::start(open_to_others()).await, Member::start(open_to_others()).await);
    let content = bytes(3, 400_000);
    let (root, blocks) = file(&content);
    put(&holder.made.node, &blocks).await;

    wanter.connect(holder.address().await).await;
    wanter.pin(&recursive(root)).await.expect("fetched");

    assert_eq!(read(&wanter.made.node, root).await, content);
    assert_eq!(wanter.made.node.pin_ls_cid(&recursive(root)).await, Ok(IpfsPinStatus::Recursive));
    assert_eq!((wanter.peers().await, holder.peers().await), (vec![holder.id().await], vec![wanter.id().await]));
    wanter.stop().await;
    holder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn origins_of_a_pin_are_connected_to() {
    let (holder, wanter) = (Member::start(open_to_others()).await, Member::start(open_to_others()).await);
    let (root, blocks) = file(&bytes(4, 10_000));
    put(&holder.made.node, &blocks).await;
    let mut pin = recursive(root);
    pin.options.origins = Some(vec![holder.address().await]);

    wanter.pin(&pin).await.expect("fetched from the origin");

    wanter.stop().await;
    holder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_the_configuration_are_connected_to() {
    let holder = Member::start(open_to_others()).await;
    let peers = vec![holder.address().await.to_string()];
    let wanter = Member::start(SwarmConfig { peers, listen_multiaddresses: Vec::new(), ..open_to_others() }).await;
    let (root, blocks) = file(&bytes(5, 10_000));

    // It is wanted before anybody has it.
    let pin = recursive(root);
    let (pinned, ()) = tokio::join!(wanter.pin(&pin), put(&holder.made.node, &blocks));

    pinned.expect("fetched");
    wanter.stop().await;
    holder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_promises_everything_and_gives_nothing_holds_nobody_up() {
    let (holder, wanter) = (Member::start(open_to_others()).await, Member::start(open_to_others()).await);
    let (root, blocks) = file(&bytes(6, 100_000));
    put(&holder.made.node, &blocks).await;
    let (promises, deaf) = (Liar::start(true).await, Liar::start(false).await);
    wanter.connect(promises.address.clone()).await;
    wanter.connect(deaf.address.clone()).await;

    // They alone are connected at first.
    let pin = recursive(root);
    let mut work = wanter.made.node.pin(&pin, None);
    tokio::select! {
        done = &mut work => panic!("nobody has it: {done:?}"),
        () = eventually("both were asked", || promises.asked() > 0 && deaf.asked() > 0) => {}
    }
    wanter.connect(holder.address().await).await;
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("it has an end").expect("fetched from who has it");

    promises.stop();
    deaf.stop();
    wanter.stop().await;
    holder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_nobody_has_does_not_keep_others_waiting() {
    let (holder, wanter) = (Member::start(open_to_others()).await, Member::start(open_to_others()).await);
    wanter.connect(holder.address().await).await;
    let (missing, _) = file(&bytes(7, 10_000));
    let stuck = recursive(missing);
    let mut stuck = wanter.made.node.pin(&stuck, None);

    for seed in 8..12 {
        let (root, blocks) = file(&bytes(seed, 20_000));
        put(&holder.made.node, &blocks).await;
        let pin = recursive(root);
        tokio::select! {
            done = &mut stuck => panic!("nobody has it: {done:?}"),
            pinned = wanter.pin(&pin) => pinned.expect("fetched"),
        }
    }
    drop(stuck);

    wanter.stop().await;
    holder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_of_too_many_connections_is_ended() {
    let few = Member::start(SwarmConfig { connections_max: 2, ..open_to_others() }).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        let other = Member::start(open_to_others()).await;
        other.connect(few.address().await).await;
        others.push(other);
        eventually("all are counted", {
            let node = Arc::clone(&few.made.node);
            let wanted = others.len().min(2);
            let newest = others.last().expect("one").id().await;
            move || {
                let peers = futures::executor::block_on(node.swarm_peers()).expect("told");
                peers.len() == wanted && peers.contains(&newest)
            }
        })
        .await;
    }

    let first = others[0].id().await;
    assert!(!few.peers().await.contains(&first));
    for other in others {
        other.stop().await;
    }
    few.stop().await;
}

/// The members of a cluster, who have what they are asked for.
struct Members {
    blocks: Vec<Block>,
    asked: AtomicUsize,
}

#[async_trait]
impl BlockExchange for Members {
    async fn get(&self, cid: &Cid) -> Result<Block, NetError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let found = self.blocks.iter().find(|block| block.cid == *cid).cloned();
        found.ok_or_else(|| NetError::NotFound(cid.to_string()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_the_cluster_come_first() {
    let (root, blocks) = file(&bytes(13, 10_000));
    let members = Arc::new(Members { blocks: blocks.clone(), asked: AtomicUsize::new(0) });
    let outside = Liar::start(true).await;
    let wanter = Member::start_with(open_to_others(), Some(Arc::clone(&members) as _)).await;
    wanter.connect(outside.address.clone()).await;

    wanter.pin(&recursive(root)).await.expect("fetched");

    assert_eq!((members.asked.load(Ordering::SeqCst), outside.asked()), (blocks.len(), 0));
    outside.stop();
    wanter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_has_is_named() {
    let first = Member::start(open_to_others()).await;
    let taken = cluster_transport::split(&first.address().await).0.to_string();
    let swarm = SwarmConfig { listen_multiaddresses: vec![taken.clone()], ..open_to_others() };
    let made = node_with(EmbeddedConfig { swarm, ..EmbeddedConfig::default() }, None, None);
    let tasks = TaskScope::new(Arc::new(TokioSpawn));

    let error = Component::start(Arc::clone(&made.node), &tasks).await.expect_err("taken").to_string();

    assert!(error.contains(&taken) && error.contains("swarm.listen_multiaddresses"), "{error}");
    made.node.block_put(stream_of(&file(b"still usable").1)).await.expect("stored");
    first.stop().await;
}

/// A node that answers, and two that know it alone.
async fn table_of_three() -> (Member, Member, Member) {
    let server = Member::start(SwarmConfig { dht: Dht::Server, ..open_to_others() }).await;
    let bootstrap = vec![server.address().await.to_string()];
    let knowing = || SwarmConfig { bootstrap: bootstrap.clone(), ..open_to_others() };
    (server, Member::start(knowing()).await, Member::start(knowing()).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_it_is_found_by_way_of_others() {
    let (server, holder, wanter) = table_of_three().await;
    let content = bytes(14, 50_000);
    let (root, blocks) = file(&content);
    put(&holder.made.node, &blocks).await;
    holder.pin(&recursive(root)).await.expect("all is here");

    wanter.pin(&recursive(root)).await.expect("found and fetched");

    assert_eq!(read(&wanter.made.node, root).await, content);
    assert!(wanter.peers().await.contains(&holder.id().await));
    for member in [wanter, holder, server] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pinned_before_the_start_is_found_too() {
    let (root, blocks) = file(&bytes(15, 5_000));
    let before = node_with(EmbeddedConfig::default(), None, None);
    put(&before.node, &blocks).await;
    before.node.pin(&recursive(root), None).await.expect("all is here");
    before.node.shutdown().await;
    let Made { folder, store, .. } = before;
    let server = Member::start(SwarmConfig { dht: Dht::Server, ..open_to_others() }).await;
    let bootstrap = vec![server.address().await.to_string()];
    let knowing = || SwarmConfig { bootstrap: bootstrap.clone(), ..open_to_others() };
    let holder = Member::start_again(knowing(), folder, store).await;
    let wanter = Member::start(knowing()).await;

    wanter.pin(&recursive(root)).await.expect("found and fetched");

    for member in [wanter, holder, server] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gave_blocks_and_went_away_is_sought_again() {
    let (holder, wanter) = (Member::start(open_to_others()).await, Member::start(open_to_others()).await);
    let (first, blocks) = file(&bytes(16, 5_000));
    put(&holder.made.node, &blocks).await;
    let (second, blocks) = file(&bytes(17, 5_000));
    put(&holder.made.node, &blocks).await;
    let address = holder.address().await;
    wanter.connect(address.clone()).await;
    wanter.pin(&recursive(first)).await.expect("fetched");

    let Made { folder, store, .. } = holder.stop().await;
    eventually("it is gone", || futures::executor::block_on(wanter.peers()).is_empty()).await;
    let pin = recursive(second);
    let work = wanter.pin(&pin);
    let back = async {
        let listen_multiaddresses = vec![cluster_transport::split(&address).0.to_string()];
        Member::start_again(SwarmConfig { listen_multiaddresses, ..open_to_others() }, folder, store).await
    };
    let (pinned, holder) = tokio::join!(work, back);

    pinned.expect("fetched from who came back");
    wanter.stop().await;
    holder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_what_nobody_has_do_not_keep_pins_waiting() {
    let (holder, wanter) = (Member::start(open_to_others()).await, Member::start(open_to_others()).await);
    let (root, blocks) = file(&bytes(18, 20_000));
    put(&holder.made.node, &blocks).await;
    wanter.connect(holder.address().await).await;
    let readers: Vec<_> = (1_000..1_600)
        .map(|seed| {
            let (node, missing) = (Arc::clone(&wanter.made.node), file(&bytes(seed, 10)).0);
            tokio::spawn(async move { node.block_get(&missing).await })
        })
        .collect();
    eventually("they wait", || readers.iter().all(|reader| !reader.is_finished())).await;

    let pin = recursive(root);
    let pinned = tokio::time::timeout(Duration::from_secs(20), wanter.pin(&pin)).await;

    pinned.expect("it waits for no reader").expect("fetched");
    readers.iter().for_each(tokio::task::JoinHandle::abort);
    wanter.stop().await;
    holder.stop().await;
}

/// Its own address is public, so that strangers' addresses have to be; the operator's do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_public_node_connects_to_whom_its_operator_names_wherever_that_is() {
    let (holder, other) = (Member::start(open_to_others()).await, Member::start(open_to_others()).await);
    let announce_multiaddresses = vec!["/ip4/192.0.2.1/tcp/4001".to_owned()];
    let peers = vec![other.address().await.to_string()];
    let public = Member::start(SwarmConfig { announce_multiaddresses, peers, ..open_to_others() }).await;
    let (root, blocks) = file(&bytes(19, 5_000));
    put(&holder.made.node, &blocks).await;

    public.connect(holder.address().await).await;
    public.pin(&recursive(root)).await.expect("fetched");

    let other_id = other.id().await;
    eventually("the configured one is there", || futures::executor::block_on(public.peers()).contains(&other_id)).await;
    for member in [public, other, holder] {
        member.stop().await;
    }
}
