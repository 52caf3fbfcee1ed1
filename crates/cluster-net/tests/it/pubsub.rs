//! Messages to everybody, and whose are heard.

use crate::peer::{Peer, options, within};
use bytes::Bytes;
use cluster_component::ports::{Message, PubSub, Topic};
use cluster_net::{Options, PubSubOptions};
use cluster_types::PeerId;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;

fn topic() -> Topic {
    Topic("monitor.metrics".into())
}

fn everybody(peer: &Peer) -> BoxStream<'static, Message> {
    peer.host.subscribe(&topic(), Arc::new(|_| true))
}

/// Publishes until a listener hears: what is said before meshes have formed is lost. Returns what else it heard.
async fn hears(from: &Peer, listener: &mut BoxStream<'static, Message>, text: &'static str) -> Vec<Message> {
    let mut others = Vec::new();
    let message = Message { from: from.id(), data: Bytes::from_static(text.as_bytes()) };
    let mut again = tokio::time::interval(std::time::Duration::from_millis(50));
    within("the message was heard", async {
        loop {
            tokio::select! {
                heard = listener.next() => match heard.expect("it goes on") {
                    heard if heard == message => return,
                    other => others.push(other),
                },
                _ = again.tick() => from.host.publish(&topic(), message.data.clone()).await.expect("published"),
            }
        }
    })
    .await;
    others
}

#[tokio::test]
async fn messages_go_both_ways_and_to_oneself() {
    let (one, two) = (Peer::start(options()).await, Peer::start(options()).await);
    let (mut at_one, mut at_two) = (everybody(&one), everybody(&two));

    // Nobody else listens yet.
    one.host.publish(&topic(), Bytes::from_static(b"me")).await.expect("published");
    let own = within("own messages are heard", at_one.next()).await.expect("one");
    assert_eq!((own.from, &own.data[..]), (one.id(), &b"me"[..]));

    one.connect(&two).await;
    hears(&one, &mut at_two, "from one").await;
    hears(&two, &mut at_one, "from two").await;
}

/// Two connections come about; messages are said over one of them.
#[tokio::test]
async fn peers_that_dial_each_other_at_once_hear_each_other() {
    let (one, two) = (Peer::start(options()).await, Peer::start(options()).await);
    let (mut at_one, mut at_two) = (everybody(&one), everybody(&two));

    futures::future::join(one.connect(&two), two.connect(&one)).await;

    hears(&one, &mut at_two, "from one").await;
    hears(&two, &mut at_one, "from two").await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_an_error() {
    let (one, two) = (Peer::start(options()).await, Peer::start(options()).await);
    let (mut at_two, _at_one) = (everybody(&two), everybody(&one));
    one.connect(&two).await;
    hears(&one, &mut at_two, "small").await;

    let large = one.host.publish(&topic(), Bytes::from(vec![0; 2 << 20])).await;
    assert!(large.is_err());
    hears(&one, &mut at_two, "small again").await;
}

/// One, two and three in a row: what two does not hear, three does not hear of.
#[tokio::test]
async fn an_author_who_is_not_accepted_is_neither_heard_nor_passed_on() {
    // The outer two listen nowhere, so that they cannot find each other.
    let outer = || Options { listen: Vec::new(), ..options() };
    let [one, two, three] = [Peer::start(outer()).await, Peer::start(options()).await, Peer::start(outer()).await];
    let refused: PeerId = one.id();
    let mut at_two = two.host.subscribe(&topic(), Arc::new(move |author| *author != refused));
    let (mut at_three, _at_one) = (everybody(&three), everybody(&one));
    one.connect(&two).await;
    three.connect(&two).await;
    hears(&two, &mut at_three, "two is heard").await;
    hears(&three, &mut at_two, "three is heard").await;

    for _ in 0..5 {
        one.host.publish(&topic(), Bytes::from_static(b"one is not")).await.expect("published");
    }
    // Messages of one connection keep their order, so that what two says to three now comes after what one said to two.
    let mut at_one = everybody(&one);
    hears(&two, &mut at_one, "the end, for one").await;
    let mut heard = hears(&two, &mut at_three, "the end, for three").await;
    heard.extend(hears(&three, &mut at_two, "the end, for two").await);

    assert_eq!(heard.iter().filter(|message| message.from == one.id()).count(), 0);
}

/// The largest gossip of the reference names 10,000 messages, which the library would refuse by default.
#[tokio::test]
async fn many_messages_do_not_end_the_conversation() {
    let pubsub = PubSubOptions { history_length: 100, history_gossip: 100, ..options().pubsub };
    let with = || Options { pubsub, ..options() };
    let (one, two) = (Peer::start(with()).await, Peer::start(with()).await);
    let (mut at_two, _at_one) = (everybody(&two), everybody(&one));
    one.connect(&two).await;
    hears(&one, &mut at_two, "begin").await;

    for n in 0..2_000_u32 {
        one.host.publish(&topic(), Bytes::from(n.to_be_bytes().to_vec())).await.expect("published");
    }
    hears(&one, &mut at_two, "end").await;
}
