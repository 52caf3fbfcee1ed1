//! Two tables of who is where: one for the local network, one for the internet, as the reference.
//!
//! Peers use them to find peers whose addresses they do not know. Nothing is stored in them: the reference announces
//! its blocks there, and nobody ever asks.

use crate::addresses::{Kind, is_relayed, kind};
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::kad::{self, BucketInserts, Caching, Config, Mode, StoreInserts};
use libp2p::swarm::StreamProtocol;
use libp2p::{Multiaddr, PeerId};
use std::num::NonZeroUsize;
use std::time::Duration;

/// The largest message, as the reference: the library's 16 KiB are less than it answers.
const MESSAGE_MAX: usize = 4 << 20;

/// Peers that are asked at a time, as the reference.
const ASKED_AT_A_TIME: NonZeroUsize = NonZeroUsize::new(10).expect("ten is not zero");

/// How long a search may take: what it is for has given up before.
const SEARCH_MAX: Duration = Duration::from_secs(30);

/// The part of the swarm.
pub(crate) type Behaviour = kad::Behaviour<MemoryStore>;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// The local network.
    Lan,
    /// The internet.
    Wan,
}

impl Table {
    /// Its protocol, which is that of the public network too: the secret keeps them apart.
    pub(crate) fn protocol(self) -> StreamProtocol {
        match self {
            Self::Lan => StreamProtocol::new("/ipfs/lan/kad/1.0.0"),
            Self::Wan => StreamProtocol::new("/ipfs/kad/1.0.0"),
        }
    }

    /// Of these addresses of a peer, those that belong here.
    pub(crate) fn addresses(self, all: &[Multiaddr]) -> Vec<Multiaddr> {
        let direct = || all.iter().filter(|address| !is_relayed(address)).cloned();
        match self {
            Self::Wan => direct().filter(|address| kind(address) == Kind::Public).collect(),
            Self::Lan => {
                let (near, here): (Vec<_>, Vec<_>) = direct().partition(|address| kind(address) != Kind::Loopback);
                // Loopback leads others to themselves; but a peer that has nothing else is on this machine.
                if near.is_empty() { here } else { near }
            }
        }
    }
}

/// The part of the swarm for a table. We answer on the local network, and on the internet once we are known to be
/// reachable.
pub(crate) fn behaviour(me: PeerId, table: Table) -> Behaviour {
    let mut config = Config::new(table.protocol());
    config
        .set_query_timeout(SEARCH_MAX)
        .set_parallelism(ASKED_AT_A_TIME)
        .set_max_packet_size(MESSAGE_MAX)
        .set_kbucket_inserts(BucketInserts::Manual)
        .set_record_filtering(StoreInserts::FilterBoth)
        .set_caching(Caching::Disabled)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_provider_publication_interval(None);
    let nothing = MemoryStoreConfig { max_records: 0, max_provided_keys: 0, ..MemoryStoreConfig::default() };
    let mut behaviour = kad::Behaviour::with_config(me, MemoryStore::with_config(me, nothing), config);
    behaviour.set_mode(Some(match table {
        Table::Lan => Mode::Server,
        Table::Wan => Mode::Client,
    }));
    behaviour
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    #[test]
    fn each_table_holds_what_its_peers_can_reach() {
        let relay = format!("/ip4/1.2.3.4/tcp/1/p2p/{}/p2p-circuit", PeerId::random());
        let all = addresses(&["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/1.2.3.4/tcp/1", &relay]);

        assert_eq!(Table::Lan.addresses(&all), all[1..3]);
        assert_eq!(Table::Wan.addresses(&all), all[2..3]);
        assert_eq!(Table::Lan.addresses(&all[..1]), all[..1]);
        assert_eq!(Table::Wan.addresses(&all[..2]), []);
    }
}
