//! Serving streams that come over libp2p, as if each were a connection.
//!
//! Where they come from is not known here: whoever has a libp2p host hands them in.

use super::connection::{Handler, Limits, serve_stream};
use cluster_component::ports::Duplex;
use cluster_component::tasks::TaskScope;
use cluster_types::{Multiaddr, PeerId};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::fmt;
use std::sync::{Arc, OnceLock};
use tokio::sync::oneshot;

/// The protocol of such streams.
pub const PROTOCOL: &str = "/libp2p-http";

type Serve = Box<dyn Fn(PeerId, Duplex) -> BoxFuture<'static, ()> + Send + Sync>;

/// Where streams are handed in for a server. Made before the server, since hosts are told early who serves a protocol.
/// Clones are of the same.
#[derive(Clone, Default)]
pub struct Streams(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Where peers open them, each with the name of the host.
    addresses: OnceLock<Vec<Multiaddr>>,
    serve: OnceLock<Serve>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Streams {
    /// Says where peers can open streams, each address with the name of the host. To be told once, before the server is
    /// started.
    pub fn reached_at(&self, addresses: Vec<Multiaddr>) {
        let _told_before = self.0.addresses.set(addresses);
    }

    /// Where peers can open streams.
    #[must_use]
    pub fn addresses(&self) -> &[Multiaddr] {
        self.0.addresses.get().map_or(&[], Vec::as_slice)
    }

    /// Serves a stream that this peer opened, to its end. While the server does not run, it is dropped, which resets it.
    #[must_use]
    pub fn serve(&self, peer: PeerId, stream: Duplex) -> BoxFuture<'static, ()> {
        match self.0.serve.get() {
            Some(serve) => serve(peer, stream),
            None => std::future::ready(()).boxed(),
        }
    }

    /// Has streams served from now on, in tasks of this scope, so that it waits for answers that are under way.
    pub(crate) fn open<H: Handler>(&self, limits: Limits, handler: &Arc<H>, tasks: &TaskScope) {
        let (handler, tasks) = (Arc::clone(handler), tasks.clone());
        let serve: Serve = Box::new(move |peer, stream| {
            let (handler, stopping) = (Arc::clone(&handler), tasks.stopping());
            if stopping.is_cancelled() {
                return std::future::ready(()).boxed();
            }
            let (end, ended) = oneshot::channel::<()>();
            tasks.spawn("http-stream", async move {
                let _end = end;
                serve_stream(stream, peer.to_string().into(), limits, handler, stopping).await;
            });
            // Dropped at the end: the error is the signal.
            ended.map(drop).boxed()
        });
        let _opened_before = self.0.serve.set(serve);
    }
}
