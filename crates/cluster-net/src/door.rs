//! A libp2p host beside that of the cluster, for one server that strangers may reach: without the cluster's secret, with a
//! key of its own, and with no part in the cluster.

use crate::options::Serve;
use async_trait::async_trait;
use cluster_component::component::Component;
use cluster_component::errors::StartError;
use cluster_component::tasks::TaskScope;
use cluster_transport::{Callee, CalleeOptions};
use cluster_types::{Multiaddr, PeerId};
use libp2p_identity::Keypair;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What a [`DoorHost`] is made with.
pub struct DoorOptions {
    /// Who it is.
    pub key: Keypair,
    /// Where it listens.
    pub listen: Vec<Multiaddr>,
    /// Into which key of the configuration the operator wrote the addresses.
    pub setting: String,
    /// The protocol of the streams that it takes.
    pub protocol: &'static str,
    /// Who serves them.
    pub serve: Serve,
}

impl fmt::Debug for DoorOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoorOptions").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// The host.
pub struct DoorHost {
    id: PeerId,
    addresses: Vec<Multiaddr>,
    /// Until it is started.
    unstarted: Mutex<Option<(Callee, Serve)>>,
}

impl fmt::Debug for DoorHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoorHost").field("id", &self.id).field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl DoorHost {
    /// Listens. Nobody is answered before it is started.
    ///
    /// # Errors
    /// When it can listen nowhere.
    pub async fn bind(options: DoorOptions) -> Result<Self, StartError> {
        let DoorOptions { key, listen, setting, protocol, serve } = options;
        let callee = Callee::bind(CalleeOptions { key, secret: None, listen, protocol, setting }).await;
        let callee = callee.map_err(|reason| StartError { component: "libp2p host of an API", reason })?;
        let (id, addresses) = (callee.id(), callee.addresses());
        Ok(Self { id, addresses, unstarted: Mutex::new(Some((callee, serve))) })
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Where it listens, without its name.
    #[must_use]
    pub fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }

    fn take(&self) -> Option<(Callee, Serve)> {
        self.unstarted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl Component for DoorHost {
    fn key(&self) -> &'static str {
        "libp2p door"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        let Some((mut callee, serve)) = self.take() else {
            return Err(StartError { component: "libp2p host of an API", reason: "it was started before".into() });
        };
        let inner = tasks.clone();
        tasks.spawn_until_stopped("libp2p door", async move {
            loop {
                let (peer, stream, share) = callee.next().await;
                let served = serve(peer, Box::new(stream));
                inner.spawn_until_stopped("stream", async move {
                    let _share = share;
                    served.await;
                });
            }
        });
        Ok(())
    }

    async fn shutdown(&self) {
        // The task ends with its scope. What was bound and never started is let go here.
        drop(self.take());
    }
}
