//! What tests of several crates share: a clock that is moved by hand and an IPFS daemon that is played. For tests only.
//!
//! It sees the interfaces and nothing that implements them, so that every implementation can use it in its own tests.

pub mod clock;
pub mod consensus;
pub mod contract;
pub mod ipfs;
pub mod kubo;
pub mod tasks;

pub use clock::ManualClock;
pub use consensus::FakeConsensus;
pub use ipfs::FakeConnector;
pub use tasks::{TokioSpawn, eventually};
