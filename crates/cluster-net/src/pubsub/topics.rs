//! Who listens here, and to whom.

use super::inbox::Inbox;
use cluster_component::ports::{Accepts, Message, Topic};
use cluster_types::PeerId;
use futures::stream::BoxStream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What is done with a message of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was delivered; others may hear it too.
    Accept,
    /// Its author is not heard; nobody hears it from us.
    Reject,
    /// Nobody listens.
    Ignore,
}

struct Listener {
    id: u64,
    accepts: Accepts,
    inbox: Arc<Inbox>,
}

#[derive(Default)]
struct Inner {
    topics: BTreeMap<String, Vec<Listener>>,
    next: u64,
}

/// The listeners of each topic.
#[derive(Clone, Default)]
pub(crate) struct Topics {
    inner: Arc<Mutex<Inner>>,
    /// Rung when a topic gets its first listener or loses its last.
    changed: Arc<Notify>,
}

/// Ends a subscription when its stream is dropped.
struct Leave {
    topics: Topics,
    topic: String,
    id: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut inner = self.topics.inner();
        if let Some(listeners) = inner.topics.get_mut(&self.topic) {
            listeners.retain(|listener| listener.id != self.id);
            if listeners.is_empty() {
                inner.topics.remove(&self.topic);
                self.topics.changed.notify_one();
            }
        }
    }
}

impl Topics {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to a topic.
    pub(crate) fn subscribe(&self, topic: &Topic, accepts: Accepts) -> BoxStream<'static, Message> {
        let inbox = Arc::new(Inbox::default());
        let mut inner = self.inner();
        inner.next += 1;
        let id = inner.next;
        let listeners = inner.topics.entry(topic.0.clone()).or_default();
        listeners.push(Listener { id, accepts, inbox: Arc::clone(&inbox) });
        drop(inner);
        self.changed.notify_one();
        inbox.stream(Leave { topics: self.clone(), topic: topic.0.clone(), id })
    }

    /// Topics that somebody listens to.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.inner().topics.keys().cloned().collect()
    }

    /// Waits until [`names`](Self::names) may have changed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Gives our own message to who listens here.
    pub(crate) fn deliver_own(&self, topic: &str, message: &Message) {
        for listener in self.inner().topics.get(topic).into_iter().flatten() {
            listener.inbox.push(message.clone());
        }
    }

    /// Gives the message of another to those who hear its author.
    pub(crate) fn deliver(&self, topic: &str, author: PeerId, data: Vec<u8>) -> Verdict {
        let inner = self.inner();
        let Some(listeners) = inner.topics.get(topic) else { return Verdict::Ignore };
        let message = Message { from: author, data: data.into() };
        let mut verdict = Verdict::Reject;
        for listener in listeners.iter().filter(|listener| (listener.accepts)(&author)) {
            listener.inbox.push(message.clone());
            verdict = Verdict::Accept;
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};

    #[test]
    fn authors_are_heard_by_those_who_accept_them() {
        let (topics, friend) = (Topics::default(), PeerId::random());
        let mut heard = topics.subscribe(&Topic("t".into()), Arc::new(move |peer| *peer == friend));

        assert_eq!(topics.deliver("t", PeerId::random(), b"no".to_vec()), Verdict::Reject);
        assert_eq!(topics.deliver("t", friend, b"yes".to_vec()), Verdict::Accept);
        assert_eq!(topics.deliver("u", friend, b"elsewhere".to_vec()), Verdict::Ignore);

        let message = heard.next().now_or_never().flatten().expect("one message");
        assert_eq!((message.from, &message.data[..]), (friend, &b"yes"[..]));
        assert!(heard.next().now_or_never().is_none());
    }

    #[test]
    fn a_topic_that_nobody_listens_to_any_more_is_left() {
        let topics = Topics::default();
        let one = topics.subscribe(&Topic("t".into()), Arc::new(|_| true));
        let two = topics.subscribe(&Topic("t".into()), Arc::new(|_| true));

        drop(one);
        assert_eq!(topics.names().len(), 1);
        drop(two);
        assert!(topics.names().is_empty());
    }
}
