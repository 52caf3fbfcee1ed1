//! Names of blocks: hash functions by the names that users know.

use cid::Cid;
use cid::multihash::Multihash;
use multihash_codetable::{Code, MultihashDigest};
use sha2::{Digest, Sha256};

/// Hash functions that files can be added with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashFunction {
    /// `sha2-256`, the default.
    #[default]
    Sha2_256,
    /// `sha2-512`.
    Sha2_512,
    /// `sha3-256`.
    Sha3_256,
    /// `sha3-512`.
    Sha3_512,
    /// `blake2b-256`.
    Blake2b256,
    /// `blake2s-256`.
    Blake2s256,
    /// `blake3`.
    Blake3,
}

impl HashFunction {
    /// The function of a name, whatever its case; an empty name is the default.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "" | "sha2-256" => Self::Sha2_256,
            "sha2-512" => Self::Sha2_512,
            "sha3-256" => Self::Sha3_256,
            "sha3-512" => Self::Sha3_512,
            "blake2b-256" => Self::Blake2b256,
            "blake2s-256" => Self::Blake2s256,
            "blake3" => Self::Blake3,
            _ => return None,
        })
    }

    fn digest(self, data: &[u8]) -> Multihash<64> {
        let code = match self {
            // The one that counts for speed: through the processor's own instructions.
            Self::Sha2_256 => {
                return Multihash::wrap(0x12, &Sha256::digest(data)).expect("32 bytes fit into a multihash");
            }
            Self::Sha2_512 => Code::Sha2_512,
            Self::Sha3_256 => Code::Sha3_256,
            Self::Sha3_512 => Code::Sha3_512,
            Self::Blake2b256 => Code::Blake2b256,
            Self::Blake2s256 => Code::Blake2s256,
            Self::Blake3 => Code::Blake3_256,
        };
        code.digest(data)
    }
}

/// Version of CIDs and how they are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Naming {
    /// Whether CIDs are of version 1.
    pub version_1: bool,
    /// The hash function.
    pub hash: HashFunction,
}

impl Naming {
    /// The name of a block of a codec. Only dag-pb blocks can have version 0.
    #[must_use]
    pub fn cid(self, codec: u64, data: &[u8]) -> Cid {
        let hash = self.hash.digest(data);
        if !self.version_1
            && codec == crate::DAG_PB
            && let Ok(cid) = Cid::new_v0(hash)
        {
            return cid;
        }
        Cid::new_v1(codec, hash)
    }
}

/// The name that these bytes have, in the form of another; `None`: its hash function is not known.
pub(crate) fn named_as(cid: &Cid, data: &[u8]) -> Option<Cid> {
    let hash = match cid.hash().code() {
        0x00 => Multihash::wrap(0x00, data).ok()?,
        0x12 => HashFunction::Sha2_256.digest(data),
        code => Code::try_from(code).ok()?.digest(data),
    };
    Cid::new(cid.version(), cid.codec(), hash).ok()
}

/// Whether the bytes are what the name says. Hash functions that are not known count as not.
#[must_use]
pub fn verify(cid: &Cid, data: &[u8]) -> bool {
    let hash = cid.hash();
    match hash.code() {
        0x00 => hash.digest() == data,
        0x12 => hash.digest() == Sha256::digest(data).as_slice(),
        code => Code::try_from(code).is_ok_and(|code| code.digest(data).digest() == hash.digest()),
    }
}
