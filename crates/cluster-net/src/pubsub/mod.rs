//! One-to-many messages: gossipsub with the reference's parameters, and who listens here.

mod inbox;
mod single;
mod topics;
mod turns;

pub(crate) use single::Single;
pub(crate) use topics::{Topics, Verdict};

use crate::options::PubSubOptions;
use libp2p::gossipsub::{Behaviour, Config, ConfigBuilder, Message, MessageAuthenticity, MessageId, ValidationMode};
use libp2p_identity::Keypair;

/// The largest frame, as the reference. Also that of control messages, of which the reference sends up to 10,000 ids in
/// one frame: the library's 16 KiB would end the stream.
const FRAME_MAX: usize = 1 << 20;

/// Bytes of the author that are part of a message's id.
const AUTHOR_BYTES: usize = 16;

/// What messages are told apart by: the first bytes of the author, and the author's count.
///
/// As go: go-libp2p-pubsub is told so by cluster's `DefaultMsgIdFn`; without the same ids peers cannot tell each other
/// what they have.
fn message_id(message: &Message) -> MessageId {
    let mut id = message.source.map(|author| author.to_bytes()).unwrap_or_default();
    id.truncate(AUTHOR_BYTES);
    id.extend(message.sequence_number.unwrap_or_default().to_be_bytes());
    MessageId::from(id)
}

fn config(options: &PubSubOptions) -> Result<Config, String> {
    // As go: the sizes of go-libp2p-pubsub, times the configured factor.
    let factor = options.d_factor;
    let mut builder = ConfigBuilder::default();
    builder
        .heartbeat_interval(options.heartbeat)
        .heartbeat_initial_delay(options.heartbeat.min(std::time::Duration::from_millis(100)))
        .mesh_n(6 * factor)
        .mesh_n_low(5 * factor)
        .mesh_n_high(12 * factor)
        .retain_scores(4 * factor)
        .mesh_outbound_min(2 * factor)
        .gossip_lazy(6 * factor)
        .history_length(options.history_length)
        .history_gossip(options.history_gossip)
        .duplicate_cache_time(options.seen_ttl)
        .flood_publish(options.flood_publish)
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size(FRAME_MAX)
        .max_control_message_size(FRAME_MAX)
        .idontwant_message_size_threshold(1024)
        .support_floodsub();
    builder.build().map_err(|error| format!("cluster.pubsub: {error}"))
}

/// The part of the swarm.
///
/// # Errors
/// When the sizes do not go together; the text names the section.
pub(crate) fn behaviour(key: &Keypair, options: &PubSubOptions) -> Result<Single<Behaviour>, String> {
    let behaviour = Behaviour::new(MessageAuthenticity::Signed(key.clone()), config(options)?);
    behaviour.map(Single::new).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::gossipsub::{IdentTopic, TopicHash};

    fn message(source: Option<libp2p::PeerId>, count: u64) -> Message {
        let topic: TopicHash = IdentTopic::new("t").hash();
        Message { source, data: Vec::new(), sequence_number: Some(count), topic }
    }

    /// Messages of an Ed25519 and of an RSA peer, made by the reference.
    #[test]
    fn the_id_of_a_message_is_the_references() {
        let vectors: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../tests/data/message_ids.json")).expect("vectors");
        for vector in &vectors {
            let text = |key: &str| vector[key].as_str().expect("text").to_owned();
            let author = libp2p::PeerId::from_bytes(&bytes(&text("from_hex"))).expect("a peer");
            let count = u64::from_str_radix(&text("seqno_hex"), 16).expect("a count");
            assert_eq!(message_id(&message(Some(author), count)).0, bytes(&text("message_id_hex")));
        }
        assert_eq!(vectors.len(), 4);
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
    }

    #[test]
    fn a_message_without_author_has_an_id_too() {
        assert_eq!(message_id(&message(None, 7)).0, 7_u64.to_be_bytes());
    }

    #[test]
    fn sizes_are_multiplied_by_the_factor() {
        let config = config(&PubSubOptions::default()).expect("defaults");
        assert_eq!((config.mesh_n(), config.mesh_n_low(), config.mesh_n_high()), (24, 20, 48));
        assert_eq!((config.mesh_outbound_min(), config.gossip_lazy(), config.retain_scores()), (8, 24, 16));
        assert_eq!((config.max_transmit_size(), config.max_control_message_size()), (FRAME_MAX, FRAME_MAX));
        let odd = PubSubOptions { history_length: 1, history_gossip: 5, ..PubSubOptions::default() };
        assert!(super::config(&odd).is_err());
    }
}
