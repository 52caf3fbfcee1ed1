//! Storing blocks: one form for all blocks of a kind, made while it is sent.

use super::IpfsHttp;
use crate::daemon::RequestBody;
use bytes::Bytes;
use cluster_component::component::Blocks;
use cluster_component::errors::{ClusterError, ConnectorError};
use cluster_component::ports::Block;
use cluster_types::Cid;
use futures::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde::de::IgnoredAny;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Blocks that wait to be sent.
const AHEAD: usize = 16;

/// Multicodec of the hash that is the data itself.
const IDENTITY: u64 = 0x00;

const BOUNDARY: &str = "------------------------cluster7d1b9f0c4e2a";

/// What the daemon must be told to give a block the same name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    codec: u64,
    hash: u64,
    length: u8,
}

impl Kind {
    fn of(cid: &Cid) -> Self {
        Self { codec: cid.codec(), hash: cid.hash().code(), length: cid.hash().size() }
    }

    fn call(self) -> Result<String, ConnectorError> {
        let codec = match self.codec {
            0x55 => "raw",
            0x70 => "dag-pb",
            0x71 => "dag-cbor",
            0x72 => "libp2p-key",
            0x0129 => "dag-json",
            other => return Err(unknown("CID codec", other)),
        };
        let hash = match self.hash {
            0x00 => "identity",
            0x11 => "sha1",
            0x12 => "sha2-256",
            0x13 => "sha2-512",
            0x14 => "sha3-512",
            0x16 => "sha3-256",
            0x1e => "blake3",
            0x17 => "sha3-224",
            0x15 => "sha3-384",
            0x1a => "keccak-224",
            0x1b => "keccak-256",
            0x1c => "keccak-384",
            0x1d => "keccak-512",
            0x56 => "dbl-sha2-256",
            0xb220 => "blake2b-256",
            0xb240 => "blake2b-512",
            0xb260 => "blake2s-256",
            other => return Err(unknown("Multihash type", other)),
        };
        let length = self.length;
        // The name that the daemon gives may be of another version: it stores by the hash alone.
        Ok(format!("block/put?allow-big-block=true&cid-codec={codec}&mhlen={length}&mhtype={hash}&pin=false"))
    }
}

fn unknown(what: &str, code: u64) -> ConnectorError {
    ConnectorError::Invalid(format!("cannot find name for the blocks' {what}: {code:x}"))
}

impl IpfsHttp {
    pub(super) async fn put_blocks(&self, mut blocks: Blocks) -> Result<(), ConnectorError> {
        self.count_trigger();
        let Some(first) = blocks.next().await else {
            return Err(ConnectorError::Invalid("BlockStream: no blocks to peek in blocks channel".into()));
        };
        // What is in its own name the daemon has.
        let is_stored = |block: &Result<Block, _>| {
            futures::future::ready(!matches!(block, Ok(block) if block.cid.hash().code() == IDENTITY))
        };
        let mut blocks = futures::stream::iter([first]).chain(blocks).filter(is_stored).boxed();
        let mut next = blocks.next().await.transpose().map_err(cut)?;
        while let Some(first) = next {
            next = self.put_run(first, &mut blocks).await?;
        }
        Ok(())
    }

    /// Sends blocks as long as they are of the kind of the first; returns the one that is not.
    async fn put_run(&self, first: Block, blocks: &mut Blocks) -> Result<Option<Block>, ConnectorError> {
        let kind = Kind::of(&first.cid);
        let (sender, receiver) = mpsc::channel(AHEAD);
        let failed = Arc::new(Mutex::new(None));
        let feed = feed(first, kind, blocks, sender, Arc::clone(&failed));
        let call = kind.call()?;
        let send = async {
            let mut lines = self.daemon.send_form(&call, BOUNDARY, form(receiver)).await?;
            while lines.next::<IgnoredAny>().await?.is_some() {}
            Ok(())
        };
        let (next, sent) = futures::join!(feed, send);
        if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(cut(error));
        }
        sent.map(|()| next)
    }
}

/// The end of the blocks came too early.
fn cut(error: ClusterError) -> ConnectorError {
    ConnectorError::Invalid(error.to_string())
}

async fn feed(
    first: Block,
    kind: Kind,
    blocks: &mut Blocks,
    sender: mpsc::Sender<io::Result<Bytes>>,
    failed: Arc<Mutex<Option<ClusterError>>>,
) -> Option<Block> {
    let mut next: Option<Result<Block, ClusterError>> = Some(Ok(first));
    while let Some(block) = next {
        match block {
            Ok(block) if Kind::of(&block.cid) != kind => {
                let _daemon_gone = sender.send(Ok(end())).await;
                return Some(block);
            }
            Ok(block) => {
                for part in [head(&block.cid), block.data, Bytes::from_static(b"\r\n")] {
                    if sender.send(Ok(part)).await.is_err() {
                        return None; // The daemon ended the request: its answer says why.
                    }
                }
            }
            Err(error) => {
                let _daemon_gone = sender.send(Err(io::Error::other(error.to_string()))).await;
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return None;
            }
        }
        next = blocks.next().await;
    }
    let _daemon_gone = sender.send(Ok(end())).await;
    None
}

fn head(cid: &Cid) -> Bytes {
    let disposition = format!("Content-Disposition: form-data; name=\"file\"; filename=\"{cid}\"");
    format!("--{BOUNDARY}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n").into()
}

fn end() -> Bytes {
    format!("--{BOUNDARY}--\r\n").into()
}

fn form(receiver: mpsc::Receiver<io::Result<Bytes>>) -> RequestBody {
    let chunks = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk.map(Frame::data), receiver))
    });
    StreamBody::new(chunks).boxed_unsync()
}
