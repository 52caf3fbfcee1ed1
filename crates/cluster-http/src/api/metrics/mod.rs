//! Figures for Prometheus: those of the reference by its names, and ours.
//!
//! Everything is read when it is asked for. Reading order: [`config`], this file (what is told), `exposition` (how it
//! is written), `process` (the process by itself).

pub mod config;
mod exposition;
mod process;

use crate::server::{self, Handler, Limits, Listeners, RequestBody, ResponseBody};
use async_trait::async_trait;
use cluster_component::component::{Api, Component};
use cluster_component::errors::StartError;
use cluster_component::metrics::{CallSide, DaemonCalls, Distribution, Metrics, SHORT_TIMES, TIMES};
use cluster_component::ports::Clock;
use cluster_component::rpc::{Cluster, PeerMonitor, PinTracker, Rpc, Target};
use cluster_component::tasks::TaskScope;
use cluster_types::{Multiaddr, PinInfo, TrackerStatus};
pub use config::MetricsConfig;
use exposition::{Page, quoted};
use futures::StreamExt;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Most items in need of attention that are looked at for one page; more are told as this many.
const ITEMS_MAX: usize = 100_000;

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 64;

/// Microseconds of the units that times are told in.
const SECONDS: f64 = 1_000_000.0;
const MILLISECONDS: f64 = 1_000.0;

/// How many pins the cluster has; `None` if that cannot be told cheaply.
pub type PinCount = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// What figures are read from.
#[derive(Clone)]
pub struct Sources {
    /// What components count.
    pub metrics: Arc<Metrics>,
    /// The components.
    pub rpc: Rpc,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How many pins there are.
    pub pins: PinCount,
    /// How many bytes the datastore has on disk.
    pub store_bytes: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Spans of traces that were dropped; `None`: none are sent.
    pub spans_dropped: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// Serves `/metrics`.
#[derive(Debug)]
pub struct MetricsApi {
    listeners: Listeners,
    sources: Arc<Sources>,
}

impl MetricsApi {
    /// Binds the listener. Requests are answered once it is started.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(config: &MetricsConfig, sources: Sources) -> Result<Self, StartError> {
        let failed = |reason: String| StartError { component: "metrics", reason };
        let address = config.endpoint().map_err(|e| failed(e.message))?;
        let listeners = Listeners::bind(&[address]).await.map_err(|e| failed(e.to_string()))?;
        Ok(Self { listeners, sources: Arc::new(sources) })
    }
}

#[async_trait]
impl Component for MetricsApi {
    fn key(&self) -> &'static str {
        "metrics"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        for listener in self.listeners.take() {
            tracing::info!(target: "observations", "stats collection enabled on {}", listener.address());
            let limits = Limits { connections: CONNECTIONS_MAX, ..Limits::default() };
            server::serve(listener, limits, Arc::clone(&self.sources), tasks);
        }
        Ok(())
    }

    async fn shutdown(&self) {
        drop(self.listeners.take());
    }
}

impl Api for MetricsApi {
    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.listeners.addresses().to_vec()
    }
}

impl Handler for Sources {
    async fn handle(self: Arc<Self>, _from: Arc<str>, request: Request<RequestBody>) -> Response<ResponseBody> {
        if request.method() != Method::GET || request.uri().path() != "/metrics" {
            let mut response = Response::new(server::buffered("404 page not found\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
        let mut response = Response::new(server::buffered(self.page().await));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

impl Sources {
    async fn page(&self) -> String {
        let mut page = Page::default();
        self.pins(&mut page).await;
        self.counted(&mut page);
        self.disk(&mut page).await;
        self.store(&mut page);
        self.calls(&mut page);
        self.requests(&mut page);
        self.daemon_calls(&mut page);
        process::write(&mut page);
        page.0
    }

    /// The pinset, and what of it is not as it should be on this peer.
    async fn pins(&self, page: &mut Page) {
        if let Some(pins) = (self.pins)() {
            page.single("ipfscluster_pins", "gauge", "Total number of cluster pins", pins);
        }
        if let Ok(state) = self.rpc.call::<Cluster::StateDigest>(Target::Local, ()).await {
            let help = "First 48 bits of the digest of the pinset: equal at peers whose pinsets are equal";
            page.single("ipfscluster_pinset_digest", "gauge", help, state.digest.short());
        }
        let attention = self.attention().await;
        let count = |status: TrackerStatus| attention.iter().filter(|item| item.status.status == status).count();
        let named = [
            ("pin_queued", TrackerStatus::PIN_QUEUED, "Current number of pins queued for pinning"),
            ("pinning", TrackerStatus::PINNING, "Current number of pins currently pinning"),
            ("pin_error", TrackerStatus::PIN_ERROR, "Current number of pins in pin_error state"),
        ];
        for (name, status, help) in named {
            page.single(&format!("ipfscluster_pins_{name}"), "gauge", help, count(status));
        }
        let help = "Pins that this peer is to hold and does not hold yet";
        page.single(
            "ipfscluster_pins_missing",
            "gauge",
            help,
            named.map(|(_, status, _)| count(status)).iter().sum::<usize>(),
        );
        let progress = || attention.iter().filter_map(|item| item.status.progress);
        let help = "Blocks fetched of the pins that are being pinned";
        page.single("ipfscluster_pins_pinning_blocks", "gauge", help, progress().map(|p| p.blocks).sum::<u64>());
        let help = "Bytes fetched of the pins that are being pinned, where the IPFS daemon tells";
        page.single("ipfscluster_pins_pinning_bytes", "gauge", help, progress().map(|p| p.bytes).sum::<u64>());
        let now = self.clock.now().wall;
        let queued = attention.iter().filter(|item| item.status.status == TrackerStatus::PIN_QUEUED);
        let oldest = queued.map(|item| now.saturating_since(item.status.timestamp).as_secs()).max().unwrap_or(0);
        let help = "How long the pin that has been queued for longest has been queued";
        page.single("ipfscluster_pin_queue_oldest_seconds", "gauge", help, oldest);
        let queue = self.rpc.call::<PinTracker::PinQueueSize>(Target::Local, ()).await.unwrap_or(0);
        page.single("ipfscluster_pin_queue_length", "gauge", "Operations that wait to be started", queue);
    }

    /// Items of this peer that wait, are being worked on, or failed.
    async fn attention(&self) -> Vec<PinInfo> {
        let filter = TrackerStatus::PIN_QUEUED | TrackerStatus::PINNING | TrackerStatus::PIN_ERROR;
        let mut pages = self.rpc.stream::<Cluster::StatusAllLocal>(Target::Local, filter);
        let mut items = Vec::new();
        while let Some(Ok(more)) = pages.next().await {
            items.extend(more);
            if items.len() >= ITEMS_MAX {
                items.truncate(ITEMS_MAX);
                break;
            }
        }
        items
    }

    fn counted(&self, page: &mut Page) {
        let m = &self.metrics;
        page.single("ipfscluster_pins_ipfs_pins", "gauge", "Current number of items pinned on IPFS", m.ipfs_pins.get());
        for (name, help, counter) in [
            ("pins_pin_add", "Total number of IPFS pin requests", &m.pin_adds),
            ("pins_pin_add_errors", "Total number of failed pin requests", &m.pin_add_errors),
            ("blocks_put", "Total number of blocks/put requests", &m.block_puts),
            ("blocks_added", "Total number of blocks added", &m.blocks_added),
            ("blocks_added_size", "Total size of blocks added in bytes", &m.blocks_added_bytes),
            ("blocks_put_errors", "Total number of block/put errors", &m.block_put_errors),
        ] {
            page.single(&format!("ipfscluster_{name}"), "counter", help, counter.get());
        }
    }

    /// What the disk informer says of this peer.
    async fn disk(&self, page: &mut Page) {
        for name in ["freespace", "reposize"] {
            let latest = self.rpc.call::<PeerMonitor::LatestMetrics>(Target::Local, name.to_owned()).await;
            let mine = latest.unwrap_or_default().into_iter().find(|metric| metric.peer == self.rpc.me());
            if let Some(mine) = mine {
                let help = "The metric value weight issued by disk informer";
                return page.single("ipfscluster_informer_disk", "gauge", help, mine.weight);
            }
        }
    }

    /// The datastore, and how far the pinset of this peer is behind.
    fn store(&self, page: &mut Page) {
        let m = &self.metrics;
        let help = "Bytes on disk of the datastore, which holds the pinset and the tracker's index";
        page.single("ipfscluster_datastore_disk_bytes", "gauge", help, (self.store_bytes)());
        for (name, help, seen) in [
            ("datastore_write_duration_seconds", "Time that writes to the datastore took", &m.store_writes),
            ("datastore_sync_duration_seconds", "Time that it took to make writes durable", &m.store_syncs),
            (
                "crdt_convergence_seconds",
                "Time from hearing of a new head of the pinset to having all that is below it",
                &m.convergence,
            ),
        ] {
            let name = format!("ipfscluster_{name}");
            page.family(&name, "histogram", help);
            page.histogram(&name, "", &seen.get(), SECONDS);
        }
        let help = "For how long the oldest head has been followed that is not here as a whole";
        page.single("ipfscluster_crdt_lag_seconds", "gauge", help, m.lag().as_secs_f64());
        let help = "Changes and events that wait for the writer of the pinset";
        page.single("ipfscluster_crdt_queue_length", "gauge", help, m.writer_queue.get());
        if let Some(dropped) = &self.spans_dropped {
            let help = "Spans of traces for which there was no room";
            page.single("ipfscluster_trace_spans_dropped", "counter", help, dropped());
        }
    }

    fn requests(&self, page: &mut Page) {
        let requests = self.metrics.requests();
        let name = "ipfscluster_http_request_duration_seconds";
        page.family(
            name,
            "histogram",
            "Time from a request of an API, the IPFS proxy or the gateway to the beginning of its answer",
        );
        let (mut all, mut by_method, mut by_status) = (Distribution::of(&TIMES), BTreeMap::new(), BTreeMap::new());
        for (kind, seen) in &requests {
            let labels =
                format!("route=\"{}\",method=\"{}\",status=\"{}\"", kind.route, quoted(&kind.method), kind.status);
            page.histogram(name, &labels, seen, SECONDS);
            all.merge(seen);
            *by_method.entry(kind.method.clone()).or_insert(0) += seen.count;
            *by_status.entry(kind.status).or_insert(0) += seen.count;
        }
        let prefix = "ipfscluster_opencensus_io_http_server";
        let help = "Count of HTTP requests started";
        page.single(&format!("{prefix}_request_count"), "counter", help, all.count);
        let name = format!("{prefix}_request_count_by_method");
        page.family(&name, "counter", "Server request count by HTTP method");
        by_method.iter().for_each(|(m, n)| page.sample(&name, &format!("http_method=\"{}\"", quoted(m)), n));
        let name = format!("{prefix}_response_count_by_status_code");
        page.family(&name, "counter", "Server response count by status code");
        by_status.iter().for_each(|(s, n)| page.sample(&name, &format!("http_status=\"{s}\""), n));
        let name = format!("{prefix}_latency");
        page.family(&name, "histogram", "Latency distribution of HTTP requests");
        page.histogram(&name, "", &all, MILLISECONDS);
        for (what, help, seen) in [
            ("request", "Size distribution of HTTP request body", &self.metrics.request_bytes),
            ("response", "Size distribution of HTTP response body", &self.metrics.response_bytes),
        ] {
            let name = format!("{prefix}_{what}_bytes");
            page.family(&name, "histogram", help);
            page.histogram(&name, "", &seen.get(), 1.0);
        }
        let help = "Requests that are being answered";
        page.single("ipfscluster_http_requests_in_flight", "gauge", help, self.metrics.requests_in_flight.get());
    }

    /// Requests to the IPFS daemon. All of them are `POST`.
    fn daemon_calls(&self, page: &mut Page) {
        let calls = self.metrics.daemon_calls();
        let prefix = "ipfscluster_opencensus_io_http_client";
        let labels = |status: &u16| format!("http_client_method=\"POST\",http_client_status=\"{status}\"");
        let by = "by HTTP method and response status";
        let name = format!("{prefix}_completed_count");
        page.family(&name, "counter", &format!("Count of completed requests, {by}"));
        calls.iter().for_each(|(status, seen)| page.sample(&name, &labels(status), seen.times.count));
        let of_times: fn(&DaemonCalls) -> &Distribution = |seen| &seen.times;
        for (what, help, of, unit) in [
            ("roundtrip_latency", "End-to-end latency", of_times, MILLISECONDS),
            ("sent_bytes", "Total bytes sent in request body (not including headers)", |seen| &seen.sent, 1.0),
            ("received_bytes", "Total bytes received in response bodies", |seen| &seen.received, 1.0),
        ] {
            let name = format!("{prefix}_{what}");
            page.family(&name, "histogram", &format!("{help}, {by}"));
            calls.iter().for_each(|(status, seen)| page.histogram(&name, &labels(status), of(seen), unit));
        }
    }

    fn calls(&self, page: &mut Page) {
        let calls = self.metrics.calls();
        let of = |side| calls.iter().filter(move |(kind, _)| kind.side == side);
        let name = "ipfscluster_rpc_asked_duration_seconds";
        page.family(name, "histogram", "Time that calls to other peers took; of lists, to their end");
        for (kind, seen) in of(CallSide::Asked) {
            let labels = format!("method=\"{}\",result=\"{}\"", kind.method, if kind.done { "ok" } else { "error" });
            page.histogram(name, &labels, seen, SECONDS);
        }
        let mut by_method: BTreeMap<&str, Distribution> = BTreeMap::new();
        let none = || Distribution::of(&SHORT_TIMES);
        of(CallSide::Answered).for_each(|(kind, seen)| by_method.entry(kind.method).or_insert_with(none).merge(seen));
        let prefix = "ipfscluster_gorpc_libp2p_io_server";
        let labels = |method: &str| format!("gorpc_server_method=\"{method}\"");
        let name = format!("{prefix}_completed_rpcs");
        page.family(&name, "counter", "Count of calls of other peers that were answered");
        by_method.iter().for_each(|(method, seen)| page.sample(&name, &labels(method), seen.count));
        let name = format!("{prefix}_server_latency");
        page.family(&name, "histogram", "Distribution of the time of those calls in milliseconds");
        by_method.iter().for_each(|(method, seen)| page.histogram(&name, &labels(method), seen, MILLISECONDS));
        let bytes = self.metrics.bytes();
        let name = format!("{prefix}_received_bytes_per_rpc");
        page.family(&name, "histogram", "Distribution of received bytes of those calls, by method");
        bytes.iter().for_each(|(method, seen)| page.histogram(&name, &labels(method), &seen.received, 1.0));
        let name = format!("{prefix}_sent_bytes_per_rpc");
        page.family(&name, "histogram", "Distribution of sent bytes of those calls, by method");
        bytes.iter().for_each(|(method, seen)| page.histogram(&name, &labels(method), &seen.sent, 1.0));
        let name = "ipfscluster_rpc_in_flight";
        page.family(name, "gauge", "Calls to other peers and of other peers that are not over");
        page.sample(name, "side=\"asked\"", self.metrics.calls_asking.get());
        page.sample(name, "side=\"answered\"", self.metrics.calls_answering.get());
    }
}
