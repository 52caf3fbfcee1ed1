//! Names of peers as text.

use crate::PeerId;

/// Reads a peer's name: base58, or a CID of a libp2p key.
///
/// # Errors
/// When it is neither; worded as the reference.
pub fn parse(text: &str) -> Result<PeerId, PeerIdError> {
    if text.starts_with("Qm") || text.starts_with('1') {
        let bytes = bs58::decode(text).into_vec().map_err(|e| PeerIdError(e.to_string()))?;
        return PeerId::from_bytes(&bytes).map_err(|e| PeerIdError(e.to_string()));
    }
    /// Codec of a libp2p key.
    const LIBP2P_KEY: u64 = 0x72;
    let cid: crate::Cid = text.parse().map_err(|e: crate::cid::CidError| PeerIdError(e.to_string()))?;
    if cid.codec() != LIBP2P_KEY {
        return Err(PeerIdError(format!("can't convert CID of type {:#x} to a peer ID", cid.codec())));
    }
    PeerId::from_bytes(&cid.hash().to_bytes()).map_err(|e| PeerIdError(e.to_string()))
}

/// Why a text names no peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse peer ID: {0}")]
pub struct PeerIdError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_the_same_peer() {
        let id: PeerId = "12D3KooWB2pyAPqKinENSFY7hmXwP69xfqNhzpvxvkqtFHzHrVji".parse().expect("base58");
        let hash = cid::multihash::Multihash::from_bytes(&id.to_bytes()).expect("multihash");
        let as_cid = cid::Cid::new_v1(0x72, hash).to_string();

        assert_eq!(parse(&id.to_string()), Ok(id));
        assert_eq!(parse(&as_cid), Ok(id));
    }

    #[test]
    fn what_names_no_peer_is_refused_in_the_words_of_the_reference() {
        assert_eq!(parse("").expect_err("empty").to_string(), "failed to parse peer ID: invalid cid: cid too short");
        assert!(parse("1").is_err());
    }
}
