//! Pinning, unpinning, and what is pinned.

use super::{IpfsHttp, escape};
use crate::daemon::Lines;
use cluster_component::component::{PinProgress, ProgressSink};
use cluster_component::errors::ConnectorError;
use cluster_component::ports::sleep;
use cluster_component::{PAGE_MAX, PageStream};
use cluster_types::{Cid, IpfsPin, IpfsPinStatus, Pin};
use futures::StreamExt;
use futures::stream;
use serde::Deserialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Origins that the daemon is told of before a pin.
const ORIGINS_MAX: usize = 10;

#[derive(Deserialize)]
struct PinRow {
    #[serde(rename = "Cid")]
    cid: String,
    #[serde(rename = "Type", default)]
    kind: String,
}

#[derive(Deserialize)]
struct Progress {
    #[serde(rename = "Progress", default)]
    blocks: u64,
    #[serde(rename = "Bytes", default)]
    bytes: u64,
}

/// The daemon's word for a kind of pin.
fn word(kind: IpfsPinStatus) -> Option<&'static str> {
    match kind {
        IpfsPinStatus::Direct => Some("direct"),
        IpfsPinStatus::Recursive => Some("recursive"),
        IpfsPinStatus::Indirect => Some("indirect"),
        IpfsPinStatus::Unknown | IpfsPinStatus::Unpinned => None,
    }
}

impl IpfsHttp {
    /// How the daemon holds an item that should be held so deep.
    pub(super) async fn held_how(&self, cid: &Cid, max_depth: i32) -> Result<IpfsPinStatus, ConnectorError> {
        let kind = if max_depth == 0 { "direct" } else { "recursive" };
        let call = format!("pin/ls?stream=true&arg={cid}&type={kind}");
        let row = async { self.daemon.lines(&call, self.timeout()).await?.next::<PinRow>().await };
        match row.await {
            Ok(Some(row)) => Ok(IpfsPinStatus::from_daemon(&row.kind)),
            Ok(None) => Ok(IpfsPinStatus::Unpinned),
            // Kubo's way of saying no.
            Err(ConnectorError::Refused(text)) if text.ends_with("not pinned") => Ok(IpfsPinStatus::Unpinned),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn pin_item(&self, pin: &Pin, progress: Option<ProgressSink>) -> Result<(), ConnectorError> {
        let may_hold = self.may_hold.may(&pin.cid);
        if may_hold && self.held_how(&pin.cid, pin.max_depth).await?.satisfies(pin.max_depth) {
            return Ok(());
        }
        self.may_hold.note(&pin.cid);
        self.count_trigger();
        let origins = pin.options.origins.as_deref().unwrap_or_default();
        let origins = &origins[..origins.len().min(ORIGINS_MAX)];
        let work = async {
            match pin.options.pin_update {
                Some(from) if self.updatable(&from, pin).await => self.update(&from, &pin.cid).await,
                _ => self.add(pin, progress).await,
            }
        };
        // The origins are connected to while the pin is under way, and no longer.
        let connect = async {
            use cluster_component::component::IpfsConnector;
            let _best_effort = self.connect_swarms(origins).await;
            std::future::pending::<()>().await;
        };
        let done = tokio::select! {
            biased;
            done = work => done,
            () = connect => unreachable!("it waits for ever"),
        };
        self.count_trigger();
        done
    }

    /// Whether the daemon holds the pin whose place this one takes.
    async fn updatable(&self, from: &Cid, pin: &Pin) -> bool {
        pin.max_depth != 0 && matches!(self.held_how(from, pin.max_depth).await, Ok(IpfsPinStatus::Recursive))
    }

    async fn update(&self, from: &Cid, to: &Cid) -> Result<(), ConnectorError> {
        self.daemon.call(&format!("pin/update?arg={from}&arg={to}&unpin=false"), Duration::ZERO).await.map(drop)
    }

    async fn add(&self, pin: &Pin, progress: Option<ProgressSink>) -> Result<(), ConnectorError> {
        let cid = &pin.cid;
        let depth = match pin.max_depth {
            0 => "recursive=false".to_owned(),
            depth if depth > 0 => format!("max-depth={depth}&recursive=true"),
            _ => "recursive=true".to_owned(),
        };
        let call = format!("pin/add?arg={cid}&{depth}&progress=true");
        let stall = self.config.pin_timeout.get();
        let stalled = |blocks: u64| {
            let text = format!("the daemon made no progress on {cid} for {} s, at block {blocks}", stall.as_secs());
            ConnectorError::Stalled(text)
        };
        let mut blocks = 0;
        let mut lines = self.unless_stalled(stall, self.daemon.lines(&call, Duration::ZERO), || stalled(0)).await?;
        // Each line must come in time; one that tells no progress does not count.
        loop {
            let advance = Self::advance(&mut lines, &mut blocks, progress.as_ref());
            match self.unless_stalled(stall, advance, || stalled(0)).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(ConnectorError::Stalled(_)) => return Err(stalled(blocks)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads on until the daemon is further than before; `false` at the end.
    async fn advance(lines: &mut Lines, blocks: &mut u64, sink: Option<&ProgressSink>) -> Result<bool, ConnectorError> {
        while let Some(row) = lines.next::<Progress>().await? {
            if row.blocks > *blocks {
                *blocks = row.blocks;
                if let Some(sink) = sink {
                    sink(PinProgress { blocks: row.blocks, bytes: row.bytes });
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn unless_stalled<T>(
        &self,
        stall: Duration,
        work: impl Future<Output = Result<T, ConnectorError>>,
        error: impl FnOnce() -> ConnectorError,
    ) -> Result<T, ConnectorError> {
        // Order: progress before the end of the time for it.
        tokio::select! {
            biased;
            done = work => done,
            () = sleep(&*self.clock, stall) => Err(error()),
        }
    }

    pub(super) async fn unpin_item(&self, cid: &Cid) -> Result<(), ConnectorError> {
        if self.config.unpin_disable {
            let text = "ipfs unpinning is disallowed by configuration on this peer";
            return Err(ConnectorError::Forbidden(text.into()));
        }
        self.count_trigger();
        match self.daemon.call(&format!("pin/rm?arg={cid}"), self.config.unpin_timeout.get()).await {
            Ok(_) => Ok(()),
            Err(ConnectorError::Refused(text)) if text.ends_with("Message: not pinned or pinned indirectly") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// All kinds asked for, one after the other.
    pub(super) fn list_pins(self: Arc<Self>, kinds: Vec<IpfsPinStatus>) -> PageStream<IpfsPin, ConnectorError> {
        let words: VecDeque<&'static str> = kinds.into_iter().filter_map(word).collect();
        if words.is_empty() {
            let error = ConnectorError::Invalid("no pinType provided for pin/ls".into());
            return stream::iter([Err(error)]).boxed();
        }
        let everything = words.contains(&"recursive") && words.contains(&"direct");
        let reading = Reading { connector: self, words, lines: None, everything };
        stream::unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            match reading.page().await {
                Ok(page) if page.is_empty() => {
                    if reading.everything {
                        reading.connector.may_hold.note_end_of_list();
                    }
                    None
                }
                Ok(page) => Some((Ok(page), Some(reading))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }
}

/// A list of pins on its way.
struct Reading {
    connector: Arc<IpfsHttp>,
    words: VecDeque<&'static str>,
    lines: Option<Lines>,
    /// Whether it has all pins that somebody made.
    everything: bool,
}

impl Reading {
    async fn page(&mut self) -> Result<Vec<IpfsPin>, ConnectorError> {
        let mut page = Vec::new();
        while page.len() < PAGE_MAX {
            let Some(lines) = &mut self.lines else {
                let Some(word) = self.words.pop_front() else { break };
                let call = format!("pin/ls?stream=true&type={}", escape(word));
                self.lines = Some(self.connector.daemon.lines(&call, self.connector.timeout()).await?);
                continue;
            };
            match lines.next::<PinRow>().await? {
                None => self.lines = None,
                Some(row) => {
                    let cid = row.cid.parse().map_err(|e| {
                        ConnectorError::Unavailable(format!("error decoding ipfs pin: {}: {e}", row.cid))
                    })?;
                    self.connector.may_hold.note(&cid);
                    page.push(IpfsPin { cid, status: IpfsPinStatus::from_daemon(&row.kind) });
                }
            }
        }
        Ok(page)
    }
}
