//! A running host for tests.

use cluster_component::component::Component;
use cluster_component::ports::{Duplex, Network};
use cluster_component::tasks::TaskScope;
use cluster_net::{Host, Options, Protocols, PubSubOptions, RPC_PROTOCOL};
use cluster_testkit::tasks::TokioSpawn;
use cluster_types::{Multiaddr, PeerId};
use futures::AsyncReadExt;
use libp2p_identity::Keypair;
use std::sync::Arc;
use std::time::Duration;

/// How long anything may take in these tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A running host, which ends with the value.
pub(crate) struct Peer {
    pub(crate) host: Arc<Host>,
    pub(crate) tasks: TaskScope,
}

/// Options of a peer on loopback whose meshes form quickly.
pub(crate) fn options() -> Options {
    Options {
        secret: Some([7; 32]),
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("address")],
        dial_timeout: DEADLINE,
        pubsub: PubSubOptions { heartbeat: Duration::from_millis(100), ..PubSubOptions::default() },
        ..Options::new(Keypair::generate_ed25519())
    }
}

/// Sends back everything, then ends.
async fn echo(stream: Duplex) {
    let (read, mut write) = stream.split();
    let _whoever_opened_it_notices = futures::io::copy(read, &mut write).await;
    let _as_above = futures::AsyncWriteExt::close(&mut write).await;
}

impl Peer {
    pub(crate) async fn start(options: Options) -> Self {
        Self::start_with(options, Protocols::new()).await
    }

    pub(crate) async fn start_with(options: Options, mut protocols: Protocols) -> Self {
        protocols.insert(RPC_PROTOCOL, Arc::new(|_, stream| Box::pin(echo(stream))));
        let host = Arc::new(Host::bind(&options, protocols).await.expect("it listens"));
        let tasks = TaskScope::new(Arc::new(TokioSpawn));
        Arc::clone(&host).start(&tasks).await.expect("it starts");
        Self { host, tasks }
    }

    pub(crate) fn id(&self) -> PeerId {
        self.host.me()
    }

    /// Where it is, with its name.
    pub(crate) fn address(&self) -> Multiaddr {
        let address = self.host.addresses().into_iter().next().expect("it listens");
        address.with_p2p(self.id()).expect("no other name")
    }

    pub(crate) async fn connect(&self, to: &Self) {
        assert_eq!(self.host.connect(&to.address()).await, Ok(to.id()));
    }
}

/// Waits, with a deadline, for what cannot be waited for otherwise.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("it never came about that {what}"))
}
