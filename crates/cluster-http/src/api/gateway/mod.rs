//! The gateway: content over HTTP, for reading only, as Kubo's gateway answers under `/ipfs/`.
//!
//! Reading order: `ask` (what a request asks for), `serve` (from there to the answer), `answer` (headers and refusals),
//! `listing` (directories as pages), `media` (types of content). Not here: names (`/ipns/`), subdomains, tar.

mod answer;
mod ask;
mod listing;
mod media;
mod serve;

use crate::server::{self, AccessLog, Handler, Journal, Limits, Listeners, RequestBody};
use answer::{Answer, moved, with_cors};
use ask::Reading;
use async_trait::async_trait;
use cluster_component::component::{Api, Component};
use cluster_component::content::Content;
use cluster_component::errors::StartError;
use cluster_component::metrics::Metrics;
use cluster_component::tasks::TaskScope;
use cluster_component::trace::Tracer;
use cluster_types::Multiaddr;
use http::{Request, Response};
use std::fmt;
use std::sync::Arc;

/// Most connections at a time. Each holds about a block that waits to be sent: 0.8 MiB with common ones.
const CONNECTIONS_MAX: usize = 1_024;

/// What its requests are counted as.
const ROUTE: &str = "gateway/ipfs";

/// The gateway.
pub struct Gateway {
    listeners: Listeners,
    front: Arc<Front>,
}

struct Front {
    content: Arc<dyn Content>,
    journal: Journal,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("addresses", &self.listeners.addresses()).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Binds the listener. Requests are answered once it is started; connections wait until then.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(
        address: &Multiaddr,
        content: Arc<dyn Content>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let failed = |e: server::ListenError| StartError {
            component: "embedded",
            reason: format!("the gateway cannot serve (ipfs_connector.embedded.gateway_multiaddress): {e}"),
        };
        Ok(Self {
            listeners: Listeners::bind(std::slice::from_ref(address)).await.map_err(failed)?,
            front: Arc::new(Front { content, journal: Journal::new(AccessLog::to_log(), metrics) }),
        })
    }

    /// Tells this tracer of each request.
    #[must_use]
    pub fn traced(mut self, tracer: Tracer) -> Self {
        let front = Arc::get_mut(&mut self.front).expect("connections share it only once it is started");
        front.journal.trace(tracer);
        self
    }
}

#[async_trait]
impl Component for Gateway {
    fn key(&self) -> &'static str {
        "gateway"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        for listener in self.listeners.take() {
            tracing::info!("gateway: {}", listener.address());
            let limits = Limits { connections: CONNECTIONS_MAX, ..Limits::default() };
            server::serve(listener, limits, Arc::clone(&self.front), tasks);
        }
        Ok(())
    }

    async fn shutdown(&self) {
        drop(self.listeners.take());
    }
}

impl Api for Gateway {
    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.listeners.addresses().to_vec()
    }
}

impl Handler for Front {
    async fn handle(self: Arc<Self>, from: Arc<str>, request: Request<RequestBody>) -> Answer {
        let answer = async |request| with_cors(self.answer(&request).await);
        self.journal.follow(from, ROUTE, request, answer).await
    }
}

impl Front {
    async fn answer(&self, request: &Request<RequestBody>) -> Answer {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or(""));
        let answered = match ask::read(request.method(), path, query, request.headers()) {
            Ok(Reading::Ask(ask)) => serve::answer(&self.content, request.method(), &ask).await,
            Ok(Reading::Elsewhere(to)) => Ok(moved(&to)),
            Ok(Reading::Preflight) => Ok(Response::new(server::empty())),
            Err(refusal) => Err(refusal),
        };
        answered.unwrap_or_else(answer::Refusal::answer)
    }
}
