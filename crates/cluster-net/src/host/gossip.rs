//! Messages to everybody: what comes in, and what is listened to.

use super::driver::Driver;
use crate::pubsub::Verdict;
use bytes::Bytes;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, PublishError};

impl Driver {
    /// Sends to everybody else who listens.
    pub(super) fn publish(&mut self, topic: String, data: Bytes) -> Result<(), String> {
        match self.swarm.behaviour_mut().gossipsub.publish(IdentTopic::new(topic), data) {
            // Nobody else listens yet: that is no fault of the message.
            Ok(_) | Err(PublishError::NoPeersSubscribedToTopic | PublishError::Duplicate) => Ok(()),
            Err(error) => Err(format!("the message could not be sent: {error}")),
        }
    }

    /// Lets the swarm listen to the topics that somebody here listens to.
    pub(super) fn follow_topics(&mut self) {
        let wanted = self.shared.topics.names();
        let gossipsub = &mut self.swarm.behaviour_mut().gossipsub;
        for name in &wanted {
            if self.topics.contains_key(name) {
                continue;
            }
            let topic = IdentTopic::new(name);
            match gossipsub.subscribe(&topic) {
                Ok(_) => drop(self.topics.insert(name.clone(), topic)),
                Err(error) => tracing::error!(topic = name, %error, "the topic cannot be listened to"),
            }
        }
        self.topics.retain(|name, topic| wanted.contains(name) || !gossipsub.unsubscribe(topic));
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let verdict = match message.source {
                    Some(author) => self.shared.topics.deliver(message.topic.as_str(), author, message.data),
                    None => Verdict::Reject,
                };
                let acceptance = match verdict {
                    Verdict::Accept => MessageAcceptance::Accept,
                    Verdict::Reject => MessageAcceptance::Reject,
                    Verdict::Ignore => MessageAcceptance::Ignore,
                };
                let gossipsub = &mut self.swarm.behaviour_mut().gossipsub;
                gossipsub.report_message_validation_result(&message_id, &propagation_source, acceptance);
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "it does not take messages in time");
            }
            _ => {}
        }
    }
}
