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
    /// `blake2b-512`.
    Blake2b512,
    /// `sha3-224`.
    Sha3_224,
    /// `sha3-384`.
    Sha3_384,
    /// `keccak-224`.
    Keccak224,
    /// `keccak-256`.
    Keccak256,
    /// `keccak-384`.
    Keccak384,
    /// `keccak-512`.
    Keccak512,
    /// `dbl-sha2-256`: twice.
    DoubleSha2_256,
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
            "blake2b-512" => Self::Blake2b512,
            "sha3-224" => Self::Sha3_224,
            "sha3-384" => Self::Sha3_384,
            "keccak-224" => Self::Keccak224,
            "keccak-256" => Self::Keccak256,
            "keccak-384" => Self::Keccak384,
            "keccak-512" => Self::Keccak512,
            "dbl-sha2-256" => Self::DoubleSha2_256,
            _ => return None,
        })
    }

    fn digest(self, data: &[u8]) -> Multihash<64> {
        let code = match self {
            // The one that counts for speed: through the processor's own instructions.
            Self::Sha2_256 => {
                return Multihash::wrap(0x12, &Sha256::digest(data)).expect("32 bytes fit into a multihash");
            }
            Self::DoubleSha2_256 => return double_sha2_256(data),
            Self::Sha2_512 => Code::Sha2_512,
            Self::Sha3_256 => Code::Sha3_256,
            Self::Sha3_512 => Code::Sha3_512,
            Self::Blake2b256 => Code::Blake2b256,
            Self::Blake2s256 => Code::Blake2s256,
            Self::Blake3 => Code::Blake3_256,
            Self::Blake2b512 => Code::Blake2b512,
            Self::Sha3_224 => Code::Sha3_224,
            Self::Sha3_384 => Code::Sha3_384,
            Self::Keccak224 => Code::Keccak224,
            Self::Keccak256 => Code::Keccak256,
            Self::Keccak384 => Code::Keccak384,
            Self::Keccak512 => Code::Keccak512,
        };
        code.digest(data)
    }
}

fn double_sha2_256(data: &[u8]) -> Multihash<64> {
    let twice = Sha256::digest(Sha256::digest(data));
    Multihash::wrap(DOUBLE_SHA2_256, &twice).expect("32 bytes fit into a multihash")
}

/// Multicodec of `dbl-sha2-256`.
const DOUBLE_SHA2_256: u64 = 0x56;

/// Most bytes that a name can hold itself.
pub const INLINE_MAX: usize = 64;

/// Version of CIDs and how they are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Naming {
    /// Blocks of at most so many bytes, up to [`INLINE_MAX`], are in their names and nowhere else.
    pub inline: Option<usize>,
    /// Whether CIDs are of version 1.
    pub version_1: bool,
    /// The hash function.
    pub hash: HashFunction,
}

impl Naming {
    /// The name of a block of a codec. Only dag-pb blocks can have version 0.
    #[must_use]
    pub fn cid(self, codec: u64, data: &[u8]) -> Cid {
        if self.inline.is_some_and(|most| data.len() <= most)
            && let Ok(itself) = Multihash::wrap(0x00, data)
        {
            return Cid::new_v1(codec, itself);
        }
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
        DOUBLE_SHA2_256 => double_sha2_256(data),
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
        DOUBLE_SHA2_256 => hash.digest() == double_sha2_256(data).digest(),
        code => Code::try_from(code).is_ok_and(|code| code.digest(data).digest() == hash.digest()),
    }
}
