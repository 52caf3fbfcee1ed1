//! Raft's messages between peers: a stream of a protocol of ours for each question, answered by the row
//! `Consensus.Message` of the peer that it is for.
//!
//! ```text
//! question   length, 4 bytes │ bytes
//! answer     0 or 1 (an error's text) │ length, 4 bytes │ bytes
//! ```

use async_trait::async_trait;
use bytes::Bytes;
use cluster_component::errors::NetError;
use cluster_component::ports::Duplex;
use cluster_component::rpc::{Consensus, Rpc, Target};
use cluster_net::{Host, Serve};
use cluster_raft::Courier;
use cluster_types::PeerId;
use futures::{AsyncReadExt, AsyncWriteExt};
use std::io;
use std::sync::Arc;

/// The protocol.
pub(crate) const PROTOCOL: &str = "/ipfs-cluster-rust/raft/1.0.0";

/// No message is larger: entries are sent a megabyte at a time, snapshots in smaller pieces.
const BYTES_MAX: usize = 64 << 20;

/// Takes raft's messages over libp2p.
pub(crate) struct StreamCourier(pub(crate) Arc<Host>);

#[async_trait]
impl Courier for StreamCourier {
    async fn ask(&self, peer: &PeerId, message: Bytes) -> Result<Bytes, NetError> {
        let mut stream = self.0.open_stream(*peer, PROTOCOL).await?;
        let broken = |error: io::Error| NetError::Closed(format!("{peer}: {error}"));
        write(&mut stream, &message).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        let mut failed = [0];
        stream.read_exact(&mut failed).await.map_err(broken)?;
        let answer = read(&mut stream).await.map_err(broken)?;
        match failed {
            [0] => Ok(answer),
            _ => Err(NetError::Closed(format!("{peer}: {}", String::from_utf8_lossy(&answer)))),
        }
    }
}

/// Answers them.
pub(crate) fn serve(rpc: Rpc) -> Serve {
    Arc::new(move |peer, stream| {
        let rpc = rpc.clone();
        Box::pin(async move {
            if let Err(error) = answer(&rpc, stream).await {
                tracing::debug!(%peer, %error, "a raft message was not answered");
            }
        })
    })
}

async fn answer(rpc: &Rpc, mut stream: Duplex) -> io::Result<()> {
    let question = read(&mut stream).await?;
    let answered = rpc.call::<Consensus::Message>(Target::Local, question).await;
    let (failed, bytes) = match answered {
        Ok(bytes) => (0, bytes),
        Err(error) => (1, Bytes::from(error.message)),
    };
    stream.write_all(&[failed]).await?;
    write(&mut stream, &bytes).await?;
    stream.close().await
}

async fn write(stream: &mut Duplex, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length as usize <= BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("a raft message is too large"))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(bytes).await
}

async fn read(stream: &mut Duplex) -> io::Result<Bytes> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > BYTES_MAX {
        return Err(io::Error::other(format!("a raft message of {length} bytes is too large")));
    }
    let mut bytes = Vec::new();
    // As much memory as has come, whatever the length says.
    stream.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes.into()) }
}
