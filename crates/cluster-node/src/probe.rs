//! Whether an IPFS daemon answers, asked without a running peer.

use crate::ports::SystemClock;
use cluster_component::component::IpfsConnector;
use cluster_component::rpc::Rpc;
use cluster_ipfs::{IpfsHttp, IpfsHttpConfig};
use cluster_types::PeerId;
use std::sync::Arc;

/// Asks the daemon once who it is.
///
/// # Errors
/// Why it does not answer.
pub async fn daemon(config: IpfsHttpConfig) -> Result<(), String> {
    let (rpc, clock) = (Rpc::new(PeerId::random()), Arc::new(SystemClock::new()));
    let parts = cluster_ipfs::Parts { rpc, clock, metrics: Arc::default() };
    let connector = IpfsHttp::new(config, parts).map_err(|e| e.to_string())?;
    connector.id().await.map(drop).map_err(|e| e.to_string())
}
