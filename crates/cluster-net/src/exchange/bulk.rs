//! A protocol of our own: a block of the pinset's DAG and what is below it, as much as one answer holds. A peer that
//! lacks thousands of blocks needs one round for thousands of them, and not one for each.
//!
//! One stream for each question. Question and answer are protobuf, each after its length in four bytes (big-endian). An
//! answer without blocks says that the first one is not here.

use super::Served;
use crate::host::Host;
use bytes::Bytes;
use cluster_component::errors::NetError;
use cluster_component::ports::{Below, Block, Duplex, Network};
use cluster_types::{Cid, PeerId};
use futures::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use prost::Message as _;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Its name.
pub const PROTOCOL: &str = "/ipfs-cluster/bulk/1.0.0";

/// Bytes of a question.
const QUESTION_MAX: usize = 64 << 10;

/// Heads that a question may name; their number is that of peers that wrote at the same time.
const KNOWN_MAX: usize = 1_000;

/// Bytes of blocks after which no more is added to an answer.
const ANSWER_ENOUGH: usize = 4 << 20;

/// Bytes of an answer: what was enough, and the block that exceeded it.
const ANSWER_MAX: usize = ANSWER_ENOUGH + (3 << 20);

/// Blocks of an answer.
const BLOCKS_MAX: u32 = 4_000;

/// Answers that are made at a time: so many times [`ANSWER_MAX`] is what they may take.
const ANSWERS_AT_ONCE: usize = 8;

/// How long a peer may take to put its question, or to take its answer.
const SERVE_MAX: Duration = Duration::from_secs(60);

/// How long an answer is waited for before the next peer is asked.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Peers that are asked for one block.
const ASKED_MAX: usize = 5;

/// Room is taken in such steps while bytes come in.
const STEP: usize = 64 << 10;

#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(bytes = "vec", tag = "1")]
    cid: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    known: Vec<Vec<u8>>,
    #[prost(uint32, tag = "3")]
    most: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(message, repeated, tag = "1")]
    blocks: Vec<AnswerBlock>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnswerBlock {
    #[prost(bytes = "vec", tag = "1")]
    cid: Vec<u8>,
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
}

/// Both ends of the protocol.
pub(super) struct Bulk {
    /// Who was asked last and how that went: those who gave something come first, those who do not speak it never.
    peers: Mutex<BTreeMap<PeerId, Standing>>,
    answers: Semaphore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// Its last answer had blocks.
    Gave,
    /// It was not asked yet.
    Unknown,
    /// Its last answer had none, or did not come.
    Silent,
    /// It does not speak the protocol.
    Mute,
}

impl Default for Bulk {
    fn default() -> Self {
        Self { peers: Mutex::default(), answers: Semaphore::new(ANSWERS_AT_ONCE) }
    }
}

impl Bulk {
    /// Asks one peer after the other; nothing: nobody had it.
    pub(super) async fn get(&self, host: &Host, cid: &Cid, below: &Below) -> Vec<Block> {
        for peer in self.order(host) {
            let standing = match timeout(ANSWER_WAIT, ask(host, peer, cid, below)).await {
                Ok(Ok(blocks)) if !blocks.is_empty() => {
                    self.note(peer, Standing::Gave);
                    return blocks;
                }
                Ok(Ok(_)) => Standing::Silent,
                Ok(Err(AskError::Mute)) => Standing::Mute,
                Ok(Err(AskError::Failed(error))) => {
                    tracing::debug!(%peer, %cid, %error, "blocks were not answered");
                    Standing::Silent
                }
                Err(_) => Standing::Silent,
            };
            self.note(peer, standing);
        }
        Vec::new()
    }

    /// Whom to ask, the most promising first. Who went away is forgotten.
    fn order(&self, host: &Host) -> Vec<PeerId> {
        let connected = host.connected();
        let mut standings = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        standings.retain(|peer, _| connected.contains(peer));
        let standing = |peer: &PeerId| standings.get(peer).copied().unwrap_or(Standing::Unknown);
        let mut peers: Vec<_> = connected.iter().map(|peer| (standing(peer), *peer)).collect();
        peers.retain(|(standing, _)| *standing != Standing::Mute);
        peers.sort();
        peers.into_iter().take(ASKED_MAX).map(|(_, peer)| peer).collect()
    }

    fn note(&self, peer: PeerId, standing: Standing) {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, standing);
    }

    /// Answers one question.
    pub(super) async fn serve(&self, peer: PeerId, mut stream: Duplex, served: &Served) {
        let Ok(_turn) = self.answers.acquire().await else { return };
        match timeout(SERVE_MAX, answer(&mut stream, served)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a question for blocks was not answered"),
            Err(_) => tracing::debug!(%peer, "a peer did not take its answer in time"),
        }
    }
}

enum AskError {
    /// The peer does not speak the protocol.
    Mute,
    Failed(String),
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

async fn ask(host: &Host, peer: PeerId, cid: &Cid, below: &Below) -> Result<Vec<Block>, AskError> {
    let mut stream = host.open_stream(peer, PROTOCOL).await.map_err(|error| match error {
        NetError::Unsupported { .. } => AskError::Mute,
        error => AskError::Failed(error.to_string()),
    })?;
    let known = below.known.iter().take(KNOWN_MAX).map(Cid::to_bytes).collect();
    let question = Question { cid: cid.to_bytes(), known, most: below.most };
    write(&mut stream, &question.encode_to_vec()).await?;
    let bytes = read(&mut stream, ANSWER_MAX).await?;
    let answer = Answer::decode(bytes).map_err(io::Error::other)?;
    verified(cid, answer).map_err(AskError::Failed)
}

/// The blocks of an answer, if each has the name that it is given and the first is the one that was asked for.
fn verified(cid: &Cid, answer: Answer) -> Result<Vec<Block>, String> {
    let block = |AnswerBlock { cid, data }: AnswerBlock| {
        let cid = Cid::from_bytes(&cid).map_err(|error| error.to_string())?;
        if bitswap::is_named(&cid.0, &data) {
            Ok(Block::verified(cid, data))
        } else {
            Err(format!("{cid} has other bytes"))
        }
    };
    let blocks: Vec<Block> = answer.blocks.into_iter().map(block).collect::<Result<_, String>>()?;
    match blocks.first() {
        Some(first) if first.cid != *cid => Err(format!("{} came instead of {cid}", first.cid)),
        _ => Ok(blocks),
    }
}

async fn answer(stream: &mut Duplex, served: &Served) -> io::Result<()> {
    let question = Question::decode(read(stream, QUESTION_MAX).await?).map_err(io::Error::other)?;
    let cid = Cid::from_bytes(&question.cid).map_err(io::Error::other)?;
    let known = question.known.iter().filter_map(|known| Cid::from_bytes(known).ok()).take(KNOWN_MAX).collect();
    let below = Below { most: question.most.clamp(1, BLOCKS_MAX), known };
    let sources = served.all();
    let find = move || {
        let found = sources.iter().map(|source| source.get_below(&cid, &below, ANSWER_ENOUGH));
        found.into_iter().find(|blocks| !blocks.is_empty()).unwrap_or_default()
    };
    // Disks are read.
    let blocks = tokio::task::spawn_blocking(find).await.map_err(io::Error::other)?;
    let block = |Block { cid, data, .. }| AnswerBlock { cid: cid.to_bytes(), data };
    let answer = Answer { blocks: blocks.into_iter().map(block).collect() };
    write(stream, &answer.encode_to_vec()).await?;
    stream.close().await
}

async fn write(stream: &mut Duplex, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(body).await?;
    stream.flush().await
}

async fn read(stream: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Bytes> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > most {
        return Err(io::Error::other(format!("{length} bytes are announced, more than {most}")));
    }
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let have = bytes.len();
        bytes.resize(length.min(have + STEP), 0);
        stream.read_exact(&mut bytes[have..]).await?;
    }
    Ok(bytes.into())
}
