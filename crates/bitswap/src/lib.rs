//! The bitswap protocol, client and server: blocks for those who ask, and blocks from those who have them. It knows
//! nothing of clusters, nor of how connections are made.
//!
//! Whoever has a libp2p host gives streams as a [`Network`] and its blocks as [`Blocks`], hands every stream of one of
//! the [`PROTOCOLS`] that a peer opens to [`Bitswap::serve`], and drives [`Bitswap::run`]. Then [`Bitswap::get`] gets
//! blocks, each verified against its CID.
//!
//! Specification: <https://specs.ipfs.tech/bitswap-protocol/>. Versions 1.2.0 (with `HAVE` and `DONT_HAVE`), 1.1.0 and
//! 1.0.0 are spoken; one long-lived stream to each peer carries wants and answers.

mod engine;
mod frame;
mod ledger;
mod message;
mod outbox;
mod wants;

pub use engine::{Bitswap, Blocks, Busy, Link, Network, WANTS_MAX};
pub use frame::{FrameError, MESSAGE_MAX, read_message, write_message};
pub use message::{BLOCK_MAX, Entry, Malformed, Message, Presence, Want, is_named};

/// The protocol's names, the newest first.
pub const PROTOCOLS: [&str; 4] = ["/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0", "/ipfs/bitswap/1.0.0", "/ipfs/bitswap"];

/// What a peer understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Blocks without their CIDs: those of version 0 alone can be told.
    V1_0_0,
    /// Blocks with a prefix that tells their CIDs.
    V1_1_0,
    /// Who has a block can be asked and told.
    V1_2_0,
}

impl Version {
    /// The version that one of the [`PROTOCOLS`] stands for; what is unknown is taken for the oldest.
    #[must_use]
    pub fn of(protocol: &str) -> Self {
        match protocol {
            "/ipfs/bitswap/1.2.0" => Self::V1_2_0,
            "/ipfs/bitswap/1.1.0" => Self::V1_1_0,
            _ => Self::V1_0_0,
        }
    }
}
