//! PeerMonitor `pubsubmon`: metrics by pubsub, and its section `monitor.pubsubmon`.
//!
//! Without a network it holds the metrics of this peer alone. A peer whose clock differs from ours counts like any
//! other; by how much it differs is a metric of its own, `clock_skew`, that is made here and told to nobody.

use super::wire;
use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::component::{Component, PeerMonitor};
use cluster_component::config::{ComponentConfig, ConfigError, Section};
use cluster_component::errors::{NetError, StartError};
use cluster_component::ports::{Clock, Message, PubSub, Topic, sleep};
use cluster_component::tasks::TaskScope;
use cluster_core::monitor::{ClockOf, Metrics, Skew};
use cluster_types::{Alert, GoDuration, Metric, MetricName, PeerId, Time};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// Alerts that a listener may be behind.
const ALERTS_BEHIND_MAX: usize = 256;

/// By how much the clock of a peer is ahead of ours.
const CLOCK_SKEW: &str = "clock_skew";

/// How often silence is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PubsubmonConfig {
    /// Default `15s`. Missing is an error, as the reference.
    #[serde(default)]
    pub check_interval: GoDuration,
}

impl Default for PubsubmonConfig {
    fn default() -> Self {
        Self { check_interval: GoDuration::from_secs(15) }
    }
}

impl ComponentConfig for PubsubmonConfig {
    const SECTION: Section = Section::Monitor;
    const KEY: &'static str = "pubsubmon";

    fn validate(&self) -> Result<(), ConfigError> {
        if self.check_interval.0 <= 0 {
            return Err(ConfigError::new("pubsubmon.check_interval", "pubsubmon.check_interval too low"));
        }
        Ok(())
    }
}

/// What the monitor is made of.
#[allow(missing_debug_implementations)] // Its parts are traits that need not show themselves.
pub struct Parts {
    /// This peer.
    pub me: PeerId,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How metrics are spread; `None`: this peer is alone.
    pub pubsub: Option<Arc<dyn PubSub>>,
}

/// The monitor.
pub struct PubsubMonitor {
    config: PubsubmonConfig,
    me: PeerId,
    clock: Arc<dyn Clock>,
    pubsub: Option<Arc<dyn PubSub>>,
    metrics: Mutex<Metrics>,
    alerts: broadcast::Sender<Alert>,
}

impl fmt::Debug for PubsubMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubsubMonitor").field("config", &self.config).finish_non_exhaustive()
    }
}

impl PubsubMonitor {
    /// A monitor that knows nothing yet.
    #[must_use]
    pub fn new(config: PubsubmonConfig, parts: Parts) -> Self {
        let (alerts, _) = broadcast::channel(ALERTS_BEHIND_MAX);
        let Parts { me, clock, pubsub } = parts;
        Self { config, me, clock, pubsub, metrics: Mutex::default(), alerts }
    }

    fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn check(self: Arc<Self>) {
        loop {
            sleep(&*self.clock, self.config.check_interval.get()).await;
            let now = self.clock.now();
            for metric in self.metrics().expired(now) {
                let _nobody_listens = self.alerts.send(Alert { metric, triggered_at: now.wall });
            }
        }
    }

    /// Takes what others say of themselves. What one peer says of another is not believed; the reference believes it.
    async fn listen(self: Arc<Self>, mut messages: BoxStream<'static, Message>) {
        while let Some(message) = messages.next().await {
            match wire::decode(&message.data) {
                Ok(metric) if metric.peer == message.from => self.take(metric, ClockOf::Sender),
                Ok(metric) => {
                    let (from, about) = (message.from, metric.peer);
                    tracing::debug!(%from, %about, "a peer sent a metric of another one: dropped");
                }
                Err(error) => tracing::debug!(peer = %message.from, %error, "a message on metrics makes no sense"),
            }
        }
    }

    fn take(&self, metric: Metric, clock: ClockOf) {
        let peer = metric.peer;
        if let Some(skew) = self.metrics().add(metric, clock, self.clock.now()) {
            let ahead = GoDuration(skew.ahead_nanos);
            tracing::warn!(%peer, %ahead, "the clock of a peer differs from ours: set them right");
        }
    }

    fn skews(&self, now: Time) -> BTreeMap<PeerId, Metric> {
        let metric = |(peer, skew): (PeerId, Skew)| {
            let metric = Metric {
                name: CLOCK_SKEW.into(),
                peer,
                value: GoDuration(skew.ahead_nanos).to_string(),
                expire: now.wall.saturating_add(skew.counts_for(now)),
                valid: true,
                weight: skew.ahead_nanos,
                partitionable: false,
                received_at: now.wall,
            };
            (peer, metric)
        };
        self.metrics().skews(now).into_iter().map(metric).collect()
    }
}

/// The reference's topic of metrics.
fn topic() -> Topic {
    Topic("monitor.metrics".into())
}

#[async_trait]
impl Component for PubsubMonitor {
    fn key(&self) -> &'static str {
        "pubsubmon"
    }

    async fn start(self: Arc<Self>, tasks: &TaskScope) -> Result<(), StartError> {
        if let Some(pubsub) = &self.pubsub {
            // Our own are taken when they are published.
            let me = self.me;
            let messages = pubsub.subscribe(&topic(), Arc::new(|_| true)).filter(move |m| ready(m.from != me)).boxed();
            tasks.spawn_until_stopped("monitor-listen", Arc::clone(&self).listen(messages));
        }
        tasks.spawn_until_stopped("monitor-check", self.check());
        Ok(())
    }

    async fn shutdown(&self) {}
}

#[async_trait]
impl PeerMonitor for PubsubMonitor {
    async fn publish(&self, metric: Metric) -> Result<(), NetError> {
        let message = wire::encode(&metric);
        self.log_metric(metric);
        match &self.pubsub {
            Some(pubsub) => pubsub.publish(&topic(), Bytes::from(message)).await,
            None => Ok(()),
        }
    }

    fn log_metric(&self, metric: Metric) {
        self.take(metric, ClockOf::Ours);
    }

    fn latest(&self, name: &str) -> BTreeMap<PeerId, Metric> {
        let now = self.clock.now();
        if name == CLOCK_SKEW { self.skews(now) } else { self.metrics().latest(name, now) }
    }

    fn latest_for(&self, name: &str, peer: &PeerId) -> Option<Metric> {
        self.metrics().latest_for(name, peer).cloned()
    }

    fn names(&self) -> BTreeSet<MetricName> {
        let mut names = self.metrics().names();
        if !self.metrics().skews(self.clock.now()).is_empty() {
            names.insert(CLOCK_SKEW.into());
        }
        names
    }

    fn alerts(&self) -> BoxStream<'static, Alert> {
        futures::stream::unfold(self.alerts.subscribe(), |mut alerts| async move {
            loop {
                match alerts.recv().await {
                    Ok(alert) => return Some((alert, alerts)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
        .boxed()
    }
}
