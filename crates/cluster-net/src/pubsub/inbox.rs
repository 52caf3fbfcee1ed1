//! Messages that wait for their reader.

use cluster_component::ports::Message;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Messages that a reader may be behind.
const MESSAGES_MAX: usize = 4_096;

/// Bytes that a reader may be behind.
const BYTES_MAX: usize = 16 << 20;

/// A queue that drops the oldest when its reader is too slow: what comes later says more.
#[derive(Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Inbox {
    /// Puts a message in.
    pub(crate) fn push(&self, message: Message) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.bytes += message.data.len();
        queue.messages.push_back(message);
        while queue.messages.len() > MESSAGES_MAX || queue.bytes > BYTES_MAX {
            let Some(oldest) = queue.messages.pop_front() else { break };
            queue.bytes -= oldest.data.len();
        }
        drop(queue);
        self.arrived.notify_one();
    }

    fn pop(&self) -> Option<Message> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let message = queue.messages.pop_front()?;
        queue.bytes -= message.data.len();
        Some(message)
    }

    /// The next message. There is one reader.
    async fn next(&self) -> Message {
        loop {
            let arrived = self.arrived.notified();
            if let Some(message) = self.pop() {
                return message;
            }
            arrived.await;
        }
    }

    /// Messages as they come. `held` lives as long as the stream.
    pub(crate) fn stream(self: Arc<Self>, held: impl Send + 'static) -> BoxStream<'static, Message> {
        stream::unfold((self, held), |(inbox, held)| async move {
            let message = inbox.next().await;
            Some((message, (inbox, held)))
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use cluster_types::PeerId;

    fn message(data: Bytes) -> Message {
        Message { from: PeerId::random(), data }
    }

    #[test]
    fn the_oldest_are_dropped_when_there_are_too_many() {
        let inbox = Inbox::default();
        for n in 0..MESSAGES_MAX + 1 {
            inbox.push(message(Bytes::from(n.to_string())));
        }
        assert_eq!(inbox.pop().expect("one").data, "1");
    }

    #[test]
    fn the_oldest_are_dropped_when_they_are_too_large() {
        let inbox = Inbox::default();
        for _ in 0..20 {
            inbox.push(message(Bytes::from(vec![0; 1 << 20])));
        }
        assert_eq!(std::iter::from_fn(|| inbox.pop()).count(), 16);
        assert_eq!(inbox.queue.lock().expect("lock").bytes, 0);
    }
}
