//! Whether a daemon is there, for whoever chooses between connectors.

use crate::config::IpfsHttpConfig;
use crate::daemon::{Daemon, NodeAddress};
use cluster_component::ports::Clock;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// How long a daemon may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct VersionAnswer {
    #[serde(rename = "Version")]
    version: String,
}

/// Whether a Kubo answers at its default address.
pub async fn kubo_answers(clock: Arc<dyn Clock>) -> bool {
    answers(&IpfsHttpConfig::default().node_multiaddress, clock).await
}

async fn answers(address: &str, clock: Arc<dyn Clock>) -> bool {
    let Ok(address) = NodeAddress::parse(address) else { return false };
    let answer = Daemon::new(address, clock).call("version", PATIENCE).await;
    let version = answer.ok().and_then(|answer| serde_json::from_slice::<VersionAnswer>(&answer).ok());
    version.is_some_and(|answer| !answer.version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_testkit::ManualClock;
    use cluster_testkit::kubo::FakeKubo;

    #[tokio::test]
    async fn only_what_tells_its_version_is_a_daemon() {
        let kubo = FakeKubo::start();
        let asked = |address: String| async move { answers(&address, Arc::new(ManualClock::default())).await };
        assert!(asked(kubo.multiaddr()).await);

        kubo.world().garbage = Some("<html>".into());
        assert!(!asked(kubo.multiaddr()).await);
        assert!(!asked("/ip4/127.0.0.1/tcp/1".into()).await);
    }
}
