//! Peers that exchange blocks over streams in memory.

use bitswap::{Bitswap, Blocks, Entry, Link, Message, Network, Version, Want, read_message, write_message};
use bytes::Bytes;
use cid::Cid;
use futures::future::BoxFuture;
use libp2p_identity::PeerId;
use multihash_codetable::{Code, MultihashDigest};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[derive(Default)]
struct Store(Mutex<BTreeMap<Cid, Bytes>>);

impl Store {
    fn put(&self, data: &[u8]) -> Cid {
        let cid = Cid::new_v1(0x55, Code::Sha2_256.digest(data));
        self.0.lock().expect("unpoisoned").insert(cid, Bytes::copy_from_slice(data));
        cid
    }
}

impl Blocks for Store {
    fn get(&self, cid: &Cid) -> Option<Bytes> {
        self.0.lock().expect("unpoisoned").get(cid).cloned()
    }
}

type Side = async_duplex::Side;

/// A stream in memory.
mod async_duplex {
    use futures::io::{AsyncRead, AsyncWrite};
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::{AsyncRead as _, AsyncWrite as _, DuplexStream, ReadBuf};

    pub(super) struct Side(pub(super) DuplexStream);

    impl AsyncRead for Side {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
            let mut buffer = ReadBuf::new(out);
            std::task::ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().len()))
        }
    }

    impl AsyncWrite for Side {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, data)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    pub(super) fn pair() -> (Side, Side) {
        let (one, other) = tokio::io::duplex(1 << 20);
        (Side(one), Side(other))
    }
}

/// The streams that a peer opens come out where `streams` is read.
struct Wires {
    peers: Mutex<BTreeMap<PeerId, (Version, mpsc::UnboundedSender<Side>)>>,
}

impl Wires {
    fn new() -> Arc<Self> {
        Arc::new(Self { peers: Mutex::default() })
    }

    fn connect(&self, peer: PeerId, version: Version) -> mpsc::UnboundedReceiver<Side> {
        let (streams, opened) = mpsc::unbounded_channel();
        self.peers.lock().expect("unpoisoned").insert(peer, (version, streams));
        opened
    }

    fn disconnect(&self, peer: &PeerId) {
        self.peers.lock().expect("unpoisoned").remove(peer);
    }
}

impl Network for Wires {
    fn peers(&self) -> BTreeSet<PeerId> {
        self.peers.lock().expect("unpoisoned").keys().copied().collect()
    }

    fn open(&self, peer: PeerId) -> BoxFuture<'static, io::Result<(Box<dyn Link>, Version)>> {
        let to = self.peers.lock().expect("unpoisoned").get(&peer).cloned();
        Box::pin(async move {
            let (version, streams) = to.ok_or(io::ErrorKind::NotConnected)?;
            let (ours, theirs) = async_duplex::pair();
            streams.send(theirs).map_err(|_| io::ErrorKind::ConnectionReset)?;
            Ok((Box::new(ours) as Box<dyn Link>, version))
        })
    }
}

/// A peer under test.
struct Peer {
    name: PeerId,
    bitswap: Arc<Bitswap>,
    store: Arc<Store>,
    wires: Arc<Wires>,
}

impl Peer {
    fn new() -> Self {
        let (store, wires) = (Arc::new(Store::default()), Wires::new());
        let bitswap = Bitswap::new(Arc::clone(&wires) as Arc<dyn Network>, Arc::clone(&store) as Arc<dyn Blocks>);
        let bitswap = Arc::new(bitswap);
        tokio::spawn(Arc::clone(&bitswap).run());
        Self { name: PeerId::random(), bitswap, store, wires }
    }

    /// Connects two peers under test.
    fn join(&self, other: &Self, version: Version) {
        for (from, to) in [(self, other), (other, self)] {
            let mut opened = from.wires.connect(to.name, version);
            let (bitswap, name) = (Arc::clone(&to.bitswap), from.name);
            tokio::spawn(async move {
                while let Some(stream) = opened.recv().await {
                    tokio::spawn(Arc::clone(&bitswap).serve(name, stream));
                }
            });
        }
    }

    async fn get(&self, cid: Cid) -> Bytes {
        timeout(Duration::from_secs(60), self.bitswap.get(cid)).await.expect("in time").expect("not busy")
    }
}

/// A peer that is played: what it hears, and how it answers.
struct Played {
    name: PeerId,
    opened: mpsc::UnboundedReceiver<Side>,
    stream: Option<Side>,
}

impl Played {
    fn at(peer: &Peer, version: Version) -> Self {
        let name = PeerId::random();
        let opened = peer.wires.connect(name, version);
        Self { name, opened, stream: None }
    }

    async fn hears(&mut self) -> Message {
        if self.stream.is_none() {
            self.stream = self.opened.recv().await;
        }
        read_message(self.stream.as_mut().expect("a stream")).await.expect("a message").expect("before the end")
    }

    fn says(&self, peer: &Peer, message: &Message) -> tokio::task::JoinHandle<()> {
        let (bitswap, name, message) = (Arc::clone(&peer.bitswap), self.name, message.clone());
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            write_message(&mut bytes, &message, Version::V1_2_0).await.expect("written");
            bitswap.serve(name, bytes.as_slice()).await;
        })
    }
}

fn want(cid: Cid, want: Want) -> Entry {
    Entry { cid, priority: 1, cancel: false, want, send_dont_have: true }
}

#[tokio::test(start_paused = true)]
async fn blocks_pass_in_every_version() {
    for version in [Version::V1_2_0, Version::V1_1_0] {
        let (one, other) = (Peer::new(), Peer::new());
        one.join(&other, version);
        let blocks: Vec<Vec<u8>> = (0..200_u32).map(|n| n.to_be_bytes().repeat(1 + 40 * n as usize)).collect();
        let cids: Vec<Cid> = blocks.iter().map(|block| other.store.put(block)).collect();

        let got = futures::future::join_all(cids.iter().map(|cid| one.get(*cid))).await;

        assert!(got.iter().zip(&blocks).all(|(got, block)| got == block), "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_that_comes_later_is_sent_then() {
    let (one, other) = (Peer::new(), Peer::new());
    one.join(&other, Version::V1_2_0);
    let data = vec![7; 100_000];
    let cid = Cid::new_v1(0x55, Code::Sha2_256.digest(&data));

    let get = one.get(cid);
    let put = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        other.store.put(&data);
    };

    assert_eq!(futures::join!(get, put).0, data);
}

#[tokio::test(start_paused = true)]
async fn who_connects_later_is_asked_then() {
    let (one, other) = (Peer::new(), Peer::new());
    let cid = other.store.put(&[5; 3_000]);

    let get = one.get(cid);
    let join = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        one.join(&other, Version::V1_2_0);
    };

    assert_eq!(futures::join!(get, join).0, [5; 3_000][..]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_wants_any_more_is_taken_back() {
    let peer = Peer::new();
    let mut other = Played::at(&peer, Version::V1_2_0);
    let cid = Cid::new_v1(0x55, Code::Sha2_256.digest(b"never"));

    let heard = async {
        let asked = other.hears().await;
        let told = other.hears().await;
        (asked.wants[0].cancel, told.wants[0].cancel, told.wants[0].cid)
    };
    let (gave_up, heard) = futures::join!(timeout(Duration::from_secs(1), peer.bitswap.get(cid)), heard);

    assert!(gave_up.is_err());
    assert_eq!(heard, (false, true, cid));
}

#[tokio::test(start_paused = true)]
async fn another_one_is_asked_when_the_first_goes_away() {
    let peer = Peer::new();
    let data = Bytes::from_static(b"of the second");
    let cid = Cid::new_v1(0x55, Code::Sha2_256.digest(&data));
    let (mut first, mut second) = (Played::at(&peer, Version::V1_2_0), Played::at(&peer, Version::V1_2_0));
    let have = Message { presences: vec![(cid, bitswap::Presence::Have)], ..Message::default() };

    let play = async {
        assert_eq!(first.hears().await.wants[0].want, Want::Have);
        assert_eq!(second.hears().await.wants[0].want, Want::Have);
        first.says(&peer, &have).await.expect("said");
        assert_eq!(first.hears().await.wants[0].want, Want::Block);
        second.says(&peer, &have).await.expect("said");
        peer.wires.disconnect(&first.name);
        assert_eq!(second.hears().await.wants[0].want, Want::Block);
        let block = Message { blocks: vec![(cid, data.clone())], ..Message::default() };
        second.says(&peer, &block).await.expect("said");
    };
    let (got, ()) = futures::join!(peer.get(cid), play);

    assert_eq!(got, data);
}

/// A wrong block has another name, so that nobody takes it for the wanted one.
#[tokio::test(start_paused = true)]
async fn a_block_that_was_not_wanted_changes_nothing() {
    let peer = Peer::new();
    let mut liar = Played::at(&peer, Version::V1_2_0);
    let cid = Cid::new_v1(0x55, Code::Sha2_256.digest(b"truth"));
    let play = async {
        liar.hears().await;
        let lie = Message { blocks: vec![(cid, Bytes::from_static(b"lie"))], ..Message::default() };
        liar.says(&peer, &lie).await.expect("said");
        let truth = Message { blocks: vec![(cid, Bytes::from_static(b"truth"))], ..Message::default() };
        liar.says(&peer, &truth).await.expect("said");
    };

    let (got, ()) = futures::join!(peer.get(cid), play);

    assert_eq!(got, &b"truth"[..]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_is_told_what_is_here_and_what_is_not() {
    let peer = Peer::new();
    let mut other = Played::at(&peer, Version::V1_2_0);
    let (small, large) = (peer.store.put(b"small"), peer.store.put(&[1; 5_000]));
    let missing = Cid::new_v1(0x55, Code::Sha2_256.digest(b"missing"));

    let wants = vec![want(small, Want::Have), want(large, Want::Have), want(missing, Want::Block)];
    other.says(&peer, &Message { wants, ..Message::default() }).await.expect("said");
    let answer = other.hears().await;

    assert_eq!(answer.blocks, [(small, Bytes::from_static(b"small"))]);
    let presences: BTreeMap<Cid, bitswap::Presence> = answer.presences.into_iter().collect();
    assert_eq!(presences, [(large, bitswap::Presence::Have), (missing, bitswap::Presence::DontHave)].into());
}

#[tokio::test(start_paused = true)]
async fn wants_have_a_bound() {
    let peer = Peer::new();
    let names = (0..=bitswap::WANTS_MAX).map(|n| Cid::new_v1(0x55, Code::Sha2_256.digest(&n.to_be_bytes())));
    let mut gets: Vec<_> = names.map(|cid| Box::pin(peer.bitswap.get(cid))).collect();
    let last = gets.pop().expect("one too many");

    for get in &mut gets {
        assert!(futures::poll!(get).is_pending());
    }

    assert_eq!(last.await, Err(bitswap::Busy));
    drop(gets);
    assert!(format!("{:?}", peer.bitswap).contains("wants: 0"), "{:?}", peer.bitswap);
}

/// A message that is begun and never ended takes memory, an idle stream none.
#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_come_to_an_end_ends_the_stream_and_silence_does_not() {
    use tokio::io::AsyncWriteExt;
    let peer = Peer::new();
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut serving = tokio::spawn(Arc::clone(&peer.bitswap).serve(PeerId::random(), async_duplex::Side(near)));

    let silent = timeout(Duration::from_secs(3_600), &mut serving).await;
    assert!(silent.is_err(), "it was given up while nothing was said");
    far.write_all(&[0x80, 0x80, 0x04, 1, 2, 3]).await.expect("taken");

    timeout(Duration::from_secs(120), serving).await.expect("given up").expect("no panic");
}
