//! Who acts when one of many peers should: the one that is closest to the CID. No messages, no leader; peers that see
//! different members may both act, which does no harm.
//!
//! As the reference: `distance` in `cluster.go`.

use blake2::Blake2b;
use blake2::Digest;
use blake2::digest::consts::U32;
use cluster_types::{Cid, PeerId};

type Hash = [u8; 32];

fn hash(bytes: &[u8]) -> Hash {
    Blake2b::<U32>::digest(bytes).into()
}

fn distance(peer: &PeerId, cid: &Hash) -> Hash {
    let mut distance = hash(&peer.to_bytes());
    distance.iter_mut().zip(cid).for_each(|(byte, other)| *byte ^= other);
    distance
}

/// Whether none of the others is closer to the CID than `me`.
#[must_use]
pub fn is_closest<'a>(me: &PeerId, others: impl IntoIterator<Item = &'a PeerId>, cid: &Cid) -> bool {
    let cid = hash(&cid.to_bytes());
    let mine = distance(me, &cid);
    others.into_iter().all(|other| mine <= distance(other, &cid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_peers_exactly_one_acts_and_all_take_turns() {
        let hash = |number: u8| multihash::Multihash::<64>::wrap(0x12, &[number; 32]).expect("32 bytes");
        let peers = [1, 2, 3, 4, 5].map(|number| PeerId::from_bytes(&hash(number).to_bytes()).expect("a name"));
        let mut turns = [0; 5];
        for number in 0..200_u8 {
            let cid = Cid(cid::Cid::new_v1(0x55, hash(number)));
            let closest: Vec<usize> = (0..5).filter(|i| is_closest(&peers[*i], &peers, &cid)).collect();
            assert_eq!(closest.len(), 1);
            turns[closest[0]] += 1;
        }
        assert!(turns.iter().all(|turns| *turns > 0), "{turns:?}");
    }
}
