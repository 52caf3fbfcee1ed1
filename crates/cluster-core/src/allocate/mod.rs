//! Which peers get a pin: who may be asked, how many are needed, and in which order they are taken.

pub mod balanced;
pub mod request;

pub use request::{Outcome, Peers, Shortage, Wanted, classify, conclude, wanted};
