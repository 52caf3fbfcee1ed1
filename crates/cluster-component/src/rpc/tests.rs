//! Tests of the switchboard: the table is the policy, and an unbound switchboard is an error and not a hang.

use super::*;
use crate::errors::NetError;
use crate::metrics::{CallKind, CallSide, Metrics};
use crate::ports::{Clock, Duplex, Wire};
use crate::trace::{Recorder, Span, SpanKind, TraceId, Tracer, Value};
use cluster_types::{PeerId, PinInfo, TrackerStatus};
use futures::StreamExt;
use futures::executor::block_on;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

#[test]
fn an_unbound_switchboard_is_an_error_and_not_a_hang() {
    let rpc = Rpc::new(PeerId::random());

    let one = block_on(rpc.call::<Cluster::Version>(Target::Local, ())).expect_err("not bound");
    let many = block_on(rpc.stream::<Cluster::Pins>(Target::Local, ()).collect::<Vec<_>>());

    assert_eq!(one.kind, RpcErrorKind::NotReady);
    assert!(matches!(many.as_slice(), [Err(error)] if error.kind == RpcErrorKind::NotReady));
}

#[test]
fn another_peer_is_unreachable_without_a_network() {
    let rpc = Rpc::new(PeerId::random());
    let other = PeerId::random();

    let answers = block_on(rpc.broadcast::<Cluster::Version>(&[other], ()));

    let [(peer, Err(error))] = answers.as_slice() else { panic!("one answer, an error: {answers:?}") };
    assert_eq!((*peer, error.kind), (other, RpcErrorKind::Unreachable));
    assert!(error.message.starts_with(&format!("failed to dial {other}: ")), "{error}");
}

/// The policy of the reference, by its own list of names: what is not named here is closed. One row is ours alone.
#[test]
fn the_table_opens_what_the_reference_opens() {
    let open = ["Cluster.ID", "Cluster.IDStream", "Cluster.PeerAdd", "Cluster.Version"];
    let trusted = [
        "Cluster.PeerRemove",
        "Cluster.Peers",
        "Cluster.RecoverAllLocal",
        "Cluster.RecoverLocal",
        "Cluster.RepoGCLocal",
        "PinTracker.Recover",
        "PinTracker.Status",
        "PinTracker.StatusAll",
        "IPFSConnector.BlockStream",
        "IPFSConnector.RepoStat",
        "IPFSConnector.SwarmPeers",
        "Consensus.AddPeer",
        "Consensus.LogPin",
        "Consensus.LogUnpin",
        "Consensus.Message",
        "Consensus.RmPeer",
    ];
    for method in METHODS {
        let expected = match method.name {
            name if open.contains(&name) => Policy::Open,
            name if trusted.contains(&name) => Policy::Trusted,
            _ => Policy::Closed,
        };
        assert_eq!(method.policy, expected, "{}", method.name);
    }
}

#[test]
fn names_are_unique_and_rows_are_documented() {
    let names: BTreeSet<_> = METHODS.iter().map(|m| m.name).collect();
    assert_eq!(names.len(), METHODS.len());
    assert!(METHODS.iter().all(|m| m.doc.trim_end().ends_with('.')));
}

/// A stream whose other side is a recording: what is sent is kept, what is read was recorded from the reference.
struct Recording {
    answer: futures::io::Cursor<Vec<u8>>,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl futures::io::AsyncRead for Recording {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<std::io::Result<usize>> {
        // A few bytes at a time, as slow networks bring them.
        let few = buf.len().min(7);
        Pin::new(&mut self.answer).poll_read(cx, &mut buf[..few])
    }
}

impl futures::io::AsyncWrite for Recording {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.sent.lock().expect("no panic").extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A network whose every peer answers this.
struct Recorded {
    answer: Vec<u8>,
    sent: Arc<Mutex<Vec<u8>>>,
}

#[async_trait::async_trait]
impl Wire for Recorded {
    async fn open(&self, _: &PeerId) -> Result<Duplex, NetError> {
        let answer = futures::io::Cursor::new(self.answer.clone());
        Ok(Box::new(Recording { answer, sent: Arc::clone(&self.sent) }))
    }
}

/// A clock on which nothing ever takes too long.
struct Still;

#[async_trait::async_trait]
impl Clock for Still {
    fn now(&self) -> cluster_types::Time {
        cluster_types::Time::default()
    }

    async fn sleep_until(&self, _: std::time::Duration) {
        std::future::pending().await
    }
}

/// A switchboard whose other peers answer these bytes, and what was sent to them.
fn among_recordings(answer: Vec<u8>) -> (Rpc, Arc<Mutex<Vec<u8>>>) {
    let (rpc, sent) = (Rpc::new(PeerId::random()), Arc::default());
    rpc.connect(Arc::new(Recorded { answer, sent: Arc::clone(&sent) }), Arc::new(Still));
    (rpc, sent)
}

/// Calls recorded from the reference: what its client sent and its server answered.
fn recorded(method: &str, note: &str) -> (Vec<u8>, Vec<u8>) {
    let calls: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/data/gorpc_streams.json")).expect("JSON");
    let is_meant = |call: &&serde_json::Value| {
        call["method"] == method && call["note"].as_str().is_some_and(|text| text.contains(note))
    };
    let call = calls["calls"].as_array().expect("a list").iter().find(is_meant).expect("the call was recorded").clone();
    let bytes = |direction: &str| {
        let events = call["events"].as_array().expect("a list").iter().filter(|event| event["dir"] == direction);
        events.flat_map(|event| hex::decode(event["hex"].as_str().unwrap_or_default()).expect("hex")).collect()
    };
    (bytes("client->server"), bytes("server->client"))
}

fn other() -> Target {
    Target::Peer(PeerId::random())
}

#[test]
fn what_is_asked_and_answered_is_what_the_reference_says() {
    let (question, answer) = recorded("Cluster.ID", "");
    let (rpc, sent) = among_recordings(answer);
    let info = block_on(rpc.call::<Cluster::ID>(other(), ())).expect("answered");
    assert_eq!((info.peername.as_str(), info.version.as_str()), ("peer1", "1.1.6"));
    assert_eq!(*sent.lock().expect("no panic"), question);

    let (question, answer) = recorded("PinTracker.StatusAll", "filter=pinned");
    let (rpc, sent) = among_recordings(answer);
    let pages = rpc.stream::<PinTracker::StatusAll>(other(), TrackerStatus::PINNED).collect::<Vec<_>>();
    let found: Vec<PinInfo> = block_on(pages).into_iter().flat_map(|page| page.expect("no error")).collect();
    assert!(!found.is_empty() && found.iter().all(|info| info.status.status == TrackerStatus::PINNED), "{found:?}");
    assert_eq!(*sent.lock().expect("no panic"), question);
}

#[test]
fn calls_of_other_peers_are_counted_by_row_and_result() {
    let metrics = Arc::new(Metrics::default());
    for (method, note) in [("Cluster.ID", ""), ("Cluster.ID", ""), ("Cluster.Pin", "authorization")] {
        let (rpc, _) = among_recordings(recorded(method, note).1);
        rpc.count(Arc::clone(&metrics));
        let _either = block_on(rpc.call::<Cluster::ID>(other(), ()));
        let _not_bound = block_on(rpc.call::<Cluster::ID>(Target::Local, ()));
    }

    // A list is counted when it ends, and not when it is given up.
    for pages in [usize::MAX, 0] {
        let (rpc, _) = among_recordings(recorded("PinTracker.StatusAll", "filter=pinned").1);
        rpc.count(Arc::clone(&metrics));
        let list = rpc.stream::<PinTracker::StatusAll>(other(), TrackerStatus::PINNED);
        let _pages = block_on(list.take(pages).collect::<Vec<_>>());
    }

    let kind = |method, done| CallKind { method, side: CallSide::Asked, done };
    let counts: Vec<_> = metrics.calls().into_iter().map(|(kind, seen)| (kind, seen.count)).collect();
    let list = (kind("PinTracker.StatusAll", true), 1);
    assert_eq!(counts, [(kind("Cluster.ID", false), 1), (kind("Cluster.ID", true), 2), list]);
    assert_eq!(metrics.calls_asking.get(), 0);
}

/// Keeps the spans that it is told.
#[derive(Default)]
struct Kept(Mutex<Vec<Span>>);

impl Recorder for Kept {
    fn wants(&self, _: &TraceId) -> bool {
        true
    }

    fn record(&self, span: Span) {
        self.0.lock().expect("no panic").push(span);
    }
}

/// One span for each call that came to its end, in the order of the ends, and none for those that were given up.
#[test]
fn calls_to_other_peers_are_told_with_the_peer_and_what_became_of_them() {
    let (kept, me, peer) = (Arc::new(Kept::default()), PeerId::random(), PeerId::random());
    let tracer = Tracer::new(Arc::clone(&kept) as _, Arc::new(Still), &me);
    let ask = |method: &str, note: &str| {
        let (rpc, _) = among_recordings(recorded(method, note).1);
        rpc.trace(tracer.clone());
        rpc
    };

    block_on(ask("Cluster.ID", "").call::<Cluster::ID>(Target::Peer(peer), ())).expect("answered");
    block_on(ask("Cluster.Pin", "authorization").call::<Cluster::ID>(Target::Peer(peer), ())).expect_err("refused");
    for (method, note, pages) in [
        ("PinTracker.StatusAll", "filter=pinned", usize::MAX),
        ("PinTracker.StatusAll", "filter=pinned", 0),
        ("Cluster.RecoverAllLocal", "handler returns error", usize::MAX),
    ] {
        let list = ask(method, note).stream::<PinTracker::StatusAll>(Target::Peer(peer), TrackerStatus::PINNED);
        let _pages = block_on(list.take(pages).collect::<Vec<_>>());
    }
    let _not_bound = block_on(ask("Cluster.ID", "").call::<Cluster::ID>(Target::Local, ()));
    let _message = block_on(ask("Cluster.ID", "").call::<Consensus::Message>(Target::Peer(peer), Default::default()));

    let spans = kept.0.lock().expect("no panic");
    let value = |span: &Span, key: &str| {
        let found = span.attributes.iter().find(|(name, _)| *name == key);
        found.map(|(_, value)| value.clone())
    };
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    let told: Vec<_> = spans.iter().map(|span| (span.name.as_str(), value(span, "error.type"))).collect();
    let expected = [
        ("rpc/Cluster.ID", None),
        ("rpc/Cluster.ID", text("unauthorized")),
        ("rpc/PinTracker.StatusAll", None),
        ("rpc/PinTracker.StatusAll", text("failed")),
    ];
    assert_eq!(told, expected);
    assert!(spans.iter().all(|span| span.kind == SpanKind::Client && value(span, "peer") == text(&peer.to_string())));
    assert_eq!(spans[3].error.as_deref(), Some("recover failed"));
}

#[test]
fn errors_of_the_reference_are_told_by_their_kind() {
    let ask = |method: &str, note: &str| {
        let (rpc, _) = among_recordings(recorded(method, note).1);
        block_on(rpc.call::<Cluster::ID>(other(), ())).expect_err("an error was recorded")
    };
    assert_eq!(ask("Cluster.Pin", "authorization").kind, RpcErrorKind::Unauthorized);
    assert_eq!(ask("Cluster.Nope", "unknown method").kind, RpcErrorKind::NoSuchMethod);
    let removal = ask("Cluster.PeerRemove", "plain error");
    assert_eq!(removal, RpcError::new(RpcErrorKind::Failed, "crdt consensus component cannot remove peers"));

    let (rpc, _) = among_recordings(recorded("Cluster.RecoverAllLocal", "handler returns error").1);
    let pages = block_on(rpc.stream::<Cluster::RecoverAllLocal>(other(), ()).collect::<Vec<_>>());
    assert!(matches!(pages.last(), Some(Err(error)) if error.message == "recover failed"), "{pages:?}");
}

#[test]
fn an_answer_that_is_cut_or_endless_is_an_error() {
    let (_, answer) = recorded("Cluster.ID", "");
    for length in 0..answer.len() {
        let (rpc, _) = among_recordings(answer[..length].to_vec());
        assert!(block_on(rpc.call::<Cluster::ID>(other(), ())).is_err(), "{length} bytes");
    }
    // A text of 4 GiB, whose beginning is there: it is refused before much of it has been read.
    let endless = [&[0xdb, 0xff, 0xff, 0xff, 0xff][..], &vec![b'x'; 1 << 20]].concat();
    let (rpc, _) = among_recordings(endless);
    let error = block_on(rpc.call::<Cluster::ID>(other(), ())).expect_err("too large");
    assert!(error.message.contains("larger than"), "{error}");
}

#[test]
fn closed_rows_are_not_asked_of_other_peers() {
    let (rpc, sent) = among_recordings(Vec::new());
    let error = block_on(rpc.call::<Cluster::Alerts>(other(), ())).expect_err("closed");
    assert_eq!(error.kind, RpcErrorKind::Unauthorized);
    assert!(sent.lock().expect("no panic").is_empty());
}
