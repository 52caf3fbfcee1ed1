//! All that a daemon has pinned, and the blocks below: for somebody who takes it over.

use crate::daemon::{Daemon, Lines, NodeAddress, Pieces};
use bytes::Bytes;
use cluster_component::errors::ConnectorError;
use cluster_component::ports::{Clock, sleep};
use cluster_types::{Cid, IpfsPin, IpfsPinStatus};
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long the daemon may take for the next part of an answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long it may take to say that it is there.
const PATIENCE_ALIVE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "Cid")]
    cid: String,
}

/// A daemon that is asked for all of its pins.
pub struct Source {
    daemon: Daemon,
    clock: Arc<dyn Clock>,
    /// How errors name it.
    address: String,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Source {
    /// The daemon whose API is there: `http://127.0.0.1:5001`, or a multiaddress such as `/ip4/127.0.0.1/tcp/5001`.
    ///
    /// # Errors
    /// When the text is no address.
    pub fn new(address: &str, clock: Arc<dyn Clock>) -> Result<Self, ConnectorError> {
        let read = NodeAddress::parse_url(address).map_err(ConnectorError::Invalid)?;
        let shown = read.base_url.clone();
        Ok(Self { daemon: Daemon::new(read, Arc::clone(&clock)), clock, address: shown })
    }

    /// Whether it answers at all.
    pub async fn answers(&self) -> bool {
        self.daemon.call("version", PATIENCE_ALIVE).await.is_ok()
    }

    /// The roots that it holds, recursive or direct ones.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn pins(&self, kind: IpfsPinStatus) -> Result<Listed<'_>, ConnectorError> {
        let word = if kind == IpfsPinStatus::Direct { "direct" } else { "recursive" };
        let lines = self.daemon.lines(&format!("pin/ls?stream=true&type={word}"), PATIENCE).await?;
        Ok(Listed { source: self, lines, kind })
    }

    /// The DAG below a root as a CAR file. What the daemon does not have is not fetched by it.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn export(&self, root: &Cid) -> Result<Export<'_>, ConnectorError> {
        let pieces = self.daemon.pieces(&format!("dag/export?arg={root}&offline=true"), PATIENCE).await?;
        Ok(Export { source: self, pieces })
    }

    /// One block. Whether it is what its name says is for the caller to see.
    ///
    /// # Errors
    /// When it does not answer, or does not have it.
    pub async fn block(&self, cid: &Cid) -> Result<Bytes, ConnectorError> {
        self.daemon.call(&format!("block/get?arg={cid}&offline=true"), PATIENCE).await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, ConnectorError>>) -> Result<T, ConnectorError> {
        // Order: an answer before the end of the time for it.
        tokio::select! {
            biased;
            done = work => done,
            () = sleep(&*self.clock, PATIENCE) => {
                let text = format!("the Kubo at {} sent nothing for {} s", self.address, PATIENCE.as_secs());
                Err(ConnectorError::Stalled(text))
            }
        }
    }
}

/// Pins on their way.
pub struct Listed<'a> {
    source: &'a Source,
    lines: Lines,
    kind: IpfsPinStatus,
}

impl fmt::Debug for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listed").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Listed<'_> {
    /// The next pin; `None` at the end.
    ///
    /// # Errors
    /// When the daemon fails, or sends nothing for two minutes.
    pub async fn next(&mut self) -> Result<Option<IpfsPin>, ConnectorError> {
        let Some(row) = self.source.in_time(self.lines.next::<Row>()).await? else { return Ok(None) };
        let wrong = |e| ConnectorError::Unavailable(format!("error decoding ipfs pin: {}: {e}", row.cid));
        Ok(Some(IpfsPin { cid: row.cid.parse().map_err(wrong)?, status: self.kind }))
    }
}

/// A CAR file on its way.
pub struct Export<'a> {
    source: &'a Source,
    pieces: Pieces,
}

impl fmt::Debug for Export<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").finish_non_exhaustive()
    }
}

impl Export<'_> {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the daemon fails, also behind the last byte, or sends nothing for two minutes.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ConnectorError> {
        self.source.in_time(self.pieces.next()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_testkit::ManualClock;
    use cluster_testkit::kubo::FakeKubo;

    #[tokio::test]
    async fn what_is_pinned_is_told_by_kind_and_refusals_in_the_daemons_words() {
        let kubo = FakeKubo::start();
        let cid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN";
        kubo.world().recursive.insert(cid.into());
        let source = Source::new(&format!("http://{}", kubo.address()), Arc::new(ManualClock::default()));
        let source = source.expect("an address");

        let mut recursive = source.pins(IpfsPinStatus::Recursive).await.expect("listed");
        let first = recursive.next().await.expect("a row").expect("a pin");
        assert_eq!((first.cid.to_string().as_str(), first.status), (cid, IpfsPinStatus::Recursive));
        assert_eq!(recursive.next().await, Ok(None));
        assert_eq!(source.pins(IpfsPinStatus::Direct).await.expect("listed").next().await, Ok(None));

        assert!(source.answers().await);
        let refused = source.block(&first.cid).await.expect_err("it has no blocks");
        assert!(matches!(&refused, ConnectorError::Refused(text) if text.contains("block was not found")), "{refused}");
    }
}
