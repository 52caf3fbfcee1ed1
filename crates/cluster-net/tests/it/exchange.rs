//! Blocks between peers: by bitswap, and in bulk.

use crate::peer::{Peer, options, within};
use async_trait::async_trait;
use bytes::Bytes;
use cid::multihash::Multihash;
use cluster_component::component::Component;
use cluster_component::ports::{Below, Block, BlockExchange, Duplex, LocalBlocks, Network};
use cluster_net::{BULK_PROTOCOL, Exchange, Protocols, Serve};
use cluster_testkit::tasks::eventually;
use cluster_types::Cid;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use sha2::{Digest, Sha256};
use std::sync::Arc;

fn block(data: &[u8]) -> Block {
    let hash = Multihash::wrap(0x12, &Sha256::digest(data)).expect("a hash");
    Block::verified(Cid(cid::Cid::new_v1(0x55, hash)), Bytes::copy_from_slice(data))
}

/// A chain: each block is above the next one.
struct Chain(Vec<Block>);

#[async_trait]
impl LocalBlocks for Chain {
    fn has(&self, cid: &Cid) -> bool {
        self.get(cid).is_some()
    }

    fn get(&self, cid: &Cid) -> Option<Bytes> {
        self.0.iter().find(|block| block.cid == *cid).map(|block| block.data.clone())
    }

    fn get_below(&self, cid: &Cid, below: &Below, _bytes_max: usize) -> Vec<Block> {
        let from = self.0.iter().skip_while(|block| block.cid != *cid);
        from.take_while(|block| !below.known.contains(&block.cid)).take(below.most as usize).cloned().collect()
    }
}

struct Member {
    peer: Peer,
    exchange: Arc<Exchange>,
}

impl Member {
    /// A member that has these blocks; some speak bitswap alone, as the reference does.
    async fn with(blocks: Vec<Block>, bulk: Option<Serve>) -> Self {
        let exchange = Arc::new(Exchange::default());
        let mut protocols: Protocols = exchange.protocols().into_iter().collect();
        protocols.remove(BULK_PROTOCOL);
        protocols.extend(bulk.map(|serve| (BULK_PROTOCOL, serve)));
        Self::start(exchange, protocols, blocks).await
    }

    async fn whole(blocks: Vec<Block>) -> Self {
        let exchange = Arc::new(Exchange::default());
        let protocols = exchange.protocols().into_iter().collect();
        Self::start(exchange, protocols, blocks).await
    }

    async fn start(exchange: Arc<Exchange>, protocols: Protocols, blocks: Vec<Block>) -> Self {
        let peer = Peer::start_with(options(), protocols).await;
        exchange.connect(Arc::clone(&peer.host));
        exchange.add(Arc::new(Chain(blocks)));
        Arc::clone(&exchange).start(&peer.tasks).await.expect("started");
        Self { peer, exchange }
    }
}

/// Connects two members, and waits until both know.
async fn join(one: &Member, two: &Member) {
    one.peer.connect(&two.peer).await;
    eventually("both know", || two.peer.host.connected().contains(&one.peer.id())).await;
}

fn chain(length: u32) -> Vec<Block> {
    (0..length).map(|n| block(&n.to_be_bytes().repeat(500))).collect()
}

#[tokio::test]
async fn bitswap_brings_blocks_of_either_end() {
    let (one, two) = (Member::with(chain(50), None).await, Member::with(vec![block(b"of two")], None).await);
    join(&one, &two).await;

    let wanted: Vec<Block> = chain(50);
    let gets = wanted.iter().map(|block| two.exchange.get(&block.cid));
    let got = within("all came", futures::future::join_all(gets)).await;
    let back = within("it came", one.exchange.get(&block(b"of two").cid)).await;

    assert_eq!(got.into_iter().collect::<Result<Vec<_>, _>>().expect("got"), wanted);
    assert_eq!(back, Ok(block(b"of two")));
    assert!(one.peer.host.bandwidth()["/ipfs/bitswap/1.2.0"].bytes_out > 50 * 2_000);
}

#[tokio::test]
async fn bulk_brings_what_is_below_down_to_what_is_known() {
    let (one, two) = (Member::whole(chain(50)).await, Member::whole(Vec::new()).await);
    join(&one, &two).await;
    let wanted = chain(50);

    let below = Below { most: 1_000, known: vec![wanted[20].cid] };
    let got = within("they came", two.exchange.get_below(&wanted[5].cid, &below)).await;
    let few = within("they came", two.exchange.get_below(&wanted[5].cid, &Below { most: 3, ..below })).await;

    assert_eq!(got.expect("got"), wanted[5..20]);
    assert_eq!(few.expect("got"), wanted[5..8]);
}

#[tokio::test]
async fn who_does_not_speak_bulk_is_asked_by_bitswap() {
    let (one, two) = (Member::with(chain(3), None).await, Member::whole(Vec::new()).await);
    join(&one, &two).await;
    let wanted = chain(3);

    let below = Below { most: 9, known: Vec::new() };
    let got = within("it came", two.exchange.get_below(&wanted[0].cid, &below)).await;

    assert_eq!(got.expect("got"), wanted[..1]);
}

/// Answers with a block that is not what its name says, with something else, with a length that lies, or not at all.
#[tokio::test]
async fn lies_are_not_believed() {
    let truth = block(b"truth");
    let mut answer = vec![0x0a, 2 + 36 + 2 + 3, 0x0a, 36];
    answer.extend(truth.cid.to_bytes());
    answer.extend([0x12, 3]);
    answer.extend(b"lie");
    let mut whole = u32::try_from(answer.len()).expect("short").to_be_bytes().to_vec();
    whole.extend(&answer);
    for lie in [whole, vec![0xff; 64], vec![0, 0, 0, 9, 1], Vec::new()] {
        let serve: Serve = Arc::new(move |_, stream| tell(stream, lie.clone()).boxed());
        let (liar, one) = (Member::with(Vec::new(), Some(serve)).await, Member::whole(Vec::new()).await);
        let honest = Member::with(vec![truth.clone()], None).await;
        join(&liar, &one).await;
        join(&honest, &one).await;

        let below = Below { most: 1, known: Vec::new() };
        let got = within("it came", one.exchange.get_below(&truth.cid, &below)).await;

        assert_eq!(got.expect("got"), std::slice::from_ref(&truth));
    }
}

async fn tell(mut stream: Duplex, lie: Vec<u8>) {
    let mut question = [0; 4];
    stream.read_exact(&mut question).await.expect("a question");
    let _told_or_not = stream.write_all(&lie).await;
    let _told_or_not = stream.close().await;
}
