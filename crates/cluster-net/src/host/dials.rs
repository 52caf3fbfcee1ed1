//! Dials under way, and who waits for them.

use super::command::Reply;
use cluster_types::{Multiaddr, PeerId};
use libp2p::core::transport::TransportError;
use libp2p::swarm::{ConnectionId, DialError};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;

/// Addresses that are told of when all have failed.
const TOLD_MAX: usize = 8;

/// Dials under way, by peer.
#[derive(Default)]
pub(super) struct Dials(BTreeMap<PeerId, Dial>);

#[derive(Default)]
struct Dial {
    under_way: BTreeSet<ConnectionId>,
    waiting: Vec<Reply<Result<(), String>>>,
}

impl Dials {
    /// Somebody waits for a peer.
    pub(super) fn wait(&mut self, peer: PeerId, reply: Reply<Result<(), String>>) {
        let dial = self.0.entry(peer).or_default();
        // Those who gave up make room for others.
        dial.waiting.retain(|waiting| !waiting.is_closed());
        dial.waiting.push(reply);
    }

    /// A dial begins.
    pub(super) fn begin(&mut self, peer: PeerId, id: ConnectionId) {
        self.0.entry(peer).or_default().under_way.insert(id);
    }

    /// The peer is there: everybody is told.
    pub(super) fn connected(&mut self, peer: &PeerId) {
        self.tell(peer, Ok(()));
    }

    /// A dial failed. When it was the last one, everybody is told.
    pub(super) fn failed(&mut self, peer: &PeerId, id: ConnectionId, reason: &str) {
        let Some(dial) = self.0.get_mut(peer) else { return };
        dial.under_way.remove(&id);
        if dial.under_way.is_empty() {
            self.tell(peer, Err(reason.to_owned()));
        }
    }

    fn tell(&mut self, peer: &PeerId, outcome: Result<(), String>) {
        for waiting in self.0.remove(peer).into_iter().flat_map(|dial| dial.waiting) {
            let _caller_is_gone = waiting.send(outcome.clone());
        }
    }
}

/// Why a dial failed, in words for an operator.
pub(super) fn reason(error: &DialError) -> String {
    match error {
        DialError::NoAddresses => "it is not known where it is".into(),
        DialError::LocalPeerId { .. } => "it is this peer".into(),
        DialError::WrongPeerId { obtained, .. } => format!("another peer answers there: {obtained}"),
        DialError::Aborted => "the dial was aborted".into(),
        DialError::DialPeerConditionFalse(_) => "it is being dialed".into(),
        DialError::Denied { cause } => format!("refused here: {cause}"),
        DialError::Transport(tried) => {
            let told: Vec<String> = tried.iter().take(TOLD_MAX).map(one_address).collect();
            format!("all dials failed: {}", told.join("; "))
        }
    }
}

fn one_address((address, error): &(Multiaddr, TransportError<io::Error>)) -> String {
    match error {
        TransportError::MultiaddrNotSupported(_) => format!("[{address}] there is no transport for it"),
        TransportError::Other(error) => format!("[{address}] {}", cluster_transport::root_cause(error)),
    }
}

/// Whether the other side has another secret, or hung up as if it had.
pub(super) fn is_stranger(error: &DialError) -> bool {
    let DialError::Transport(tried) = error else { return false };
    tried.iter().any(|(_, error)| match error {
        TransportError::Other(error) => {
            let error: &(dyn Error + 'static) = error;
            cluster_transport::is_wrong_secret(error) || cluster_transport::is_hung_up(error)
        }
        TransportError::MultiaddrNotSupported(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::sync::oneshot;

    #[test]
    fn everybody_is_told_when_the_last_dial_failed() {
        let (mut dials, peer) = (Dials::default(), PeerId::random());
        let (ids, replies): (Vec<_>, Vec<_>) = (0..2)
            .map(|n| {
                let (reply, answer) = oneshot::channel();
                dials.wait(peer, reply);
                dials.begin(peer, ConnectionId::new_unchecked(n));
                (ConnectionId::new_unchecked(n), answer)
            })
            .unzip();

        dials.failed(&peer, ids[0], "one");
        let mut replies = replies.into_iter();
        let mut first = replies.next().expect("two");
        assert!((&mut first).now_or_never().is_none());

        dials.failed(&peer, ids[1], "two");
        for answer in [first, replies.next().expect("two")] {
            assert_eq!(answer.now_or_never(), Some(Ok(Err("two".to_owned()))));
        }
    }
}
