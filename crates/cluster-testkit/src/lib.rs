//! What tests of several crates share: a clock that is moved by hand, IPFS daemons that are played, a world of many peers
//! on one thread, with its network, that a seed decides, inputs that are almost right, and what every implementation of an interface must do. For tests
//! only.
//!
//! It sees the interfaces and nothing that implements them, so that every implementation can use it in its own tests.

pub mod chance;
pub mod clock;
pub mod consensus;
pub mod contract;
pub mod history;
pub mod invariant;
pub mod ipfs;
pub mod kubo;
pub mod mutate;
pub mod net;
pub mod scheduler;
pub mod tasks;

pub use chance::Chance;
pub use clock::ManualClock;
pub use consensus::FakeConsensus;
pub use ipfs::FakeConnector;
pub use net::Net;
pub use scheduler::Scheduler;
pub use tasks::{TokioSpawn, eventually};
