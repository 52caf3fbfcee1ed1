//! The table of who has what: asked for those who have a block that nobody who is connected gives, and told of the roots
//! that are held here.
//!
//! Everybody asks; only who can be reached from everywhere answers, by default.

use super::config::Dht;
use super::records::Records;
use cluster_transport::{Kind, is_relayed, is_supported, kind, split};
use libp2p::kad::{self, BucketInserts, Caching, Config, Mode, QueryId};
use libp2p::swarm::StreamProtocol;
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::time::Duration;
use tokio::sync::oneshot;

/// Its protocol: that of the public network.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");

/// Peers that are asked at a time, as Kubo.
const ASKED_AT_A_TIME: NonZeroUsize = NonZeroUsize::new(10).expect("ten is not zero");

/// The largest message, in bytes: the library's 16 KiB are less than Kubo answers.
const MESSAGE_MAX: usize = 1 << 20;

/// How long one question may take.
const QUERY_MAX: Duration = Duration::from_secs(60);

/// How long what others say of themselves is remembered, as Kubo.
const RECORD_FOR: Duration = Duration::from_secs(48 * 3_600);

/// Blocks whose holders are looked for at a time. More are not: who still waits asks again.
const FINDS_AT_ONCE: usize = 16;

/// Holders of one block that are dialed.
const HOLDERS_MAX: usize = 10;

/// Addresses of one peer that are noted.
const ADDRESSES_MAX: usize = 16;

pub(super) type Behaviour = kad::Behaviour<Records>;

/// The part of the swarm.
pub(super) fn behaviour(me: PeerId) -> Behaviour {
    let mut config = Config::new(PROTOCOL);
    config
        .set_query_timeout(QUERY_MAX)
        .set_max_packet_size(MESSAGE_MAX)
        .set_parallelism(ASKED_AT_A_TIME)
        .set_provider_record_ttl(Some(RECORD_FOR))
        .set_kbucket_inserts(BucketInserts::Manual)
        .set_caching(Caching::Disabled)
        // What is held here is told of by `provide.rs`, in batches.
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_provider_publication_interval(None);
    kad::Behaviour::with_config(me, Records::new(me), config)
}

/// Whether to answer, too.
pub(super) fn mode(wanted: Dht, external: &[Multiaddr]) -> Mode {
    match wanted {
        Dht::Server => Mode::Server,
        Dht::Auto if external.iter().any(|address| kind(address) == Kind::Public) => Mode::Server,
        Dht::Auto | Dht::Client | Dht::Off => Mode::Client,
    }
}

/// Where a peer can be reached: where it was dialed, and of the addresses that it tells, those that do not lead others to
/// themselves or to their own network, unless it is as near.
pub(super) fn to_note(told: &[Multiaddr], connected_at: &Multiaddr, dialed: bool) -> Vec<Multiaddr> {
    let near = kind(connected_at);
    let at = split(connected_at).0;
    let fits = |address: &&Multiaddr| !is_relayed(address) && is_supported(address) && kind(address) >= near;
    let others = told.iter().filter(|address| **address != at);
    Some(&at).filter(|_| dialed).into_iter().chain(others).filter(fits).take(ADDRESSES_MAX).cloned().collect()
}

/// What is being asked.
#[derive(Default)]
pub(super) struct Questions {
    finds: HashMap<QueryId, Find>,
    /// Peers that have something and whose addresses are looked for.
    pub(super) routes: HashMap<QueryId, PeerId>,
    pub(super) provides: HashMap<QueryId, oneshot::Sender<Result<(), String>>>,
}

struct Find {
    key: kad::RecordKey,
    holders: BTreeSet<PeerId>,
}

impl Questions {
    /// Whether holders of a block may be looked for: not twice at a time, and not of too many blocks.
    pub(super) fn may_find(&self, key: &kad::RecordKey) -> bool {
        self.finds.len() < FINDS_AT_ONCE && self.finds.values().all(|find| find.key != *key)
    }

    pub(super) fn find(&mut self, id: QueryId, key: kad::RecordKey) {
        self.finds.insert(id, Find { key, holders: BTreeSet::new() });
    }

    /// Some who have it were found: those of them who are new and not too many, and whether they are enough.
    pub(super) fn found(&mut self, id: QueryId, holders: impl IntoIterator<Item = PeerId>) -> (Vec<PeerId>, bool) {
        let Some(find) = self.finds.get_mut(&id) else { return (Vec::new(), false) };
        let mut new = Vec::new();
        for holder in holders {
            if find.holders.len() < HOLDERS_MAX && find.holders.insert(holder) {
                new.push(holder);
            }
        }
        (new, find.holders.len() >= HOLDERS_MAX)
    }

    pub(super) fn find_ended(&mut self, id: QueryId) {
        self.finds.remove(&id);
    }

    /// Whether the addresses of one more peer may be looked for.
    pub(super) fn may_route(&self, peer: &PeerId) -> bool {
        self.routes.len() < FINDS_AT_ONCE && self.routes.values().all(|other| other != peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    #[test]
    fn only_who_can_be_reached_answers_unless_it_is_told_to() {
        let (near, far) = (addresses(&["/ip4/10.0.0.1/tcp/1"]), addresses(&["/ip4/1.2.3.4/tcp/1"]));
        assert_eq!(mode(Dht::Auto, &near), Mode::Client);
        assert_eq!(mode(Dht::Auto, &far), Mode::Server);
        assert_eq!(mode(Dht::Client, &far), Mode::Client);
        assert_eq!(mode(Dht::Server, &near), Mode::Server);
    }

    #[test]
    fn addresses_of_a_nearer_kind_than_the_connection_are_not_noted() {
        let told = addresses(&[
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/1.2.3.4/tcp/1",
            "/ip4/1.2.3.4/udp/1/quic-v1",
        ]);
        let noted = |at: &str| to_note(&told, &at.parse().expect(at), false);
        assert_eq!(noted("/ip4/5.6.7.8/tcp/9"), told[2..3]);
        assert_eq!(noted("/ip4/10.0.0.9/tcp/9"), told[1..3]);
        assert_eq!(noted("/ip4/127.0.0.1/tcp/9"), told[..3]);

        // Behind a router it may not know where it was dialed.
        let dialed = addresses(&["/ip4/5.6.7.8/tcp/9"]);
        let named = dialed[0].clone().with_p2p(PeerId::random()).expect("unnamed");
        assert_eq!(to_note(&told, &named, true), [&dialed[..], &told[2..3]].concat());
        assert_eq!(to_note(&told, &told[2], true), told[2..3]);
    }
}
